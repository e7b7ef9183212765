"""Sound files: what comes in, what is refused, what is written."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from smalti.codecs.media import audio as media
from smalti.codecs.media.audio import encode_audio, read_audio, write_audio
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Audio

RAMP = np.linspace(-1, 1, 1001)


def made(samples: np.ndarray, form: str = "WAV", subtype: str = "PCM_16", rate: int = 16000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("form", "subtype", "step"),
    [("WAV", "PCM_U8", 2**-7), ("WAV", "PCM_16", 2**-15), ("WAV", "PCM_24", 2**-23), ("WAV", "FLOAT", 1e-7), ("FLAC", "PCM_24", 2**-23)],
)
def test_samples_have_the_files_own_scale(form: str, subtype: str, step: float) -> None:
    found = read_audio(made(RAMP, form, subtype))
    assert found.samples.shape == (1, 1001)
    assert found.rate == 16000
    assert np.abs(found.samples[0] - RAMP).max() <= step


@pytest.mark.parametrize(("form", "subtype"), [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_files_are_read_in_both_channels(form: str, subtype: str) -> None:
    tone = 0.5 * np.sin(np.arange(22050) * 0.1)
    found = read_audio(made(np.stack([tone, -tone], 1), form, subtype, 44100))
    assert found.samples.shape == (2, 22050)
    assert np.abs(found.samples[0] - tone)[2000:-2000].max() < 0.05
    assert np.abs(found.samples[0] + found.samples[1]).max() < 0.05


@pytest.mark.parametrize("suffix", [".wav", ".FLAC"])
def test_what_is_written_comes_back(suffix: str, tmp_path: Path) -> None:
    steps = np.arange(-32768, 32768, 7, dtype=np.int16)
    audio = Audio((steps.astype(np.float32) / 32768)[None].repeat(2, 0), 24000)
    write_audio(audio, tmp_path / f"a{suffix}")
    back = read_audio(tmp_path / f"a{suffix}")
    assert np.array_equal(back.samples, audio.samples)
    assert back.rate == 24000


def test_what_goes_beyond_is_clipped_and_not_wrapped() -> None:
    loud = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
    assert read_audio(made(loud, subtype="FLOAT")).samples.tolist() == [[-1, -1, 0, 1, 1]]
    back = read_audio(encode_audio(Audio(loud.astype(np.float32)[None], 8000), ".wav")).samples
    assert back.tolist() == [[-1, -1, 0, 32767 / 32768, 32767 / 32768]]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(number: float) -> None:
    with pytest.raises(SignalError, match="no numbers"):
        read_audio(made(np.array([0.0, number]), subtype="FLOAT"), "x.wav")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"RIFF, but no more than that", "no sound"),
        (made(np.zeros((0, 1))), "no samples"),
        (made(np.zeros((4, 9))), "9 channels"),
        (made(np.zeros(8), "AU"), "a AU file"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(SignalError, match=message) as error:
        read_audio(data, "x.wav")
    assert str(error.value).startswith("x.wav: ")
    assert "\n" not in str(error.value)


def test_files_too_long_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_SAMPLES", 1000)
    with pytest.raises(SignalError, match="split it"):
        read_audio(made(RAMP))


def test_a_missing_file_and_an_unknown_suffix_are_named(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="no such file"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(UsageError, match=r"\.wav, \.flac"):
        write_audio(Audio(np.zeros((1, 4), np.float32), 8000), tmp_path / "a.mp3")


def test_odd_files_are_read_or_refused(data_folder: Path) -> None:
    files = [path for path in sorted((data_folder / "audio" / "odd").iterdir()) if path.suffix != ".json"]
    refused = []
    for path in files:
        try:
            read_audio(path)
        except SignalError:
            refused.append(path.name)
    assert refused == ["empty_16k.wav", "not_audio.wav", "stereo_44k1.m4a"]
