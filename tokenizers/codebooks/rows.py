"""What every codebook asks of latents before it looks at them, and how far it finds them from their entries."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.tokenizers.errors import UsageError


def check_rows(z: Tensor, dim: int) -> None:
    """UsageError where z is not (N, dim). Whether numbers are finite is checked by quantizers, which know the batch item."""
    if z.ndim != 2 or z.shape[1] != dim:
        raise UsageError(f"a codebook of dimension {dim} takes latents (N, {dim}), found {tuple(z.shape)}")


def check_table(name: str, codebook_size: int, dim: int, **positive: float) -> None:
    """UsageError where there is no choice between entries, nothing to choose by, or a weight is negative."""
    if codebook_size < 2 or dim < 1:
        raise UsageError(f"{name} needs codebook_size >= 2 and dim >= 1, found {codebook_size} and {dim}")
    for key, value in positive.items():
        if value < 0:
            raise UsageError(f"{key} must not be negative, found {value}")


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    """The mean of (a - b)^2; 0 where there are no rows, still with gradients, so that parameters have theirs on every rank."""
    wide = torch.promote_types(a.dtype, b.dtype)  # mse_loss has no gradient between two types
    return F.mse_loss(a.to(wide), b.to(wide), reduction="sum") / max(1, a.numel())
