"""Latents made white before the quantizer: zero mean, unit variance, and no two channels alike.

Cholesky whitening of a batch (Siarohin et al., arXiv 1806.00420; the idea is Decorrelated Batch Normalization, Huang et al., arXiv
1804.08450). Scaling each channel on its own is not enough: after 400 steps eight channels of unit variance spanned two directions
(eigenvalues 12.1, 1.8, .003, ...), brightness and little else, and a table of 1024 entries spent its bits on fine steps along those.
Whitened latents offer the quantizer all D directions from the first step. In evaluation it is a fixed affine map from running statistics:
nothing depends on the input. Of several processes each whitens its own batch in training, as batch normalization does; the running
statistics are those of all their rows, equal everywhere.

Of a few sounds the batch's covariance is mostly chance: neighbouring frames are alike, and 24 channels of 400 such frames are whitened to
something else in each step than in evaluation. `SteadyWhitening` takes the running covariance in training too, as batch renormalization
does (Ioffe, arXiv 1702.03275): the batch is whitened by its own, through which gradients flow, and brought to where the running one would
have put it, as a constant. So gradients that would only scale or turn latents are taken out; where they were let through,
all latents shrank to nothing within 100 steps. The mean is the batch's: it is known well enough, and in the first hundreds of steps it
moves faster than an average follows, until all latents lie to one side and choose one entry.
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
            self._follow(*_of_all_ranks(mean, covariance, len(rows)))
        return mean, covariance

    def _follow(self, mean: Tensor, covariance: Tensor) -> None:
        self.mean.lerp_(mean, self.momentum)
        self.covariance.lerp_(covariance, self.momentum)


class SteadyWhitening(Whitening):
    """The same, by running statistics in training too: plain means over the first batches, from 1 / momentum of them on moving ones."""

    batches: Tensor

    def __init__(self, channels: int, momentum: float = 0.05) -> None:
        super().__init__(channels, momentum)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor) -> Tensor:
        if not self.training:
            return super().forward(z)
        with torch.autocast(z.device.type, enabled=False):
            rows = z.float().movedim(1, -1)
            mean, covariance = self._batch_statistics(rows.flatten(0, -2))
            white = (rows - mean) @ whitening_matrix(covariance).t()
            with torch.no_grad():
                running = whitening_matrix(self.covariance)
                turn = torch.linalg.solve(whitening_matrix(covariance), running, left=False)
            return (white @ turn.t()).movedim(-1, 1)

    def _follow(self, mean: Tensor, covariance: Tensor) -> None:
        self.batches += 1
        share = max(self.momentum, 1 / int(self.batches))
        self.mean.lerp_(mean, share)
        self.covariance.lerp_(covariance, share)


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
