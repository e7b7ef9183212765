"""One codebook over the whole grid: plain VQ or FSQ, one stage of tokens.

It is the residual quantizer with one level and no dropout, under a name and stage of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from smalti.tokenizers.codebooks import CodebookConfig
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.quantizers.residual import Residual, ResidualConfig
from smalti.tokenizers.tokens import Layout, Stage


@dataclass(frozen=True)
class SingleConfig:
    """warmup_steps: training steps in which latents pass unquantized."""

    kind: ClassVar[str] = "single"
    codebook: CodebookConfig
    warmup_steps: int = 0


class Single(nn.Module):
    """See the module's docstring. Fulfils `contracts.Quantizer`."""

    cuts = (1,)

    def __init__(self, config: SingleConfig) -> None:
        super().__init__()
        self.config = config
        self.residual = Residual(ResidualConfig(config.codebook, levels=1, dropout=0.0, warmup_steps=config.warmup_steps))
        self.dim = self.residual.dim

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...] = ()) -> Layout:
        (stage,) = self.residual.layout(grid, axes, signal).stages
        return Layout((Stage("grid", stage.axes, stage.vocab),), self.cuts, signal)

    def forward(self, z: Tensor) -> Quantized:
        return self.residual(z)

    def dequantize(self, indices: Sequence[Tensor]) -> Tensor:
        return self.residual.dequantize(indices)

    def decode_soft(self, logits: Sequence[Tensor]) -> Tensor:
        return self.residual.decode_soft(logits)
