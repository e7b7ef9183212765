"""Residual quantization: each level codes what the levels before it left over; any number of levels decodes.

Zeghidour et al., "SoundStream" (arXiv 2107.03312), with quantizer dropout drawn per sample as in DAC (arXiv 2306.06546), not per batch.
Dropped levels still see their residuals, so their tables learn from every sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers import codebooks
from smalti.tokenizers.codebooks import CodebookConfig
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers.grid import check_finite, straight_through, to_grid, to_rows, use
from smalti.tokenizers.tokens import Layout, Stage


@dataclass(frozen=True)
class ResidualConfig:
    """levels: how many codebooks of one kind. dropout: probability, in training, that a sample keeps only 1..levels-1 of them.

    warmup_steps: training steps in which latents pass unquantized, so that the tables are seeded on an encoder that has begun to see.
    """

    kind: ClassVar[str] = "residual"
    codebook: CodebookConfig
    levels: int = 2
    dropout: float = 0.5
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.levels < 1 or not 0 <= self.dropout <= 1:
            raise UsageError(f"a residual quantizer needs levels >= 1 and dropout in [0, 1], found {self.levels} and {self.dropout}")


class Residual(nn.Module):
    """See the module's docstring. Fulfils `contracts.Quantizer`."""

    steps: Tensor

    def __init__(self, config: ResidualConfig) -> None:
        super().__init__()
        self.config = config
        self.codebooks = nn.ModuleList(codebooks.build(config.codebook) for _ in range(config.levels))
        self.dim = self._codebook(0).dim
        self.cuts = tuple(range(1, config.levels + 1))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...] = ()) -> Layout:
        sized = tuple(zip(axes, grid, strict=True))
        vocab = self._codebook(0).size
        return Layout(tuple(Stage(f"level{i}", sized, vocab) for i in range(self.config.levels)), self.cuts, signal)

    def forward(self, z: Tensor) -> Quantized:
        check_finite(z)
        z = self._bound(z)
        batch, grid = z.shape[0], tuple(z.shape[2:])
        indices, parts = [], []
        losses: dict[str, Tensor] = {}
        health: dict[str, float] = {}
        rows = residual = to_rows(z)
        commitment = z.new_zeros(())
        for level in range(self.config.levels):
            codebook, scale = self._codebook(level), self._codebook(level).residual_scale(level)
            scaled = residual / scale
            index = codebook.assign(scaled)
            entries = codebook.lookup(index)
            if self.training:
                codebook.update(scaled, index)
            commitment = commitment + codebook.loss(scaled, entries)
            parts.append(entries * scale)
            residual = residual - parts[-1].detach()
            indices.append(index.reshape(batch, *grid))
            if self.training:
                health[f"perplexity{level}"], health[f"usage{level}"] = use(index, codebook.size)
        losses["commitment"] = commitment / self.config.levels
        if not self.training:
            return Quantized(to_grid(_add(parts), batch, grid), tuple(indices), losses, health)
        self.steps += 1
        if int(self.steps) <= self.config.warmup_steps:
            return Quantized(z, tuple(indices), losses, health)
        kept = self._keep(batch, z.device).repeat_interleave(len(rows) // batch, 1)
        z_q = to_grid(_add([part * keep[:, None] for part, keep in zip(parts, kept, strict=True)]), batch, grid)
        return Quantized(straight_through(z, z_q), tuple(indices), losses, health)

    def dequantize(self, indices: Sequence[Tensor]) -> Tensor:
        """z_q (B, D, *grid) from the first len(indices) levels, each int64 (B, *grid)."""
        parts = []
        for level, index in enumerate(indices):
            codebook = self._codebook(level)
            parts.append(codebook.lookup(index.flatten()) * codebook.residual_scale(level))
        return to_grid(_add(parts), indices[0].shape[0], tuple(indices[0].shape[1:]))

    def decode_soft(self, logits: Sequence[Tensor]) -> Tensor:
        """Expected z_q from per-level logits (B, K, *grid)."""
        parts = []
        for level, logit in enumerate(logits):
            codebook = self._codebook(level)
            parts.append(F.softmax(to_rows(logit), -1) @ codebook.vectors() * codebook.residual_scale(level))
        return to_grid(_add(parts), logits[0].shape[0], tuple(logits[0].shape[2:]))

    def _codebook(self, level: int) -> codebooks.VQ | codebooks.FSQ:
        return self.codebooks[level]  # type: ignore[return-value]

    def _bound(self, z: Tensor) -> Tensor:
        return self._codebook(0).bound(z.movedim(1, -1)).movedim(-1, 1)

    def _keep(self, batch: int, device: torch.device) -> Tensor:
        """(levels, B) of 0 and 1: which levels each sample keeps in this step."""
        levels = self.config.levels
        fewer = torch.randint(1, max(levels, 2), (batch,), device=device)
        kept = torch.where(torch.rand(batch, device=device) < self.config.dropout, fewer, levels)
        return (torch.arange(levels, device=device)[:, None] < kept).float()


def _add(parts: list[Tensor]) -> Tensor:
    """The sum in level order: the same additions in training, evaluation and decoding, so results agree bit for bit."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
