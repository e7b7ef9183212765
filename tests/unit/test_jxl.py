"""JPEG XL and JPEG 2000: sizes read before anything is decoded, scales of quality."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pil

from smalti.codecs.classical.jxl import Jxl, distance_of, stated_size
from smalti.codecs.classical.still import jpeg2000
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.signals import Array, Image

pytest.importorskip("imagecodecs")


def waves(height: int, width: int) -> Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image((np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 15)], -1) * 90 + 128).astype(np.uint8))


def psnr(a: Array, b: Array) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (64, 256), (40, 60), (33, 42), (300, 400), (1, 600), (256, 1), (48, 64), (9, 16)])
def test_the_size_is_read_from_the_first_bytes(size: tuple[int, int]) -> None:
    codec = Jxl()
    data = codec.compress(waves(*size), Target(quality=30))
    assert stated_size(data) == size
    back = codec.decompress(data)
    assert isinstance(back, Image)
    assert back.pixels.shape == (*size, 3)


def test_huge_sizes_are_refused_before_decoding() -> None:
    bits, place = 0, 0
    for value, count in ((0, 1), (3, 2), (2**29, 30), (0, 3), (3, 2), (2**29, 30)):  # not small, 30 bits for each side, no ratio
        bits, place = bits | value << place, place + count
    with pytest.raises(BitstreamError, match="536870913 x 536870913 pixels, expected sides of"):
        Jxl().decompress(b"\xff\x0a" + bits.to_bytes(10, "little") + bytes(50))
    for wrong in (b"", b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30)):
        with pytest.raises(BitstreamError, match="no JPEG XL codestream"):
            Jxl().decompress(wrong)


def test_pictures_that_are_not_of_three_channels_are_refused() -> None:
    import imagecodecs

    gray = imagecodecs.jpegxl_encode(waves(16, 16).pixels[..., 0].copy(), distance=1.0)
    with pytest.raises(BitstreamError, match="not of our making"):
        Jxl().decompress(gray)


def test_libjxls_scale() -> None:
    assert distance_of(100) == pytest.approx(0.1)
    assert distance_of(90) == pytest.approx(1.0)
    assert distance_of(0) == 25
    assert distance_of(30) == pytest.approx(6.4)
    with pytest.raises(UsageError, match="quality 101"):
        Jxl().compress(waves(8, 8), Target(quality=101))


def test_jpeg_2000_aims_at_a_psnr() -> None:
    picture, codec = waves(96, 128), jpeg2000()
    noisy = Image((picture.pixels + np.random.default_rng(0).normal(0, 20, picture.pixels.shape)).clip(0, 255).astype(np.uint8))
    for quality in (25.0, 37.5):
        back = codec.decompress(codec.compress(noisy, Target(quality=quality)))
        assert isinstance(back, Image)
        assert psnr(back.pixels, noisy.pixels) == pytest.approx(15 + 0.4 * quality, abs=1.0)


def test_jpeg_2000_codes_colours_by_their_differences() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (12, 16, 1), np.uint8).repeat(3, 2)
    picture = Image(np.array(Pil.fromarray(gray).resize((128, 96), Pil.Resampling.BICUBIC)))
    codec = jpeg2000()
    apart = replace(codec, options={**codec.options, "mct": 0})
    assert len(codec.compress(picture, Target(quality=50))) < 0.6 * len(apart.compress(picture, Target(quality=50)))
