"""Key latents of a film as residuals against the reconstructed latent of the key before, in a closed loop.

The encoder predicts from what a decoder has, so that errors don't add up, and quantizes what is left by one or more tables whose entry 0 is
the zero vector: nothing changes. As `video.keyed` does, it keeps entry 0 while that is nearly as near as the nearest (`slack`). The
prediction is the latent before at the same place, or moved along the group's motion entries.

Shape letters: T keys, D channels, h and w places, N rows, K entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.tokenizers.codebooks.kmeans import cluster
from smalti.tokenizers.codebooks.search import nearest
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers.grid import to_grid, to_rows
from smalti.tokenizers.video.motion import MotionConfig, shifts_of

ROWS_PER_ENTRY = 32  # that k-means sees


@dataclass(frozen=True)
class Prediction:
    """What the latent before says of the next. motion: None for the same place, else the table whose entries say from where.

    stride: pixels per place.
    """

    motion: MotionConfig | None = None
    stride: int = 16

    def __call__(self, before: Tensor, entries: Tensor) -> Tensor:
        """before (D, h, w), motion entries (h, w) -> (D, h, w)."""
        if self.motion is None:
            return before
        offset = -shifts_of(self.motion, entries[None])[0] / self.stride
        height, width = before.shape[1:]
        rows = torch.arange(height)[:, None] + offset[0]
        columns = torch.arange(width) + offset[1]
        grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
        drawn = F.grid_sample(before[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
        return torch.where((offset == 0).all(0), before, drawn)  # what stands still is not rounded again and again


@dataclass(frozen=True)
class Coded:
    """entries: per level int64 (T - 1, h, w). latents: (T, D, h, w), as decoded. residuals: (T - 1, D, h, w), before quantization."""

    entries: tuple[Tensor, ...]
    latents: Tensor
    residuals: Tensor


def chosen(rows: Tensor, table: Tensor, slack: float) -> Tensor:
    """Entries int64 (N,) of rows (N, D): the nearest of the table (K, D), or 0 where that is at most `slack` farther (squared distance)."""
    index = nearest(rows, table)
    farther = rows.square().sum(1) - (rows - table[index]).square().sum(1)
    return torch.where(farther <= slack, torch.zeros_like(index), index)


def closed_loop(z: Tensor, first: Tensor, motion: Tensor, tables: Sequence[Tensor], slack: float, prediction: Prediction) -> Coded:
    """Latents z (T, D, h, w) coded after the first, whose decoded latent (D, h, w) is given. motion: entries (T, h, w), the first idle."""
    latents, residuals, entries = [first], [], []
    for latent, moves in zip(z[1:], motion[1:], strict=True):
        before = prediction(latents[-1], moves)
        residuals.append(latent - before)
        rows, found = to_rows(residuals[-1][None]), []
        for table in tables:
            found.append(chosen(rows, table, slack))
            rows = rows - table[found[-1]]
        entries.append([index.reshape(moves.shape) for index in found])
        latents.append(_added(before, entries[-1], tables))
    stages = tuple(torch.stack(level) for level in zip(*entries, strict=True))
    return Coded(stages, torch.stack(latents), torch.stack(residuals))


def summed(first: Tensor, motion: Tensor, entries: Sequence[Tensor], tables: Sequence[Tensor], prediction: Prediction) -> Tensor:
    """The decoder: latents (T, D, h, w) of the first key's (D, h, w), motion entries (T, h, w) and those of some first levels."""
    latents = [first]
    for step, moves in enumerate(motion[1:]):
        latents.append(_added(prediction(latents[-1], moves), [level[step] for level in entries], tables))
    return torch.stack(latents)


def _added(before: Tensor, entries: Sequence[Tensor], tables: Sequence[Tensor]) -> Tensor:
    for index, table in zip(entries, tables, strict=False):
        before = before + to_grid(table[index.flatten()], 1, tuple(index.shape))[0]
    return before


def fitted(residuals: Tensor, levels: int, size: int, slack: float) -> tuple[Tensor, ...]:
    """Tables (size, D) of residuals (N, D), each by k-means on what the levels before left over; entry 0 is zero.

    Rows that `chosen` gives entry 0 whatever the table are left out, as far as enough are left without them. UsageError for too few rows.
    """
    if len(residuals) < size - 1:
        raise UsageError(f"{len(residuals)} residuals can't make {size - 1} entries; name more films, or a model of fewer entries")
    tables: list[Tensor] = []
    rows = residuals
    for _ in range(levels):
        lengths = rows.square().sum(1)
        held = rows[lengths > slack]
        if len(held) < size - 1:
            held = rows[lengths.topk(size - 1).indices]
        drawn = held[torch.randperm(len(held))[: ROWS_PER_ENTRY * size]]
        tables.append(torch.cat([rows.new_zeros(1, rows.shape[1]), cluster(drawn, size - 1).centres]))
        rows = rows - tables[-1][chosen(rows, tables[-1], slack)]
    return tuple(tables)
