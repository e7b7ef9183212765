"""Residual quantization: each level codes what the levels before it left over; any number of levels decodes.

Zeghidour et al., "SoundStream" (arXiv 2107.03312), with quantizer dropout drawn per sample as in DAC (arXiv 2306.06546), not per batch.
Dropped levels still see their residuals, so their tables learn from every sample. A level may be a group of codebooks.
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


@dataclass(frozen=True)
class ResidualConfig:
    """codebook: of every level, or one per level, all of one dimension. levels: how many.

    dropout: probability, in training, that a sample keeps only 1..levels-1 of them. warmup_steps: training steps in which latents pass
    unquantized, so that the tables are seeded on an encoder that has begun to see.
    """

    kind: ClassVar[str] = "residual"
    codebook: CodeConfig | tuple[CodeConfig, ...]
    levels: int = 2
    dropout: float = 0.5
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.levels < 1 or not 0 <= self.dropout <= 1:
            raise UsageError(f"a residual quantizer needs levels >= 1 and dropout in [0, 1], found {self.levels} and {self.dropout}")
        if isinstance(self.codebook, tuple) and len(self.codebook) != self.levels:
            raise UsageError(f"one codebook per level: {self.levels} levels, {len(self.codebook)} codebooks")
        check_stages(self.codebooks)
        dims = [codebook.dim for codebook in self.codebooks]
        if len(set(dims)) > 1:
            raise UsageError(f"all levels of a residual quantizer have one dimension, found {dims}")

    @property
    def codebooks(self) -> tuple[CodeConfig, ...]:
        """One per level."""
        return self.codebook if isinstance(self.codebook, tuple) else (self.codebook,) * self.levels


class Residual(nn.Module):
    """See the module's docstring. Fulfils `contracts.Quantizer`."""

    steps: Tensor

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__()
        self.config = config
        self.codebooks = nn.ModuleList(grouped.build(codebook) for codebook in config.codebooks)
        groups = [Group(module) for module in self.codebooks]
        self.dim = groups[0].dim
        self.cuts = tuple(sum(len(group.sizes) for group in groups[: i + 1]) for i in range(config.levels))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...] = ()) -> Layout:
        sized = tuple(zip(axes, grid, strict=True))
        stages = [stage for i in range(self.config.levels) for stage in self._group(i).stages(f"level{i}", sized)]
        return Layout(tuple(stages), self.cuts, signal)

    def forward(self, z: Tensor) -> Quantized:
        check_latents(z, self.dim, self.training)
        given = z.dtype
        z = self._group(0).bound(z)
        batch, grid = z.shape[0], tuple(z.shape[2:])
        indices, parts = [], []
        losses: dict[str, Tensor] = {}
        health: dict[str, float] = {}
        rows = residual = to_rows(z)
        commitment = z.new_zeros(())
        for level in range(self.config.levels):
            group = self._group(level)
            scale = _not_one(group.residual_scale(level))
            scaled = residual if scale is None else residual / scale
            found = group.assign(scaled)
            entries = group.read(scaled, found)
            if self.training:
                group.update(scaled, found)
                health |= group.health(str(level), found)
            commitment = commitment + group.loss(scaled, entries)
            parts.append(entries if scale is None else entries * scale)
            if level + 1 < self.config.levels:
                residual = residual - parts[-1].detach()
            indices += [index.reshape(batch, *grid) for index in found]
        losses["commitment"] = commitment / self.config.levels
        if not self.training:
            return Quantized(to_grid(_add(parts), batch, grid).to(given), tuple(indices), losses, health)
        self.steps += 1
        if int(self.steps) <= self.config.warmup_steps:
            return Quantized(z.to(given), tuple(indices), losses, health)
        kept = keep(batch, self.config.levels, self.config.dropout, z.device).repeat_interleave(len(rows) // batch, 1)
        z_q = to_grid(_add([part * held[:, None] for part, held in zip(parts, kept, strict=True)]), batch, grid)
        return Quantized(self._group(0).carry(z, z_q).to(given), tuple(indices), losses, health)

    def dequantize(self, indices: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        parts = [
            group.lookup([index.flatten() for index in found]) * group.residual_scale(level)
            for level, (group, found) in enumerate(self._levels(indices, grid))
        ]
        return to_grid(_add(parts), indices[0].shape[0], tuple(indices[0].shape[1:]))

    def decode_soft(self, logits: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        shown = [logit[:, 0] for logit in logits]
        found = zip(self._levels(shown, grid), self._levels(logits), strict=True)
        parts = [group.expect(logit) * group.residual_scale(level) for level, (_, (group, logit)) in enumerate(found)]
        return to_grid(_add(parts), logits[0].shape[0], tuple(logits[0].shape[2:]))

    def _group(self, level: int) -> Group:
        return Group(self.codebooks[level])

    def _levels(self, stages: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> list[tuple[Group, Sequence[Tensor]]]:
        """Each level's group with its stages, for as many levels as the stages make."""
        check_prefix(stages, self.cuts)
        check_grid(tuple(stages[0].shape[1:]), grid)
        starts = (0, *self.cuts)
        return [(self._group(i), stages[starts[i] : cut]) for i, cut in enumerate(self.cuts) if cut <= len(stages)]


def _not_one(scale: Tensor) -> Tensor | None:
    """None where scaling would change nothing but take a pass over all latents."""
    return None if not torch.compiler.is_compiling() and bool((scale == 1).all()) else scale


def _add(parts: list[Tensor]) -> Tensor:
    """The sum in level order: the same additions in training, evaluation and decoding, so results agree bit for bit."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
