"""x264, x265 and SVT-AV1 as codecs of films: sizes, targets, bytes that are counted, and files of others."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from smalti.codecs.classical.video import SVT_AV1, X264, X265, VideoCodec
from smalti.codecs.registry import VIDEO_CODECS, resolve
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, SignalError, UsageError
from smalti.tokenizers.signals import Array, Image, Video

pytest.importorskip("av")
NAMES = [f"{name}{factor}" for name in VIDEO_CODECS for factor in ("", "/2", "/4")]


def clip(count: int = 8, height: int = 67, width: int = 81) -> Video:
    """Smooth colours that move."""
    y, x = np.mgrid[0:height, 0:width]
    frames: list[Array] = []
    for i in range(count):
        waves = np.stack([np.sin((x + 2 * i) / 9), np.cos((y - i) / 7), np.sin((x + y + i) / 15)], -1) * 90 + 128
        frames.append(waves.clip(0, 255).astype(np.uint8))
    return Video(frames, Fraction(30000, 1001))


def frames_of(codec: VideoCodec, data: bytes) -> Array:
    film = codec.decompress(data)
    assert isinstance(film, Video)
    assert film.timing == Fraction(30000, 1001)
    return np.stack(list(film.frames))


@pytest.mark.parametrize("name", NAMES)
def test_a_film_comes_back_in_its_size(name: str) -> None:
    codec = resolve(name)
    assert isinstance(codec, VideoCodec)
    assert codec.name == name
    film = clip()
    whole = np.stack(list(film.frames)).astype(float)
    files = [codec.compress(film, Target(quality=quality)) for quality in (20, 45)]
    errors = [np.square(frames_of(codec, data) - whole).mean() for data in files]
    assert len(files[0]) < len(files[1])
    assert errors[0] > errors[1]
    assert errors[1] < (60 if codec.factor == 1 else 400)
    assert 0 < len(files[1]) - codec.payload_bytes(files[1]) <= 16
    if name.startswith("svt"):  # see the module on small frames
        assert codec.compress(film, Target(quality=45)) == files[1]
    for wrong in (files[1][:-1], files[1] + b"\0", files[1][:9], b"", bytes([files[1][0]]) + files[0][1:9] + files[1][9:]):
        with pytest.raises(BitstreamError):
            codec.decompress(wrong)
    other = VideoCodec(codec.encoder, 1 if codec.factor > 1 else 2)
    with pytest.raises(BitstreamError, match="decode it with the codec that wrote it"):
        other.decompress(files[1])


@pytest.mark.parametrize("name", VIDEO_CODECS)
def test_targets(name: str) -> None:
    codec, film = resolve(name), clip(4)
    assert isinstance(codec, VideoCodec)
    low, high = (len(codec.compress(film, Target(quality=quality))) for quality in (20, 40))
    room = (low + high) // 2
    data = codec.compress(film, Target(bytes=room))
    assert low < len(data) <= room
    again = codec.compress(film, Target(bits_per_pixel=8 * (room + 0.5) / (4 * 67 * 81)))
    assert low < len(again) <= room
    with pytest.raises(UsageError, match="the smallest file of this signal has"):
        codec.compress(film, Target(bytes=20))
    for target in (Target(stages=1), Target(quality=60), Target(quality=0.5)):
        with pytest.raises(UsageError):
            codec.compress(film, target)


def test_what_is_counted_holds_no_options_of_the_encoder() -> None:
    for encoder in (X264, X265, SVT_AV1):
        data = VideoCodec(encoder).compress(clip(3), Target(quality=30))
        assert b"options" not in data
        assert b"x26" not in data
    assert data[9:].count(b"\x12\x00\x0a") == 0  # no temporal delimiter before the sequence header


def test_refusals() -> None:
    codec = VideoCodec(X264)
    with pytest.raises(SignalError, match="takes films, found Image"):
        codec.compress(Image(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(SignalError, match="without frames"):
        codec.compress(Video([], Fraction(25)))
    with pytest.raises(SignalError, match="frames of one size"):
        codec.compress(Video([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], Fraction(25)))
    with pytest.raises(UsageError, match="films are shrunk by 2 or 4, found 3"):
        VideoCodec(X264, 3)
