"""One code over the whole grid: plain VQ or FSQ is one stage of tokens, a grouped code one stage per group.

It is the residual quantizer with one level and no dropout, under a name and stages of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.quantizers.grouped import CodeConfig
from smalti.tokenizers.quantizers.residual import Residual, ResidualConfig
from smalti.tokenizers.tokens import Layout, Stage


@dataclass(frozen=True)
class SingleConfig:
    """warmup_steps: training steps in which latents pass unquantized."""

    kind: ClassVar[str] = "single"
    codebook: CodeConfig
    warmup_steps: int = 0


class Single(nn.Module):
    """See the module's docstring. Fulfils `contracts.Quantizer`."""

    def __init__(self, config: SingleConfig) -> None:
        super().__init__()
        self.config = config
        self.residual = Residual(ResidualConfig(config.codebook, levels=1, dropout=0.0, warmup_steps=config.warmup_steps))
        self.dim, self.cuts = self.residual.dim, self.residual.cuts

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...] = ()) -> Layout:
        stages = self.residual.layout(grid, axes).stages
        return Layout(tuple(Stage(s.name.replace("level0", "grid"), s.axes, s.vocab) for s in stages), self.cuts, signal)

    def forward(self, z: Tensor) -> Quantized:
        return self.residual(z)

    def dequantize(self, indices: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        return self.residual.dequantize(indices, grid)

    def decode_soft(self, logits: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        return self.residual.decode_soft(logits, grid)
