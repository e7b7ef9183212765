"""What quantizers share: latents (B, D, *grid) <-> rows (N, D), how gradients pass, and how well a table is used.

Shape letters: B batch, D latent dimension, N = B * positions of the grid, K entries.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.tokenizers.codebooks import ranks
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError

SHORTEST = 1e-6  # length below which a vector has no direction


def to_rows(z: Tensor) -> Tensor:
    """(B, D, *grid) -> (N, D)."""
    return z.movedim(1, -1).reshape(-1, z.shape[1])


def to_grid(rows: Tensor, batch: int, grid: tuple[int, ...]) -> Tensor:
    """(N, D) -> (B, D, *grid)."""
    return rows.reshape(batch, *grid, rows.shape[-1]).movedim(-1, 1)


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """z_q in the forward pass, the gradient of z in the backward pass (Bengio et al., arXiv 1308.3432)."""
    return z + (z_q - z).detach()


def rotate_to(z: Tensor, z_q: Tensor) -> Tensor:
    """z_q in the forward pass; in the backward pass the rotation and rescaling, held fixed, that take each vector of z to that of z_q.

    Fifty et al., "Restructuring Vector Quantization with the Rotation Trick" (arXiv 2410.06424). z, z_q: (B, D, *grid). Deviations: the
    value is z_q itself, not what rounding leaves of the rotated z, and vectors of z or z_q without a direction pass straight through (the
    published formula gives 0 for them)."""
    length, length_q = (v.detach().norm(dim=1, keepdim=True) for v in (z, z_q))
    aimless = torch.minimum(length, length_q) < SHORTEST
    u, v = z.detach() / length.clamp(min=SHORTEST), z_q.detach() / length_q.clamp(min=SHORTEST)
    half = F.normalize(u + v, dim=1)
    turned = z - 2 * (z * half).sum(1, keepdim=True) * half + 2 * (z * u).sum(1, keepdim=True) * v
    turned = torch.where(aimless, z, turned * (length_q / length.clamp(min=SHORTEST)))
    return z_q.detach() + (turned - turned.detach())


def carry(gradient: str, z: Tensor, z_q: Tensor) -> Tensor:
    """z_q (B, D, *grid) with the gradient that `Codebook.gradient` names."""
    if gradient == "own":
        return z_q
    return rotate_to(z, z_q) if gradient == "rotation" else straight_through(z, z_q)


def check_latents(z: Tensor, dim: int, training: bool = False) -> None:
    """UsageError where z is not (B, dim, *grid); SignalError where it is empty or not finite.

    In training, which all ranks take part in, all of them raise where one does.
    """
    if not training or torch.compiler.is_compiling():
        return _check(z, dim)
    error: SmaltiError | None = None
    try:
        _check(z, dim)
    except SmaltiError as found:
        error = found
    ranks.refuse(error, z.device)


def _check(z: Tensor, dim: int) -> None:
    if z.ndim < 2 or z.shape[1] != dim:
        raise UsageError(f"latents must have {dim} channels as their second axis, found shape {tuple(z.shape)}")
    if z.numel() == 0:
        raise SignalError(f"there are no latents to quantize: shape {tuple(z.shape)}")
    check_finite(z)


def check_finite(z: Tensor) -> None:
    """Raise SignalError naming the batch item whose latents are not finite: one NaN would poison a whole table."""
    if torch.compiler.is_compiling():  # a traced graph cannot raise
        return
    if torch.isfinite(z.detach().sum()) or torch.isfinite(z).all():  # a sum takes one pass, and NaN and infinity survive it
        return
    item = int(torch.nonzero(~torch.isfinite(z).flatten(1).all(1))[0])
    raise SignalError(f"encoder output is not finite at batch item {item}; lower the learning rate or check the input")


def use(indices: Tensor, size: int) -> tuple[float, float]:
    """(perplexity, fraction of entries used) of one batch of indices."""
    counts = indices.unique(return_counts=True)[1].double()  # a code of 30 bits has no room for all its counts
    p = counts / counts.sum()
    return float((-(p * p.log()).sum()).exp()), len(counts) / size
