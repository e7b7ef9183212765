"""Learned VQ: a table of vectors trained by gradient.

van den Oord et al., "Neural Discrete Representation Learning" (arXiv 1711.00937), equation 3: codebook * |sg(z) - e|^2 + commitment *
|z - sg(e)|^2, the smaller weight on the latents (taming-transformers has it the other way round by default). With `cosine` latents and
entries have length 1, as in ViT-VQGAN (arXiv 2110.04627) and LlamaGen: the table is normalized where it is read.

Deviations: the table is placed on data by the first batches, and entries that fall out of use are revived, both as in `vq.py`. An
optimizer's moments of a revived entry are those of the old one for a few steps. Keep weight decay off the table.
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
class LearnedVQConfig:
    """codebook: weight of |sg(z) - e|^2, which moves the entries. decay: of the average use that revival looks at.

    The rest as in `VQConfig`.
    """

    kind: ClassVar[str] = "learned-vq"
    codebook_size: int
    dim: int
    codebook: float = 1.0
    commitment: float = 0.25
    decay: float = 0.99
    revive_below: float = 0.03
    revival: str = "batch"
    init: str = "batch"
    cosine: bool = False
    gradient: str = "straight_through"

    def __post_init__(self) -> None:
        weights = {"codebook": self.codebook, "commitment": self.commitment, "revive_below": self.revive_below}
        check_table("a learned VQ table", self.codebook_size, self.dim, **weights)
        check_ways(self.dim, self.decay, self.revival, self.init, self.cosine, self.gradient)


class LearnedVQ(nn.Module):
    """See the module's docstring. Fulfils `contracts.Codebook`."""

    counts: Tensor

    def __init__(self, config: LearnedVQConfig) -> None:
        super().__init__()
        self.config = config
        self.size, self.dim, self.gradient = config.codebook_size, config.dim, config.gradient
        self.table = nn.Parameter(self._placed(torch.randn(self.size, self.dim)))
        self.register_buffer("counts", torch.zeros(self.size))

    def bound(self, z: Tensor) -> Tensor:
        """Latents as they are; at length 1 where the config says cosine."""
        return self._placed(z)

    def residual_scale(self, level: int) -> Tensor:
        """1: a table learns the size of its residuals; for unit vectors as in `vq.py`."""
        return residual_scale(self.size, self.dim, level if self.config.cosine else 0).to(self.table.device)

    def assign(self, z: Tensor) -> Tensor:
        check_rows(z, self.dim)
        if self.training and self.config.init == "kmeans" and not self.counts.any():
            made = kmeans.seed(z, self.size, self.config.cosine)
            self._put(torch.arange(len(made.centres), device=z.device), made.centres, made.weights)
        return nearest(z.detach(), self.vectors().detach())

    def lookup(self, indices: Tensor) -> Tensor:
        return self._placed(F.embedding(indices, self.table))

    def vectors(self) -> Tensor:
        return self._placed(self.table)

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        config = self.config
        return config.codebook * mean_square(entries, z.detach()) + config.commitment * mean_square(z, entries.detach())

    @torch.no_grad()
    def update(self, z: Tensor, indices: Tensor) -> None:
        """One step of the average use, and revival: entries learn by gradient. Identical on every process."""
        z, config = z.detach().float(), self.config
        counts = ranks.add(torch.bincount(indices, minlength=self.size).float())
        self.counts.lerp_(counts, 1 - config.decay)
        if config.revive_below:
            fair_share = float(counts.sum()) / self.size
            found = revival.revive(config.revival, z, self.vectors(), self.counts, config.revive_below, config.decay, fair_share)
            self._put(found.places, found.vectors, found.counts)

    def _put(self, places: Tensor, vectors: Tensor, counts: Tensor) -> None:
        # through .data: what has been looked up in this step keeps its gradient
        self.table.data[places] = self._placed(vectors.to(self.table.dtype))
        self.counts[places] = counts

    def _placed(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.config.cosine else vectors
