"""SimVQ: a frozen random table behind one learned linear map, so that every step moves all entries.

Zhu et al., "Addressing Representation Collapse in Vector Quantized Models with One Linear Layer" (arXiv 2411.02038): codes = C W + b, loss
|sg(z) - e|^2 + commitment * |z - sg(e)|^2. No revival: the paper's claim is that none is needed.

Deviations: the map starts as the identity over a table of unit variance, so that codes begin where whitened latents are (the published
code has a table of variance 1/d behind a random map). The table is stored with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.codebooks.rows import check_rows, check_table, mean_square
from smalti.tokenizers.codebooks.search import nearest
from smalti.tokenizers.codebooks.ways import check_ways


@dataclass(frozen=True)
class SimVQConfig:
    """codebook_size entries of `dim` numbers. commitment and gradient as in `VQConfig`."""

    kind: ClassVar[str] = "simvq"
    codebook_size: int
    dim: int
    commitment: float = 0.25
    gradient: str = "straight_through"

    def __post_init__(self) -> None:
        check_table("a SimVQ table", self.codebook_size, self.dim, commitment=self.commitment)
        check_ways(self.dim, 0.0, "batch", "batch", False, self.gradient)


class SimVQ(nn.Module):
    """See the module's docstring. Fulfils `contracts.Codebook`."""

    frozen: Tensor

    def __init__(self, config: SimVQConfig) -> None:
        super().__init__()
        self.config = config
        self.size, self.dim, self.gradient = config.codebook_size, config.dim, config.gradient
        self.register_buffer("frozen", torch.randn(self.size, self.dim))
        self.map = nn.Linear(self.dim, self.dim)
        nn.init.eye_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def bound(self, z: Tensor) -> Tensor:
        """Latents as they are: a table reaches everywhere."""
        return z

    def residual_scale(self, level: int) -> Tensor:
        """1: a table learns the size of its residuals."""
        return torch.ones(self.dim, device=self.frozen.device)

    def assign(self, z: Tensor) -> Tensor:
        check_rows(z, self.dim)
        return nearest(z.detach(), self.vectors().detach())

    def lookup(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.vectors())

    def vectors(self) -> Tensor:
        """(K, D), always mapped as a whole: an entry's last bit does not depend on which others are looked up."""
        with torch.autocast(self.frozen.device.type, enabled=False):
            return self.map(self.frozen)

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        return mean_square(entries, z.detach()) + self.config.commitment * mean_square(z, entries.detach())

    def update(self, z: Tensor, indices: Tensor) -> None:
        """Nothing: the map learns by gradient."""
