"""Large pictures in tiles whose results equal the whole picture's.

A tile is computed with a margin as wide as the network's receptive field and then trimmed; at the picture's own edges there is no
margin, so the network pads there just as it would for the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np


@dataclass(frozen=True)
class Span:
    """Along one axis, in token steps: the inner part that is kept and the outer part that is computed."""

    start: int
    stop: int
    outer_start: int
    outer_stop: int

    @property
    def inner(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def outer(self) -> slice:
        return slice(self.outer_start, self.outer_stop)

    @property
    def trim(self) -> slice:
        """The inner part within the outer one."""
        return slice(self.start - self.outer_start, self.stop - self.outer_start)

    @property
    def margins(self) -> tuple[int, int]:
        """What is computed beyond the inner part, before and behind it."""
        return self.start - self.outer_start, self.outer_stop - self.stop

    def scaled(self, stride: int) -> Span:
        """The same span in steps `stride` times finer."""
        return Span(self.start * stride, self.stop * stride, self.outer_start * stride, self.outer_stop * stride)


def spans(size: int, step: int, margin: int) -> list[Span]:
    """Spans of `step` that cover 0..size, with `margin` on both sides where there is room."""
    return [Span(a, min(a + step, size), max(a - margin, 0), min(a + step + margin, size)) for a in range(0, size, step)]


@dataclass(frozen=True)
class Tile:
    """One tile of the picture numbered `item` in a batch."""

    item: int
    rows: Span
    columns: Span

    @property
    def outer_shape(self) -> tuple[int, int]:
        rows, columns = self.rows, self.columns
        return rows.outer_stop - rows.outer_start, columns.outer_stop - columns.outer_start


def tiles(grids: Sequence[tuple[int, int]], step: int, margin: int) -> list[Tile]:
    """All tiles of pictures with these token grids (rows, columns)."""
    return [Tile(i, r, c) for i, (h, w) in enumerate(grids) for r in spans(h, step, margin) for c in spans(w, step, margin)]


T = TypeVar("T", bound=Tile)


def batches(found: Sequence[T], positions: int) -> Iterator[list[T]]:
    """Tiles of equal shape and margins together, at most `positions` token positions a batch (at least one tile)."""
    alike: dict[tuple[tuple[int, int], ...], list[T]] = {}
    for tile in found:
        alike.setdefault((tile.outer_shape, tile.rows.margins, tile.columns.margins), []).append(tile)
    for ((height, width), *_), group in alike.items():
        count = max(1, positions // (height * width))
        for start in range(0, len(group), count):
            yield group[start : start + count]


def plan(grids: Sequence[tuple[int, int]], stride: int, margin: int, tile_pixels: int, batch_pixels: int) -> list[list[Tile]]:
    """Batches of tiles of pictures with these token grids; tile_pixels: side of a tile's inner part. Tiles shrink where a batch of one with
    its margins has more than `batch_pixels`."""
    positions = batch_pixels // stride**2
    step = max(1, min(tile_pixels // stride, math.isqrt(positions) - 2 * margin))
    return list(batches(tiles(grids, step, margin), positions))


def paste(picture: np.ndarray, tile: Tile, pixels: np.ndarray, stride: int) -> None:
    """Write a tile's inner part (h, w, 3) into its picture (H, W, 3), which may end before the tile does."""
    rows, columns = tile.rows.scaled(stride), tile.columns.scaled(stride)
    target = picture[rows.inner, columns.inner]
    target[:] = pixels[: target.shape[0], : target.shape[1]]
