"""The orthonormal two-dimensional Haar transform: a free, invertible front end that halves each side and keeps all energy.

Haar, "Zur Theorie der orthogonalen Funktionensysteme" (1910); as a tokenizer's patcher in Cosmos (2501.03575). Here each level recurses on
all four bands, so n levels give 4^n bands at 1/2^n size, as plain patches would, but sorted by frequency.
"""

from __future__ import annotations

import torch
from torch import Tensor


def haar(x: Tensor, levels: int = 1) -> Tensor:
    """(B, C, H, W) -> (B, C * 4**levels, H / 2**levels, W / 2**levels); sides must divide."""
    for _ in range(levels):
        a, b = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
        c, d = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
        top, bottom, left, right = a + b, c + d, a - b, c - d
        x = torch.cat([top + bottom, top - bottom, left + right, left - right], 1) * 0.5
    return x


def inverse_haar(x: Tensor, levels: int = 1) -> Tensor:
    """(B, C * 4**levels, h, w) -> (B, C, h * 2**levels, w * 2**levels)."""
    for _ in range(levels):
        mean, vertical, horizontal, diagonal = (x * 0.5).chunk(4, 1)
        top, bottom, left, right = mean + vertical, mean - vertical, horizontal + diagonal, horizontal - diagonal
        batch, channels, height, width = mean.shape
        rows = [torch.stack([m + e, m - e], -1).reshape(batch, channels, height, 2 * width) for m, e in ((top, left), (bottom, right))]
        x = torch.stack(rows, -2).reshape(batch, channels, 2 * height, 2 * width)
    return x
