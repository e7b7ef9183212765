"""Multi-scale residual quantization: each scale codes, on a finer grid, what the coarser ones left over; any number of scales decodes.

Tian et al., "Visual Autoregressive Modeling" (VAR, arXiv 2404.02905): one table for all scales, cubic interpolation, a few shared
convolutions phi(x) = (1 - r) x + r conv(x) that mend what interpolation blurs. With nearest interpolation, no phi and a table per scale it
is SNAC (arXiv 2410.14411); with an axis of planes held at full size, the schedule of VAT (arXiv 2412.02202).

Deviations: sizes may be fractions of the grid, so grids of any size and shape work; phi starts as the identity; the codebook's own loss is
taken at each scale, and the distance of every partial sum to the latents trains phi alone (VAR has both in one term); a shared table
learns once a step from all scales together; one scale alone is allowed (VAR's code divides by zero); samples may keep only some scales.
FSQ is not rescaled from scale to scale (what a finer scale adds is no smaller than what a coarse one had) and wants odd levels: even ones
have no zero.

A token of a coarse scale is the mean over its cell, of the whole grid for a scale of 1 x 1. So a picture in tiles has other tokens than
the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smalti.tokenizers.codebooks.rows import mean_square
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import grouped, schedule
from smalti.tokenizers.quantizers.dropout import keep
from smalti.tokenizers.quantizers.grid import check_latents, to_grid, to_rows
from smalti.tokenizers.quantizers.grouped import CodeConfig, Group, check_grid, check_prefix, check_stages
from smalti.tokenizers.tokens import Layout

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class MultiScaleConfig:
    """axes: of the latent grid. Exactly one of the two schedules:

    fractions: of each axis, per scale, ascending to 1, for grids of any size; `held_axes` (numbers) have their full size at every scale.
    counts: positions of each axis, per scale; only grids of the last one's size then.

    shared: one codebook for all scales. up: "nearest", "linear" or "cubic". phis: convolutions shared by the scales, 0 for none.
    phi_ratio: r. dropout: probability, in training, that a sample keeps only 1..scales-1 scales.
    """

    kind: ClassVar[str] = "multi-scale"
    codebook: CodeConfig
    fractions: tuple[float, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()
    axes: int = 2
    held_axes: tuple[int, ...] = ()
    shared: bool = True
    up: str = "cubic"
    phis: int = 4
    phi_ratio: float = 0.5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.fractions) == bool(self.counts):
            raise UsageError("a multi-scale quantizer needs fractions or counts, one of them")
        if self.fractions and (self.fractions[0] <= 0 or self.fractions[-1] != 1 or any(a > b for a, b in pairwise(self.fractions))):
            raise UsageError(f"fractions ascend from above 0 to 1, found {self.fractions}")
        check_stages((self.codebook,) * self.scales)
        if self.shared and self.scales > 1 and _seeds_at_once(self.codebook):
            raise UsageError("init='kmeans' would seed one table for all scales from the coarsest; use init='batch', or shared=False")
        if any(len(count) != self.axes or min(count) < 1 for count in self.counts):
            raise UsageError(f"each scale's counts are {self.axes} positive numbers, one per axis, found {self.counts}")
        if any(a > b for coarse, fine in pairwise(self.counts) for a, b in zip(coarse, fine, strict=True)):
            raise UsageError(f"counts must not shrink from scale to scale, found {self.counts}")
        if any(not 0 <= axis < self.axes for axis in self.held_axes) or (self.held_axes and self.counts):
            raise UsageError(f"held_axes number axes of the grid (0..{self.axes - 1}) beside fractions, found {self.held_axes}")
        if self.axes < 1 or self.phis < 0 or (self.phis and self.axes > len(CONVOLUTIONS)):
            raise UsageError(f"phi convolutions work over 1 to 3 axes; found axes = {self.axes}, phis = {self.phis}")
        if self.up not in ("nearest", "linear", "cubic"):
            raise UsageError(f"up is 'nearest', 'linear' or 'cubic', found {self.up!r}")
        if not 0 <= self.dropout <= 1 or not 0 <= self.phi_ratio <= 1:
            raise UsageError(f"dropout and phi_ratio lie in [0, 1], found {self.dropout} and {self.phi_ratio}")

    @property
    def scales(self) -> int:
        return len(self.fractions or self.counts)

    def shapes(self, grid: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The shape of each scale for a latent grid; UsageError where the schedule is for another."""
        if len(grid) != self.axes:
            raise UsageError(f"this schedule is for grids of {self.axes} axes, found {grid}")
        if self.fractions:
            return schedule.fraction_shapes(self.fractions, grid, self.held_axes)
        if self.counts[-1] != grid:
            raise UsageError(f"this schedule ends at {self.counts[-1]}, the latent grid is {grid}; give fractions for grids of any size")
        return self.counts


