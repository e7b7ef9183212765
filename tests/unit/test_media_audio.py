"""Sound files: what comes in, what is refused, what is written."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from smalti.codecs.media import audio as media
from smalti.codecs.media import soundtrack
from smalti.codecs.media.audio import encode_audio, looks_like_sound, read_audio, write_audio
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_look_takes_nothing_from_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    data = encode_audio(Audio(np.zeros((1, 80), np.float32), 8000), ".wav")
    end = os.open(tmp_path / "pipe", os.O_RDWR)  # both ends, so that opening one does not wait for the other
    try:
        os.write(end, data)
        assert not looks_like_sound(tmp_path / "pipe")
        assert os.read(end, 2 * len(data)) == data
    finally:
        os.close(end)


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
    assert refused == ["empty_16k.wav", "not_audio.wav"]
    assert read_audio(data_folder / "audio" / "odd" / "stereo_44k1.m4a").samples.shape == (2, 53944), "as its track says"


@pytest.mark.parametrize(
    ("form", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16")]
)
def test_sounds_are_known_by_how_they_begin(form: str, subtype: str, tmp_path: Path) -> None:
    data = made(0.1 * RAMP, form, subtype)
    (tmp_path / "download").write_bytes(data)
    assert looks_like_sound(data)
    assert looks_like_sound(tmp_path / "download")
    assert looks_like_sound(tmp_path / "missing.mp3")
    assert not looks_like_sound(tmp_path / "missing")


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"\xff\xfe<\0", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"\xff"])
def test_what_begins_otherwise_is_none(start: bytes) -> None:
    assert not looks_like_sound(start)
    assert all(looks_like_sound(b"\xff" + bytes([layer]) + b"\x90\0") for layer in (0xFA, 0xFB, 0xF2, 0xF3, 0xE2, 0xE3))


def film(form: str, codec: str, rate: int, count: int, pictures: bool = False) -> tuple[bytes, np.ndarray]:
    """A film with a tone in its left channel and the inverse in its right, without sound where `codec` is empty; and the tone."""
    buffer = io.BytesIO()
    tone = (0.3 * np.sin(0.05 * np.arange(count))).astype(np.float32)
    with av.open(buffer, "w", format=form) as out:
        track = out.add_stream("mpeg4", rate=25) if pictures else None
        sound = out.add_stream(codec, rate=rate, layout="stereo") if codec else None
        if track is not None:
            track.width = track.height = 32
            track.pix_fmt = "yuv420p"
            for frame in (av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24"), None):
                out.mux(track.encode(frame))
        if sound is not None:
            whole = av.AudioFrame.from_ndarray(np.stack([tone, -tone]), "fltp", "stereo")
            whole.sample_rate, whole.pts = rate, 0
            to_codec = av.AudioResampler(format=sound.codec_context.format, layout="stereo", rate=rate, frame_size=1024)
            for part in (*to_codec.resample(whole), *to_codec.resample(None), None):
                out.mux(sound.encode(part))
    return buffer.getvalue(), tone


@pytest.mark.parametrize(
    ("form", "codec", "near"),
    [("mp4", "aac", 0.02), ("ipod", "aac", 0.02), ("mov", "pcm_s16le", 2**-14), ("matroska", "flac", 2**-14)],
)
def test_soundtracks_are_read_exactly_as_long_as_they_were(form: str, codec: str, near: float) -> None:
    data, tone = film(form, codec, 44100, 22050, pictures=form in ("mp4", "matroska"))
    found = read_audio(data)
    assert (found.samples.shape, found.rate) == ((2, 22050), 44100)
    assert np.abs(found.samples - [tone, -tone])[:, 2000:-2000].max() < near
    assert looks_like_sound(data) == (form == "ipod"), "a film is none, but has a sound"


def test_films_that_have_no_sound_or_are_damaged_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(film("mp4", "", 44100, 1, pictures=True)[0])
    with pytest.raises(SignalError, match=r"a\.mp4: no track of sound"):
        read_audio(tmp_path / "a.mp4")
    data, _ = film("mp4", "aac", 44100, 22050)
    for broken in (data[:2000], data[:12], b"\x1aE\xdf\xa3" + bytes(40)):
        with pytest.raises(SignalError, match=r"^x\.mp4: ") as error:
            read_audio(broken, "x.mp4")
        assert "\n" not in str(error.value)
    monkeypatch.setattr(soundtrack, "MAX_SAMPLES", 1000)
    with pytest.raises(SignalError, match="split it"):
        read_audio(data)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SignalError, match=r"pip install 'smalti\[media\]'"):
        read_audio(data)
