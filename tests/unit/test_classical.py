"""The search for the best quality, pictures made smaller, and names of codecs."""

from __future__ import annotations

import numpy as np
import pytest

from smalti.codecs import registry
from smalti.codecs.classical import downscaled
from smalti.codecs.classical.downscaled import Downscaled
from smalti.codecs.classical.search import best_quality
from smalti.codecs.media import images
from smalti.codecs.registry import resolve
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.signals import Image


def test_the_search_finds_the_best_that_fits() -> None:
    sizes = [10, 11, 13, 20, 19, 30, 40, 41, 55, 70]
    for room in range(10, 80):
        best = max(quality for quality, size in enumerate(sizes) if size <= room)
        assert best_quality(sizes.__getitem__, range(10), room) == best, room
    with pytest.raises(UsageError, match="smallest file of this signal has 10 bytes, the target allows 9"):
        best_quality(sizes.__getitem__, range(10), 9.5)


def test_the_search_looks_past_a_worst_quality_that_is_not_the_smallest() -> None:
    assert best_quality([105, 100, 101, 120].__getitem__, range(4), 100) == 1
    with pytest.raises(UsageError, match="has 111 bytes"):
        best_quality([111, 100, 101, 120].__getitem__, range(4), 100)


def test_what_cannot_be_written_counts_as_too_large() -> None:
    assert best_quality(lambda quality: 5 if quality <= 3 else None, range(9), 100) == 3


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 4), (5, 7), (64, 63)])
@pytest.mark.parametrize("factor", downscaled.FACTORS)
def test_flat_pictures_come_back_at_their_size(size: tuple[int, int], factor: int) -> None:
    codec = Downscaled(resolve("webp"), factor)
    picture = Image(np.full((*size, 3), 77, np.uint8))
    data = codec.compress(picture)
    assert len(data) == 1 + len(codec.inner.compress(Image(np.full((-(-size[0] // factor), -(-size[1] // factor), 3), 77, np.uint8))))
    back = codec.decompress(data)
    assert isinstance(back, Image)
    assert back.pixels.shape == picture.pixels.shape
    assert np.ptp(back.pixels) == 0


def test_pictures_do_not_shift() -> None:
    ramp = np.repeat(np.linspace(20, 220, 64)[None, :, None], 16, 0).repeat(3, 2).round().astype(np.uint8)
    back = resolve("avif-444/4").decompress(resolve("avif-444/4").compress(Image(ramp)))
    assert isinstance(back, Image)
    # a pixel is 3.2 steps wide
    assert abs((back.pixels.astype(float) - ramp)[:, 8:-8].mean()) < 0.5


def test_a_small_file_of_a_huge_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Downscaled(resolve("webp"), 4)
    data = codec.compress(Image(np.zeros((40, 40, 3), np.uint8)))
    monkeypatch.setattr(downscaled, "MAX_PIXELS", 1599)
    with pytest.raises(BitstreamError, match="40 x 40 pixels, expected"):
        codec.decompress(data)
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    for inner, file in ((codec, data), (codec.inner, data[1:])):  # refused before it is decoded
        with pytest.raises(BitstreamError, match="10 x 10 pixels, expected"):
            inner.decompress(file)


def test_a_cut_that_the_factor_does_not_allow_is_refused() -> None:
    codec = resolve("webp/2")
    data = codec.compress(Image(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(BitstreamError, match="2 rows and 0 columns"):
        codec.decompress(bytes([data[0] | 8]) + data[1:])
    with pytest.raises(BitstreamError, match="no file of webp/4"):
        resolve("webp/4").decompress(data)


def test_pictures_beyond_the_format_are_refused() -> None:
    with pytest.raises(UsageError, match="webp cannot hold this picture of 16384 x 1 pixels"):
        resolve("webp").compress(Image(np.zeros((1, 16384, 3), np.uint8)), Target(bytes=1000))


def test_codecs_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"no codec 'jpg-420'; did you mean 'jpeg-420'\?"):
        resolve("jpg-420")
    with pytest.raises(UsageError, match=r"no codec 'webp/3'; pictures and films are shrunk by webp/2 or webp/4"):
        resolve("webp/3")
    monkeypatch.setitem(registry.CODECS, "lost", "smalti.codecs.nowhere:codec")
    with pytest.raises(ModelError, match="codec 'lost' cannot be imported"):
        resolve("lost")
