"""Projected: any codebook in fewer dimensions than the latents have.

Low-dimensional codes as in ViT-VQGAN (arXiv 2110.04627) and DAC (arXiv 2306.06546): entries of 8 to 32 numbers are used more evenly than
entries of 256. Deviation: the way in and the way out are one orthonormal map, Q^T and Q, the principal directions of the first batch in
training, instead of two free ones learned by gradient; what learns is the encoder before it and the decoder behind. So the entry that is
nearest in the small space is nearest in the large one too, an entry is assigned to itself, and the levels of a residual stack work in the
same subspace. What lies outside is cut off by `bound`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.tokenizers.codebooks import plain, ranks
from smalti.tokenizers.codebooks.plain import PlainConfig
from smalti.tokenizers.codebooks.rows import check_rows
from smalti.tokenizers.errors import UsageError


@dataclass(frozen=True)
class ProjectedConfig:
    """codebook: the one within. dim: of the latents, larger than the codebook's."""

    kind: ClassVar[str] = "projected"
    codebook: PlainConfig
    dim: int

    def __post_init__(self) -> None:
        if not self.codebook.dim < self.dim:
            raise UsageError(f"a projection makes latents smaller: from {self.dim} to the codebook's {self.codebook.dim} it would not")


class Projected(nn.Module):
    """See the module's docstring. Fulfils `contracts.Codebook`."""

    basis: Tensor
    seeded: Tensor

    def __init__(self, config: ProjectedConfig) -> None:
        super().__init__()
        self.config = config
        self.codebook = plain.build(config.codebook)
        self.size, self.dim, self.gradient = self.codebook.size, config.dim, self.codebook.gradient
        self.register_buffer("basis", torch.eye(config.dim, self.codebook.dim))
        self.register_buffer("seeded", torch.zeros((), dtype=torch.int64))

    def bound(self, z: Tensor) -> Tensor:
        """Latents (..., D) on the subspace, and there where the codebook wants them."""
        self._seed(z)
        return self._out(self.codebook.bound(self._in(z)))

    def residual_scale(self, level: int) -> Tensor:
        """(D,): the codebook's, which must be the same for all its dimensions."""
        scale = self.codebook.residual_scale(level)
        if torch.any(scale != scale[0]):
            raise UsageError(f"levels of a projected codebook shrink all dimensions alike, found {scale.tolist()}; use equal FSQ levels")
        return scale[0].expand(self.dim)

    def assign(self, z: Tensor) -> Tensor:
        check_rows(z, self.dim)
        self._seed(z)
        return self.codebook.assign(self._in(z))

    def lookup(self, indices: Tensor) -> Tensor:
        return self._out(self.codebook.lookup(indices))

    def vectors(self) -> Tensor:
        return self._out(self.codebook.vectors())

    def soft(self, z: Tensor) -> Tensor:
        """Of a codebook that has it, see `contracts.SoftCodebook`."""
        return self._out(self.codebook.soft(self._in(z)))  # type: ignore[operator]

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        return self.codebook.loss(self._in(z), self._in(entries))

    def update(self, z: Tensor, indices: Tensor) -> None:
        self.codebook.update(self._in(z), indices)

    @torch.no_grad()
    def _seed(self, z: Tensor) -> None:
        if not self.training or self.seeded:
            return
        rows = z.detach().reshape(-1, self.dim).double()
        products = ranks.add(rows.t() @ rows)  # about 0, not the mean: it has to pass too
        if not products.any():
            return
        directions = torch.linalg.eigh(products).eigenvectors.flip(1)[:, : self.codebook.dim]
        self.basis.copy_(ranks.share(directions.contiguous()))
        self.seeded.fill_(1)

    def _in(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            wide = torch.promote_types(z.dtype, self.basis.dtype)
            return z.to(wide) @ self.basis.to(wide)

    def _out(self, entries: Tensor) -> Tensor:
        with torch.autocast(entries.device.type, enabled=False):
            return entries @ self.basis.t().to(entries.dtype)
