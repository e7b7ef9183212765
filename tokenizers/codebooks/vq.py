"""VQ: a table of vectors learned by exponential moving averages.

van den Oord et al., "Neural Discrete Representation Learning" (arXiv 1711.00937), appendix A.1. Deviations: entries are moved to the
plain ratio sums/counts (no Laplace smoothing: an entry that nothing uses keeps its place), and entries whose average count falls
below a fraction of the fair share N/K are re-seeded by vectors of the batch, count and sum together, since a revived entry with its
old sums would be thrown back by the next average. The table starts unseeded, so the first batches place all of it on data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.codebooks.search import nearest
from smalti.tokenizers.errors import UsageError


@dataclass(frozen=True)
class VQConfig:
    """codebook_size entries of `dim` numbers.

    decay: of the moving averages. commitment: weight of |z - sg(e)|^2 in the loss (beta of the paper, on the encoder's side).
    revive_below: entries used less than this fraction of the fair share are re-seeded; 0 switches revival off.
    """

    kind: ClassVar[str] = "vq"
    codebook_size: int
    dim: int
    decay: float = 0.99
    commitment: float = 0.25
    revive_below: float = 0.03

    def __post_init__(self) -> None:
        if self.codebook_size < 2 or self.dim < 1:
            raise UsageError(f"a VQ table needs codebook_size >= 2 and dim >= 1, found {self.codebook_size} and {self.dim}")
        if not 0 <= self.decay < 1:
            raise UsageError(f"decay must lie in [0, 1), found {self.decay}")


class VQ(nn.Module):
    """See the module's docstring. Fulfils `contracts.Codebook`."""

    table: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.size, self.dim = config.codebook_size, config.dim
        self.register_buffer("table", torch.randn(self.size, self.dim))
        self.register_buffer("counts", torch.zeros(self.size), persistent=True)
        self.register_buffer("sums", torch.zeros(self.size, self.dim), persistent=True)

    def bound(self, z: Tensor) -> Tensor:
        """Latents as they are: a table reaches everywhere."""
        return z

    def residual_scale(self, level: int) -> Tensor:
        """1: a table learns the size of its residuals."""
        return torch.ones(self.dim, device=self.table.device)

    def assign(self, z: Tensor) -> Tensor:
        return nearest(z.detach(), self.table)

    def lookup(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.table)

    def vectors(self) -> Tensor:
        return self.table

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        return self.config.commitment * F.mse_loss(z, entries.detach())

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor) -> None:
        """One step of the averages over z (N, D), assigned to `indices` (N,); then revival. Identical on every process."""
        z = z.detach().float()
        counts = torch.bincount(indices, minlength=self.size).float()
        sums = torch.zeros_like(self.sums).index_add_(0, indices, z)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(counts)
            torch.distributed.all_reduce(sums)
        self.counts.lerp_(counts, 1 - self.config.decay)
        self.sums.lerp_(sums, 1 - self.config.decay)
        used = counts > 0  # the others' ratio stands, and would end in denormal numbers
        self.table[used] = self.sums[used] / self.counts[used, None]
        self._revive(z, float(counts.sum()) / self.size)

    def _revive(self, z: Tensor, fair_share: float) -> None:
        dead = torch.nonzero(self.counts < self.config.revive_below * fair_share).flatten()
        seeds = z[torch.randperm(len(z), device=z.device)[: len(dead)]]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast(seeds, 0)
        dead = dead[: len(seeds)]
        self.table[dead] = seeds
        self.counts[dead] = fair_share
        self.sums[dead] = seeds * fair_share
