"""What quantizers share: latents (B, D, *grid) <-> rows (N, D), straight-through gradients, and how well a table is used.

Shape letters: B batch, D latent dimension, N = B * positions of the grid, K entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.tokenizers.errors import SignalError, UsageError


def to_rows(z: Tensor) -> Tensor:
    """(B, D, *grid) -> (N, D)."""
    return z.movedim(1, -1).reshape(-1, z.shape[1])


def to_grid(rows: Tensor, batch: int, grid: tuple[int, ...]) -> Tensor:
    """(N, D) -> (B, D, *grid)."""
    return rows.reshape(batch, *grid, rows.shape[-1]).movedim(-1, 1)


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """z_q in the forward pass, the gradient of z in the backward pass (Bengio et al., arXiv 1308.3432)."""
    return z + (z_q - z).detach()


def check_latents(z: Tensor, dim: int) -> None:
    """UsageError where z is not (B, dim, *grid); SignalError where it is empty or not finite."""
    if z.ndim < 2 or z.shape[1] != dim:
        raise UsageError(f"latents must have {dim} channels as their second axis, found shape {tuple(z.shape)}")
    if z.numel() == 0:
        raise SignalError(f"there are no latents to quantize: shape {tuple(z.shape)}")
    check_finite(z)


def check_finite(z: Tensor) -> None:
    """Raise SignalError naming the batch item whose latents are not finite: one NaN would poison a whole table."""
    if torch.compiler.is_compiling() or torch.isfinite(z).all():  # a traced graph cannot raise
        return
    item = int(torch.nonzero(~torch.isfinite(z).flatten(1).all(1))[0])
    raise SignalError(f"encoder output is not finite at batch item {item}; lower the learning rate or check the input")


def use(indices: Tensor, size: int) -> tuple[float, float]:
    """(perplexity, fraction of entries used) of one batch of indices."""
    counts = torch.bincount(indices.flatten(), minlength=size).float()
    p = counts / counts.sum()
    entropy = -(p * p.clamp(min=1e-12).log()).sum()
    return float(entropy.exp()), float((counts > 0).float().mean())
