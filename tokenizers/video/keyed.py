"""The quantizer of a film: per group of pictures and block a motion entry, then the key picture's latent in residual levels.

The table of motion is fixed; the levels are those of `quantizers.residual`. Motion stands first, since it is what tells a coder where
nothing changes, and decodes only with at least one level.

Flicker: an encoder that takes the nearest entry of every picture by itself flips between two that are equally near, which costs bits and
shimmers. `settle` keeps the entry that was there before while it is nearly as near.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers.grid import to_rows
from smalti.tokenizers.quantizers.grouped import books
from smalti.tokenizers.quantizers.residual import Residual, ResidualConfig
from smalti.tokenizers.tokens import Layout, Stage
from smalti.tokenizers.video.motion import MotionConfig


class Keyed(nn.Module):
    """Stages: motion, then one per level of `key`; prefixes decode from the first level on."""

    def __init__(self, config: ResidualConfig, motion: MotionConfig) -> None:
        super().__init__()
        self.config, self.motion = config, motion
        self.key = Residual(config)
        self.dim = self.key.dim
        if self.key.cuts != tuple(range(1, config.levels + 1)):
            raise UsageError("a film's levels have one codebook each; take grouped ones out of the quantizer's config")
        self.cuts = tuple(cut + 1 for cut in self.key.cuts)

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...] = ()) -> Layout:
        sized = tuple(zip(axes, grid, strict=True))
        levels = self.key.layout(grid, axes).stages
        return Layout((Stage("motion", sized, self.motion.size), *levels), self.cuts, signal)

    def forward(self, z: Tensor) -> Quantized:
        """Of key latents (B, D, *grid): what `key` says, without the motion stage."""
        return self.key(z)

    def dequantize(self, indices: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        """z_q (B, D, *grid) of the levels, of all stages or a prefix of them."""
        return self.key.dequantize(indices[1:], grid)

    def settle(self, z: Tensor, before: tuple[Tensor, ...] | None, slack: float) -> tuple[Tensor, ...]:
        """Entries (T, h, w) per level of latents z (T, D, h, w), one after the other in time.

        before: entries (h, w) per level of the picture before the first; None at the start. slack: how much farther (squared distance)
        than the nearest an entry may be to be kept. With slack 0 these are the indices that `key` gives.
        """
        found: list[tuple[Tensor, ...]] = []
        for latent in z[:, None]:
            found.append(self._settle_one(latent, before, slack))
            before = found[-1]
        return tuple(torch.stack(level) for level in zip(*found, strict=True))

    def _settle_one(self, z: Tensor, before: tuple[Tensor, ...] | None, slack: float) -> tuple[Tensor, ...]:
        if before is None or not slack:
            return tuple(index[0] for index in self.key(z).indices)
        levels = tuple(books(self.key))
        residual = levels[0].bound(to_rows(z))
        kept: list[Tensor] = []
        for level, (book, past) in enumerate(zip(levels, before, strict=True)):
            scale = book.residual_scale(level)
            index = book.assign(residual / scale)
            near, held = (book.lookup(entry) * scale for entry in (index, past.flatten()))
            farther = (residual - held).square().sum(1) - (residual - near).square().sum(1)
            index = torch.where(farther <= slack, past.flatten(), index)
            residual = residual - book.lookup(index) * scale
            kept.append(index.reshape(past.shape))
        return tuple(kept)