class MultiScale(nn.Module):
    """See the module's docstring. Fulfils `contracts.Quantizer`."""

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__()
        self.config = config
        self.codebooks = nn.ModuleList(grouped.build(config.codebook) for _ in range(1 if config.shared else config.scales))
        self.dim, self.width = self._group(0).dim, len(self._group(0).sizes)
        self.cuts = tuple(self.width * (scale + 1) for scale in range(config.scales))
        self.phis = nn.ModuleList(_identity(CONVOLUTIONS[config.axes - 1](self.dim, self.dim, 3, padding=1)) for _ in range(config.phis))

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...] = ()) -> Layout:
        shapes = self.config.shapes(grid)
        named = [tuple(zip(axes, shape, strict=True)) for shape in shapes]
        stages = [stage for i, sized in enumerate(named) for stage in self._group(i).stages(f"scale{i}", sized)]
        return Layout(tuple(stages), self.cuts, signal)

    def forward(self, z: Tensor) -> Quantized:
        check_latents(z, self.dim, self.training)
        given = z.dtype
        z = self._group(0).bound(z)
        batch, grid = z.shape[0], tuple(z.shape[2:])
        shapes = self.config.shapes(grid)
        rows, found, steps = [], [], []
        commitment = interpolation = z.new_zeros(())
        total = held = torch.zeros(z.shape, device=z.device)  # in the type of entries, as `dequantize` adds them
        for scale, shape in enumerate(shapes):
            group = self._group(scale)
            rows.append(to_rows(schedule.down(z - total.detach(), shape)))
            found.append(group.assign(rows[-1]))
            entries = group.read(rows[-1], found[-1])
            commitment = commitment + group.loss(rows[-1], entries) / len(shapes)
            steps.append(self._spread(scale, to_grid(entries, batch, shape), grid))
            total = total + steps[-1]
            if self.phis:
                held = held + (self._spread(scale, to_grid(entries.detach(), batch, shape), grid) if entries.requires_grad else steps[-1])
                interpolation = interpolation + mean_square(held, z.detach()) / len(shapes)
        losses = {"commitment": commitment, "interpolation": interpolation} if self.phis else {"commitment": commitment}
        indices = tuple(i.reshape(batch, *shape) for indices, shape in zip(found, shapes, strict=True) for i in indices)
        if not self.training:
            return Quantized(total.to(given), indices, losses)
        self._update(rows, found)
        health = {key: value for i in range(len(shapes)) for key, value in self._group(i).health(str(i), found[i]).items()}
        if self.config.dropout:
            kept = keep(batch, len(shapes), self.config.dropout, z.device).reshape(len(shapes), batch, *(1,) * (z.ndim - 1))
            total = _add([step * held for step, held in zip(steps, kept, strict=True)])
        return Quantized(self._group(0).carry(z, total).to(given), indices, losses, health)

    def dequantize(self, indices: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        """See the contract; `grid` is needed for all but the whole."""
        flat = [index.flatten() for index in indices]
        entries = [self._group(scale).lookup(flat[start : start + self.width]) for scale, start in self._starts(indices)]
        return self._sum(entries, indices, grid)

    def decode_soft(self, logits: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        entries = [self._group(scale).expect(logits[start : start + self.width]) for scale, start in self._starts(logits)]
        return self._sum(entries, [logit[:, 0] for logit in logits], grid)

    def _sum(self, entries: list[Tensor], stages: Sequence[Tensor], grid: tuple[int, ...] | None) -> Tensor:
        """z_q from the entries (N, D) of each scale; `stages` (B, *stage shape) show the shapes."""
        shapes = [tuple(stage.shape[1:]) for stage in stages[:: self.width]]
        if grid is None and len(shapes) < self.config.scales and not self.config.counts:
            raise UsageError(f"the first {len(shapes)} of {self.config.scales} scales do not show the latent grid: say its size")
        grid = grid or (self.config.counts or shapes)[-1]
        for found, shape in zip(shapes, self.config.shapes(grid), strict=False):
            check_grid(found, shape)
        batch = stages[0].shape[0]
        return _add([self._spread(i, to_grid(entry, batch, shapes[i]), grid) for i, entry in enumerate(entries)])

    def _starts(self, stages: Sequence[Tensor]) -> list[tuple[int, int]]:
        """(scale, its first stage) for as many scales as the stages make."""
        check_prefix(stages, self.cuts)
        return list(enumerate(range(0, len(stages), self.width)))

    def _group(self, scale: int) -> Group:
        return Group(self.codebooks[0 if self.config.shared else scale])

    def _spread(self, scale: int, entries: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Entries (B, D, *shape) over the whole grid, then phi."""
        wide = schedule.up(entries, grid, self.config.up)
        if not self.phis:
            return wide
        with torch.autocast(wide.device.type, enabled=False):
            return wide.lerp(self._phi(scale)(wide), self.config.phi_ratio)

    def _phi(self, scale: int) -> nn.Module:
        """The convolution whose place among K in (0, 1) is nearest to the scale's; the finer of two equally near. For 4 as in VAR."""
        count, place = len(self.phis), Fraction(scale, max(1, self.config.scales - 1))
        first = Fraction(1, 12) if count == 4 else Fraction(1, 2 * count)
        places = [first + i * (1 - 2 * first) / max(1, count - 1) for i in range(count)]
        return self.phis[min(range(count), key=lambda i: (abs(places[i] - place), -i))]

    def _update(self, rows: list[Tensor], found: list[tuple[Tensor, ...]]) -> None:
        if self.config.shared:
            self._group(0).update(torch.cat(rows), [torch.cat(indices) for indices in zip(*found, strict=True)])
            return
        for scale, (z, indices) in enumerate(zip(rows, found, strict=True)):
            self._group(scale).update(z, indices)


def _seeds_at_once(config: Any) -> bool:
    """Whether a table in a code, at any depth, takes its entries from the first rows that it is given."""
    if isinstance(config, tuple):
        return any(map(_seeds_at_once, config))
    if not is_dataclass(config):
        return False
    return getattr(config, "init", "") == "kmeans" or any(_seeds_at_once(getattr(config, field.name)) for field in fields(config))


def _identity(convolution: nn.Module) -> nn.Module:
    nn.init.dirac_(convolution.weight)  # type: ignore[arg-type]
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


def _add(steps: list[Tensor]) -> Tensor:
    """The sum in the order of scales: the same additions everywhere, so results agree bit for bit."""
    total = steps[0]
    for step in steps[1:]:
        total = total + step
    return total
