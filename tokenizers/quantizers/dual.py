"""One index, two tables: a semantic and a pixel vector under the same number.

Qu et al., "TokenFlow: Unified Image Tokenizer for Multimodal Understanding and Generation" (arXiv 2412.03069): the entry is the argmin of
d_semantic + weight * d_pixel, both squared distances between unit vectors, and z_q holds the two entries one after the other. What the
semantic part means is taught by the loss on it (`representation.py`, or a decoder of features in the tokenizer).

Deviations: entries are moving averages, and means of unit vectors are not brought back to length 1; so residual and multi-scale levels,
whose residuals have other lengths, work over the same code. The search is that of one table: the sum is a distance in the joint
space with the pixel part scaled by sqrt(weight).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.codebooks import VQ, VQConfig
from smalti.tokenizers.errors import UsageError


@dataclass(frozen=True)
class DualConfig:
    """table: entries of semantic and pixel numbers together. semantic_dim: how many of table.dim are semantic, the first ones.

    pixel_weight: of the pixel distance in the sum.
    """

    kind: ClassVar[str] = "dual"
    table: VQConfig
    semantic_dim: int
    pixel_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.table.cosine:
            raise UsageError("a dual table has two parts of their own lengths; use one without cosine")
        if not 0 < self.semantic_dim < self.table.dim:
            raise UsageError(f"semantic_dim must leave room for pixels, 1..{self.table.dim - 1}, found {self.semantic_dim}")
        if not 0 < self.pixel_weight < math.inf:
            raise UsageError(f"pixel_weight must be positive, found {self.pixel_weight}")

    @property
    def dim(self) -> int:
        """Of latents."""
        return self.table.dim


class Dual(nn.Module):
    """See the module's docstring. Fulfils `contracts.Codebook`, nearest by the weighted distance."""

    scale: Tensor

    def __init__(self, config: DualConfig) -> None:
        super().__init__()
        self.config = config
        self.joint = VQ(config.table)
        self.gradient = self.joint.gradient
        self.size, self.dim = self.joint.size, self.joint.dim
        self.parts = [config.semantic_dim, self.dim - config.semantic_dim]
        weights = torch.tensor([1.0] * self.parts[0] + [math.sqrt(config.pixel_weight)] * self.parts[1])
        self.register_buffer("scale", weights, persistent=False)

    def bound(self, z: Tensor) -> Tensor:
        """Latents (..., D) with semantic and pixel part of length 1 each."""
        return torch.cat([F.normalize(part, dim=-1) for part in z.split(self.parts, -1)], -1)

    def residual_scale(self, level: int) -> Tensor:
        """1: a table learns the size of its residuals."""
        return self.joint.residual_scale(level)

    def assign(self, z: Tensor) -> Tensor:
        return self.joint.assign(z * self.scale)

    def lookup(self, indices: Tensor) -> Tensor:
        return self.joint.lookup(indices) / self.scale

    def vectors(self) -> Tensor:
        return self.joint.vectors() / self.scale

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        return self.joint.loss(z * self.scale, entries * self.scale)

    def update(self, z: Tensor, indices: Tensor) -> None:
        self.joint.update(z * self.scale, indices)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(semantic, pixel) parts of latents (B, D, *grid)."""
        semantic, pixel = z.split(self.parts, 1)
        return semantic, pixel
