"""Latents made white before the quantizer: zero mean, unit variance, and no two channels alike.

Cholesky whitening of a batch (Siarohin et al., arXiv 1806.00420; the idea is Decorrelated Batch Normalization, Huang et al., arXiv
1804.08450). Scaling each channel on its own is not enough: after 400 steps eight channels of unit variance spanned two directions
(eigenvalues 12.1, 1.8, .003, ...), brightness and little else, and a table of 1024 entries spent its bits on fine steps along those.
Whitened latents offer the quantizer all D directions from the first step. In evaluation it is a fixed affine map from running statistics:
nothing depends on the input. Of several processes each whitens its own batch in training, as batch normalization does; the running
statistics are those of all their rows, equal everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.tokenizers.codebooks import ranks

FLOOR = 1e-3  # of the mean variance, added to every direction: what carries less is not blown up to full size


class Whitening(nn.Module):
    """(B, D, *grid) -> the same shape in float32. momentum: weight of each batch in the running statistics."""

    mean: Tensor
    covariance: Tensor

    def __init__(self, channels: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("covariance", torch.eye(channels))

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            rows = z.float().movedim(1, -1)
            mean, covariance = self._batch_statistics(rows.flatten(0, -2)) if self.training else (self.mean, self.covariance)
            return ((rows - mean) @ whitening_matrix(covariance).t()).movedim(-1, 1)

    def _batch_statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        mean = rows.mean(0)
        centred = rows - mean
        covariance = centred.t() @ centred / len(rows)
        with torch.no_grad():
            kept_mean, kept_covariance = _of_all_ranks(mean, covariance, len(rows))
            self.mean.lerp_(kept_mean, self.momentum)
            self.covariance.lerp_(kept_covariance, self.momentum)
        return mean, covariance


def _of_all_ranks(mean: Tensor, covariance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the rows of all processes, of which this one has `count`; the same on each."""
    if not ranks.several():
        return mean, covariance
    mean, covariance = mean.double(), covariance.double()
    moments = torch.cat([mean[None], covariance + mean.outer(mean)])
    moments = ranks.mean(count * moments, count)
    return moments[0].float(), (moments[1:] - moments[0].outer(moments[0])).float()


def whitening_matrix(covariance: Tensor) -> Tensor:
    """(D, D): the inverse of the covariance's lower Cholesky root, every direction raised by the floor."""
    identity = torch.eye(len(covariance), device=covariance.device)
    floor = FLOOR * covariance.diagonal().mean() + 1e-6
    root = torch.linalg.cholesky(covariance + floor * identity)
    return torch.linalg.solve_triangular(root, identity, upper=False)
