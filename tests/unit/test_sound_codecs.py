"""Opus and Lyra: rates, exact sizes, nearness, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalti.codecs.classical import lyra
from smalti.codecs.classical.opus import Opus
from smalti.codecs.classical.sound_head import Head, read_head
from smalti.codecs.registry import SOUND_CODECS, resolve
from smalti.metrics.audio import MelDistance
from smalti.testing import check_codec
from smalti.tokenizers.contracts import Codec, Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Audio, Image


def chord(seconds: float = 1.0, rate: int = 16000, channels: int = 1) -> Audio:
    """Gliding tones that swell and fade."""
    t = np.arange(max(1, round(seconds * rate))) / rate
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * 3 * t)
    voices = [sum(np.sin(2 * np.pi * (170 + 25 * c) * k * t * (1 + 0.05 * t)) / k for k in range(1, 9)) for c in range(channels)]
    return Audio((0.15 * swell * np.stack(voices)).astype(np.float32), rate)


def codec_of(name: str) -> Codec:
    try:
        return resolve(name)
    except ModelError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", SOUND_CODECS)
def test_sound_codecs_conform(name: str) -> None:
    codec = codec_of(name)
    assert codec.name == name
    check_codec(codec, [chord(1 / 16000), chord(0.11, 44100, 2), chord(0.3)])


@pytest.mark.parametrize(("rate", "channels", "samples"), [(8000, 1, 81), (22050, 1, 1), (24000, 2, 961), (48000, 1, 960), (96000, 2, 7)])
def test_opus_brings_any_size_back(rate: int, channels: int, samples: int) -> None:
    codec, sound = Opus(), chord(samples / rate, rate, channels)
    back = codec.decompress(codec.compress(sound, Target(quality=16)))
    assert isinstance(back, Audio)
    assert (back.samples.shape, back.rate) == ((channels, samples), rate)


def test_opus_is_aligned_and_better_for_more() -> None:
    codec, sound = Opus(), chord()
    files = [codec.compress(sound, Target(quality=quality)) for quality in (8, 16, 48, 96)]
    assert sorted(files, key=len) == files
    decoded = [codec.decompress(data) for data in files]
    distances = [MelDistance()(sound, back).value for back in decoded]
    assert distances[-1] < distances[0] / 2
    assert isinstance(decoded[-1], Audio)
    x, y = sound.samples[0], decoded[-1].samples[0]
    matches = {lag: float(x[50:-50] @ y[50 + lag : len(y) - 50 + lag]) for lag in range(-50, 51)}
    assert abs(max(matches, key=lambda lag: matches[lag])) <= 2, "its filter against rumble moves low tones by a sample or two"
    for data, asked in zip(files, (8, 16, 48, 96), strict=True):
        kbps = 8 * codec.payload_bytes(data) / 1000
        assert 0.4 * asked < kbps < 1.4 * asked, "all rate is spent on a chord, and its start costs more"
        packets = 51  # of 20 ms, and the delay
        assert packets < len(data) - codec.payload_bytes(data) <= 2 * packets + 10


def test_targets_are_met() -> None:
    codec, sound = Opus(), chord()
    data = codec.compress(sound, Target(kbps=12.0))
    assert len(data) <= 1500
    assert len(data) > 0.7 * 1500
    assert codec.compress(sound, Target(bytes=1500)) == data
    with pytest.raises(UsageError, match=r"the smallest file of this signal has \d+ bytes"):
        codec.compress(sound, Target(kbps=2.0))
    for target in (Target(stages=1), Target(bits_per_pixel=1.0), Target(quality=5), Target(quality=129)):
        with pytest.raises(UsageError):
            codec.compress(sound, target)


def test_what_no_codec_of_sounds_takes() -> None:
    codec = Opus()
    with pytest.raises(SignalError, match="found Image"):
        codec.compress(Image(np.zeros((2, 2, 3), np.uint8)))
    with pytest.raises(SignalError, match="2 channels"):
        codec.compress(chord(0.1, channels=3))
    with pytest.raises(SignalError, match="no numbers"):
        codec.compress(Audio(np.full((1, 4), np.nan, np.float32), 16000))
    with pytest.raises(UsageError, match="sounds are not"):
        resolve("opus/2")


def test_damage_of_opus_is_found() -> None:
    codec, data = Opus(), Opus().compress(chord(0.2), Target(quality=8))
    for damaged in (data + b"\0", b"L" + data[1:], data[:1] + b"\xff\xff\xff\xff\x7f" + data[5:], data[:7] + bytes(len(data) - 7)):
        with pytest.raises(BitstreamError):
            codec.decompress(damaged)


@pytest.mark.parametrize("head", [Head(0, 16000, 1), Head(5, 0, 1), Head(5, 16000, 9), Head(2**29, 16000, 2), Head(2**28, 1000, 1)])
def test_impossible_heads_are_refused_before_anything_is_allocated(head: Head) -> None:
    with pytest.raises(BitstreamError):
        read_head(head.pack(b"O"), b"O", "opus")


def test_lyra_has_three_rates() -> None:
    codec, sound = codec_of("lyra"), chord()
    assert isinstance(codec, lyra.Lyra)
    for quality, kbps in ((1, 3.2), (2, 6.0), (3, 9.2)):
        data = codec.compress(sound, Target(quality=quality))
        assert 8 * codec.payload_bytes(data) / 1000 == kbps
        assert len(data) - codec.payload_bytes(data) <= 12
    assert len(codec.compress(sound, Target(kbps=6.3))) == 750 + 7
    with pytest.raises(UsageError):
        codec.compress(sound, Target(quality=4))
    with pytest.raises(BitstreamError):
        codec.decompress(data + b"\0")


def test_networks_of_lyra_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALTI_LYRA", str(tmp_path))
    with pytest.raises(ModelError, match="not found; get it from google/lyra"):
        lyra.Lyra()
    (tmp_path / "soundstream_encoder.tflite").write_bytes(b"another")
    with pytest.raises(ModelError, match="another network"):
        lyra.Lyra()
