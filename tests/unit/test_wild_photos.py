"""Drift and joins are seen where they were put."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from smalti.recipes import wild_photos
from smalti.recipes.wild_photos import check
from smalti.tokenizers.signals import Image


@dataclass
class Stub:
    """Adds an error that the test makes: error(height, width, tile) -> (H, W, 3)."""

    error: Any
    tile_pixels: int = 1024

    @dataclass
    class config:  # noqa: N801
        stride = 16

    def encode(self, pictures: list[Image]) -> list[Image]:
        return pictures

    def decode(self, pictures: list[Image]) -> list[Image]:
        return [Image((p.pixels + self.error(p.height, p.width, self.tile_pixels)).round().astype(np.uint8)) for p in pictures]


def noise(height: int, width: int, tile: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 5, (height, width, 3))


def gray(height: int, width: int) -> Image:
    return Image(np.full((height, width, 3), 128, np.uint8))


def test_noise_has_no_joins_and_no_colour() -> None:
    found = check(Stub(noise), "x", gray(600, 500), passes=0)
    assert not found.drifts
    assert found.token_join == pytest.approx(1, abs=0.01)
    assert found.tile_join == 1


def test_colour_drifts() -> None:
    found = check(Stub(lambda h, w, tile: noise(h, w, tile) + np.array([0, -2, 0.3])), "x", gray(300, 300), passes=0)
    assert found.drifts
    assert found.color == pytest.approx((0, -2, 0.3), abs=0.1)


def test_tokens_show() -> None:
    def blocks(height: int, width: int, tile: int) -> np.ndarray:
        levels = np.random.default_rng(1).normal(0, 20, (-(-height // 16), -(-width // 16), 1))
        return noise(height, width, tile) + levels.repeat(16, 0).repeat(16, 1)[:height, :width]

    found = check(Stub(blocks), "x", gray(600, 500), passes=0)
    assert found.token_join is not None
    assert found.token_join > 2
    assert found.tile_join == 1


def test_regions_show() -> None:
    """Where tokens are those of a region, its borders count, not those of the stride."""

    class Regional(Stub):
        name, fingerprint, region_pixels = "x", "", 128

        def layout(self, signal: Any) -> Any:
            raise NotImplementedError

    def regions(height: int, width: int, tile: int) -> np.ndarray:
        odd = np.add.outer(np.arange(height) // 128, np.arange(width) // 128) % 2
        return noise(height, width, tile) + 20 * odd[..., None]

    seen, unseen = (check(kind(regions), "x", gray(600, 500), passes=0).token_join for kind in (Regional, Stub))
    assert seen is not None
    assert unseen is not None
    assert seen > 2.5 > unseen


@pytest.mark.parametrize(("size", "tile"), [((600, 500), 256), ((64, 1300), 1024)])
def test_tiles_show(size: tuple[int, int], tile: int) -> None:
    def tiles(height: int, width: int, found: int) -> np.ndarray:
        assert found in (tile, 3 * tile // 4)
        odd = np.add.outer(np.arange(height) // found, np.arange(width) // found) % 2
        return noise(height, width, tile) + 20 * odd[..., None]

    stub = Stub(tiles)
    found = check(stub, "x", gray(*size), passes=0)
    assert stub.tile_pixels == 1024
    assert found.tile_join is not None
    assert found.tile_join > 2


def test_a_picture_of_one_token_has_no_joins() -> None:
    found = check(Stub(noise), "x", gray(16, 9), passes=0)
    assert (found.token_join, found.tile_join) == (None, None)


def test_photos_are_there() -> None:
    pytest.importorskip("skimage")
    found = list(wild_photos.samples(0.3))
    assert len(found) >= 5
    assert {"astronaut.png", "chelsea.png", "coffee.png"} <= {name for name, _ in found}
