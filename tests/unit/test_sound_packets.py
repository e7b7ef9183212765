"""MP3, AAC and FLAC: delays that are cut off, rates that are spent, damage."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import pytest

from smalti.codecs.classical import packets
from smalti.codecs.classical.flac import Flac
from smalti.codecs.classical.packets import AAC, MP3, PacketCodec
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, SignalError, UsageError
from smalti.tokenizers.signals import Array, Audio

pytest.importorskip("av")
CODECS = {kind.name: PacketCodec(kind) for kind in (MP3, AAC)}


def sweep(seconds: float, rate: int, channels: int = 1) -> Audio:
    """A gliding tone in noise, which matches itself at one place alone."""
    t = np.arange(max(1, round(seconds * rate))) / rate
    noise = np.random.default_rng(0).normal(0, 0.02, (channels, len(t)))
    return Audio((0.3 * np.sin(2 * np.pi * (200 * t + 300 * t * t)) + noise).astype(np.float32), rate)


def lag(decoded: Array, original: Array) -> int:
    """Samples by which a sound comes too late, by cross-correlation."""
    count = 2 * len(original)
    match = np.fft.irfft(np.fft.rfft(decoded, count) * np.conj(np.fft.rfft(original, count)))
    return int((np.argmax(match) + len(original)) % count - len(original))


def pcm(sound: Audio) -> Audio:
    """In steps of 16 bits."""
    return Audio((np.rint(sound.samples * 32768) / np.float32(32768)).astype(np.float32), sound.rate)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("name", CODECS)
def test_the_delay_of_the_encoder_is_cut_off(name: str, rate: int) -> None:
    codec, sound = CODECS[name], sweep(0.7, rate, 2 if rate == 44100 else 1)
    back = codec.decompress(codec.compress(sound, Target(quality=64)))
    assert isinstance(back, Audio)
    assert (back.samples.shape, back.rate) == (sound.samples.shape, rate)
    assert lag(back.samples[-1], sound.samples[-1]) == 0
    assert lag(np.roll(back.samples[0], 5), sound.samples[0]) == 5, "what the test measures by"


@pytest.mark.parametrize("name", CODECS)
def test_what_is_asked_for_is_spent(name: str) -> None:
    codec, sound = CODECS[name], sweep(2, 24000)
    for asked in (16, 32, 64):
        data = codec.compress(sound, Target(quality=asked))
        assert 0.8 * asked < 8 * codec.payload_bytes(data) / 2000 < 1.25 * asked
        assert len(data) - codec.payload_bytes(data) < 16 + 2 * 60 * (name == "aac")
    errors = [np.square(codec.decompress(codec.compress(sound, Target(quality=q))).samples - sound.samples).mean() for q in (16, 64)]  # type: ignore[union-attr]
    assert errors[1] < errors[0]


def test_few_bits_are_spent_at_low_sampling_rates() -> None:
    sound = sweep(0.1, 48000)
    assert [MP3.rate(sound, kbps) for kbps in (8, 16, 32, 40, 48)] == [8000, 16000, 24000, 32000, 48000]
    assert [AAC.rate(sweep(0.1, 11025), kbps) for kbps in (8, 64)] == [11025, 11025]


def test_qualities_of_mp3_are_its_rates() -> None:
    with pytest.raises(UsageError, match=r"quality .kbps asked for. 33, expected one of 8, 16"):
        CODECS["mp3"].compress(sweep(0.1, 16000), Target(quality=33))
    with pytest.raises(UsageError, match="expected 8 to 256"):
        CODECS["aac"].compress(sweep(0.1, 16000), Target(quality=7))


@pytest.mark.parametrize("name", CODECS)
def test_damage_is_found(name: str) -> None:
    codec = CODECS[name]
    data = codec.compress(sweep(0.3, 16000), Target(quality=16))
    for damaged in (data + b"\0", b"L" + data[1:], data[:4] + b"\xff" + data[5:], data[: len(data) // 2]):
        with pytest.raises(BitstreamError):
            codec.decompress(damaged)
    random = np.random.default_rng(0)
    for _ in range(40):  # no checksum: other sounds may come out, other errors may not
        flipped = bytearray(data)
        flipped[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        with contextlib.suppress(BitstreamError):
            assert isinstance(codec.decompress(bytes(flipped)), Audio)


def test_more_frames_than_the_sound_can_have_are_refused_before_they_are_read() -> None:
    data = CODECS["aac"].compress(sweep(0.05, 16000), Target(quality=16))
    head = packets.read_head(data, AAC.letter, "aac")[0]
    start = len(head.pack(AAC.letter)) + 3  # sampling rate, delay
    with pytest.raises(BitstreamError, match="the limit is"):
        CODECS["aac"].decompress(data[:start] + b"\xff\x7f" + data[start + 1 :])


def test_flac_loses_nothing() -> None:
    codec, sound = Flac(), pcm(sweep(0.5, 44100, 2))
    data = codec.compress(sound)
    back = codec.decompress(data)
    assert isinstance(back, Audio)
    assert back.rate == 44100
    np.testing.assert_array_equal(back.samples, sound.samples)
    fine = dataclasses.replace(sound, samples=sound.samples + np.float32(2**-20))
    finer = codec.compress(fine)
    assert len(finer) > len(data), "24 bits where 16 do not do"
    assert np.abs(codec.decompress(finer).samples - fine.samples).max() <= 2**-23  # type: ignore[union-attr]
    assert 0 < len(data) - codec.payload_bytes(data) < 400


def test_flac_has_one_size() -> None:
    codec, sound = Flac(), pcm(sweep(0.2, 16000))
    data = codec.compress(sound)
    assert codec.compress(sound, Target(bytes=len(data))) == data
    for target in (Target(bytes=len(data) - 1), Target(quality=5), Target(stages=1)):
        with pytest.raises(UsageError):
            codec.compress(sound, target)
    with pytest.raises(SignalError, match="at most"):
        codec.compress(Audio(np.zeros((1, 4), np.float32), 700000))
    with pytest.raises(BitstreamError):
        codec.decompress(b"RIFF" + data[4:])
