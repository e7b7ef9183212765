"""A line of latents whose tail may be dropped: one stage per band of steps, and any number of bands decodes.

Miwa et al., "One-D-Piece" (arXiv 2501.10064), for the latents of one-dimensional tokenizers (TiTok, arXiv 2406.07550): (B, D, steps), or
(B, D, steps, row, col) for a line of steps in each region. In training each sample keeps its first k bands, k uniform over 1..all, so that
what matters most moves to the front. The paper's code draws one k for a whole batch; here it is each sample's own, unless the config
says otherwise, and falls on borders of bands, since nothing else is ever decoded.

An absent step is not zero but a filler that is learned for each step (zero at first): z_q has its full shape after any prefix, so a
decoder need not know how much it was given. One codebook serves all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import grouped
from smalti.tokenizers.quantizers.dropout import keep
from smalti.tokenizers.quantizers.grid import check_latents, to_grid, to_rows
from smalti.tokenizers.quantizers.grouped import CodeConfig, Group, check_grid, check_prefix, check_stages
from smalti.tokenizers.tokens import Layout

DROPS = ("uniform", "doubling", "batch")


@dataclass(frozen=True)
class LineConfig:
    """bands: steps in each band, in order; their sum is the first axis of the latent grid.

    tail_drop: probability, in training, that a sample keeps only its first k bands, k drawn from `drop`: "uniform" over 1..all;
    "doubling", over 1, 2, 4, ..., all alike, which gives short lines and the whole one more of the training (FlexTok, arXiv 2502.13967);
    "batch", uniform, but one k for all samples of a step, as the paper's code has it, for comparison.
    """

    kind: ClassVar[str] = "line"
    codebook: CodeConfig
    bands: tuple[int, ...]
    tail_drop: float = 1.0
    drop: str = "uniform"

    def __post_init__(self) -> None:
        if not self.bands or min(self.bands) < 1:
            raise UsageError(f"a line has at least one band and one step in each, found {self.bands}")
        check_stages((self.codebook,) * len(self.bands))
        if not 0 <= self.tail_drop <= 1:
            raise UsageError(f"tail_drop lies in [0, 1], found {self.tail_drop}")
        if self.drop not in DROPS:
            raise UsageError(f"drop is one of {', '.join(DROPS)}, found {self.drop!r}")

    @property
    def steps(self) -> int:
        return sum(self.bands)


class Line(nn.Module):
    """See the module's docstring. Fulfils `contracts.Quantizer`."""

    def __init__(self, config: LineConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook = grouped.build(config.codebook)
        self.dim, self.width = self._group.dim, len(self._group.sizes)
        self.cuts = tuple(self.width * (band + 1) for band in range(len(config.bands)))
        self.filler = nn.Parameter(torch.zeros(self.dim, config.steps))

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...] = ()) -> Layout:
        self._check_steps(grid)
        rest = tuple(zip(axes[1:], grid[1:], strict=True))
        bands = enumerate(self.config.bands)
        stages = [stage for i, steps in bands for stage in self._group.stages(f"band{i}", ((axes[0], steps), *rest))]
        return Layout(tuple(stages), self.cuts, signal)

    def forward(self, z: Tensor) -> Quantized:
        check_latents(z, self.dim, self.training)
        self._check_steps(tuple(z.shape[2:]))
        group, given = self._group, z.dtype
        z = group.bound(z)
        batch, grid = z.shape[0], tuple(z.shape[2:])
        rows = to_rows(z)
        found = group.assign(rows)
        entries = group.read(rows, found)
        losses = {"commitment": group.loss(rows, entries)}
        bands = [index.reshape(batch, *grid).split(list(self.config.bands), 1) for index in found]
        indices = tuple(index for band in zip(*bands, strict=True) for index in band)
        z_q = to_grid(entries, batch, grid)
        if not self.training:
            return Quantized(z_q.to(given), indices, losses)
        group.update(rows, found)
        health = {key: value for i, band in enumerate(zip(*bands, strict=True)) for key, value in group.health(str(i), band).items()}
        held = torch.where(self._kept(z), group.carry(z, z_q), self._absent(z.shape).to(z.dtype))
        return Quantized(held.to(given), indices, losses, health)

    def dequantize(self, indices: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        bands = self._bands(indices)
        entries = [self._group.lookup([index.flatten() for index in band]) for band in bands]
        return self._fill(entries, [band[0] for band in bands], grid)

    def decode_soft(self, logits: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        bands = self._bands(logits)
        return self._fill([self._group.expect(band) for band in bands], [band[0][:, 0] for band in bands], grid)

    def _fill(self, entries: list[Tensor], stages: list[Tensor], grid: tuple[int, ...] | None) -> Tensor:
        """z_q (B, D, steps, *rest) from the entries (N, D) of each band, absent steps filled in."""
        batch, rest = stages[0].shape[0], tuple(stages[0].shape[2:])
        for stage, steps in zip(stages, self.config.bands, strict=False):
            check_grid(tuple(stage.shape[1:]), (steps, *rest))
        check_grid((self.config.steps, *rest), grid)
        given = [to_grid(entry, batch, tuple(stage.shape[1:])) for entry, stage in zip(entries, stages, strict=True)]
        held = sum(self.config.bands[: len(stages)])
        return torch.cat([*given, self._absent((batch, self.dim, self.config.steps, *rest))[:, :, held:]], 2)

    def _absent(self, shape: Sequence[int]) -> Tensor:
        return self.filler.reshape(1, *self.filler.shape, *(1,) * (len(shape) - 3)).expand(*shape)

    def _kept(self, z: Tensor) -> Tensor:
        """Boolean (B, 1, steps, 1, ...): which steps each sample keeps in this step of training."""
        bands = len(self.config.bands)
        if self.config.drop == "doubling":
            kept = self._doubled(len(z), z.device)
        else:  # k uniform over 1..all is all with probability 1 / bands, else one of 1..all-1
            draws = 1 if self.config.drop == "batch" else len(z)
            kept = keep(draws, bands, self.config.tail_drop * (1 - 1 / bands), z.device).t().expand(len(z), -1) > 0
        steps = kept.repeat_interleave(torch.tensor(self.config.bands, device=z.device), 1)
        return steps.reshape(len(z), 1, self.config.steps, *(1,) * (z.ndim - 3))

    def _doubled(self, batch: int, device: torch.device) -> Tensor:
        """Boolean (B, bands)."""
        bands = len(self.config.bands)
        lengths = torch.tensor([*(2**i for i in range(bands.bit_length()) if 2**i < bands), bands], device=device)
        drawn = lengths[torch.randint(len(lengths), (batch,), device=device)]
        held = torch.where(torch.rand(batch, device=device) < self.config.tail_drop, drawn, bands)
        return torch.arange(bands, device=device) < held[:, None]

    def _bands(self, stages: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        check_prefix(stages, self.cuts)
        return [stages[start : start + self.width] for start in range(0, len(stages), self.width)]

    def _check_steps(self, grid: tuple[int, ...]) -> None:
        if not grid or grid[0] != self.config.steps:
            raise UsageError(
                f"the bands {self.config.bands} are for {self.config.steps} steps, the first axis of the grid {grid} has others"
            )

    @property
    def _group(self) -> Group:
        return Group(self.codebook)
