"""Takes from each step of a line its own mean over the training set.

A query's output is, before training, mostly the query itself: whitened over all steps it would give each step an entry of its own, the same
for every picture (the collapse that users of one-dimensional tokenizers report). Means are running ones in training too: those of a
batch of two pictures would take half of what the pictures say. Of several processes they are those of all their lines, equal everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.tokenizers.codebooks import ranks


class StepCentring(nn.Module):
    """(B, D, steps) -> the same less the mean of each channel and step. momentum: least weight of a batch in the running mean."""

    mean: Tensor
    batches: Tensor

    def __init__(self, channels: int, steps: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(channels, steps))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, z: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.batches += 1
                sums = z.detach().float().sum(0)
                mean = ranks.mean(sums.double() if ranks.several() else sums, len(z)).float()  # float32 would round apart on each rank
                self.mean.lerp_(mean, max(self.momentum, 1 / int(self.batches)))
        return z - self.mean
