"""VQ: a table of vectors learned by exponential moving averages.

van den Oord et al., "Neural Discrete Representation Learning" (arXiv 1711.00937), appendix A.1. Deviations: entries are moved to the
plain ratio sums/counts (no Laplace smoothing: an entry that nothing uses keeps its place), and entries that fall out of use are revived,
see `revival.py`, count and sum together with the entry, since a revived entry with its old sums would be thrown back by the next average.
The table starts unseeded: with `init="batch"` revival places all of it on data in the first updates (without revival it stays where it was
drawn), with "kmeans" the first batch that is assigned in
training does (before it is assigned, so that later residual levels see true residuals), again with counts and sums.

cosine: latents and entries have length 1, as in ViT-VQGAN (arXiv 2110.04627); what is carried on is the normalized latent. Level k of a
residual stack shrinks the sphere to K^(-k / (D - 1)), which is how near K points on it come to any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.codebooks import kmeans, ranks, revival
from smalti.tokenizers.codebooks.rows import check_rows, check_table, mean_square
from smalti.tokenizers.codebooks.search import nearest
from smalti.tokenizers.codebooks.ways import check_ways, residual_scale


@dataclass(frozen=True)
class VQConfig:
    """codebook_size entries of `dim` numbers.

    decay: of the moving averages. commitment: weight of |z - sg(e)|^2 in the loss (beta of the paper, on the encoder's side).
    revive_below: entries used less than this fraction of the fair share are re-seeded; 0 switches revival off. revival: "batch" or
    "anchor". init: "batch" or "kmeans". cosine: unit vectors. gradient: "straight_through" or "rotation" (`quantizers.grid.rotate_to`).
    """

    kind: ClassVar[str] = "vq"
    codebook_size: int
    dim: int
    decay: float = 0.99
    commitment: float = 0.25
    revive_below: float = 0.03
    revival: str = "batch"
    init: str = "batch"
    cosine: bool = False
    gradient: str = "straight_through"

    def __post_init__(self) -> None:
        check_table("a VQ table", self.codebook_size, self.dim, commitment=self.commitment, revive_below=self.revive_below)
        check_ways(self.dim, self.decay, self.revival, self.init, self.cosine, self.gradient)


class VQ(nn.Module):
    """See the module's docstring. Fulfils `contracts.Codebook`."""

    table: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.size, self.dim, self.gradient = config.codebook_size, config.dim, config.gradient
        table = torch.randn(self.size, self.dim)
        self.register_buffer("table", F.normalize(table, dim=1) if config.cosine else table)
        self.register_buffer("counts", torch.zeros(self.size), persistent=True)
        self.register_buffer("sums", torch.zeros(self.size, self.dim), persistent=True)

    def bound(self, z: Tensor) -> Tensor:
        """Latents as they are: a table reaches everywhere; at length 1 where the config says cosine."""
        return F.normalize(z, dim=-1) if self.config.cosine else z

    def residual_scale(self, level: int) -> Tensor:
        """1: a table learns the size of its residuals; for unit vectors see the module's docstring."""
        return residual_scale(self.size, self.dim, level if self.config.cosine else 0).to(self.table.device)

    def assign(self, z: Tensor) -> Tensor:
        check_rows(z, self.dim)
        if self.training and self.config.init == "kmeans" and not self.counts.any():
            self._seed(z)
        return nearest(z.detach(), self.table)

    def lookup(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.table)

    def vectors(self) -> Tensor:
        return self.table

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        return self.config.commitment * mean_square(z, entries.detach())

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor) -> None:
        """One step of the averages over z (N, D), assigned to `indices` (N,); then revival. Identical on every process."""
        z = z.detach().float()
        counts = torch.bincount(indices, minlength=self.size).float()
        sums = torch.zeros_like(self.sums).index_add_(0, indices, z)
        ranks.add(counts)
        ranks.add(sums)
        self.counts.lerp_(counts, 1 - self.config.decay)
        self.sums.lerp_(sums, 1 - self.config.decay)
        used = counts > 0  # the others' ratio stands, and would end in denormal numbers
        self.table[used] = self._placed(self.sums[used] / self.counts[used, None])
        if self.config.revive_below:
            self._revive(z, float(counts.sum()) / self.size)

    def _revive(self, z: Tensor, fair_share: float) -> None:
        config = self.config
        found = revival.revive(config.revival, z, self.table, self.counts, config.revive_below, config.decay, fair_share)
        self._put(found.places, found.vectors, found.counts)

    @torch.no_grad()
    def _seed(self, z: Tensor) -> None:
        made = kmeans.seed(z, self.size, self.config.cosine)
        self._put(torch.arange(len(made.centres), device=z.device), made.centres, made.weights)

    def _put(self, places: Tensor, vectors: Tensor, counts: Tensor) -> None:
        """Entries with the averages that keep them where they are."""
        self.table[places] = self._placed(vectors)
        self.counts[places] = counts
        self.sums[places] = self.table[places] * counts[:, None]

    def _placed(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=1) if self.config.cosine else vectors
