"""IBQ: the decoder's gradient reaches every entry of the table, through a softmax over all of them.

Shi et al., "Scalable Image Tokenization with Index Backpropagation Quantization" (arXiv 2412.02692): one-hot in the forward pass, the
gradient of the softmax in the backward pass; loss |q - z|^2 + |sg(q) - z|^2 + commitment * |h - sg(z)|^2 (q with that gradient, h the entry
alone), plus entropy * (E[H(p)] - diversity * H(E[p])), p a softmax at a temperature of 0.01.

Deviations: logits are z.e - |e|^2 / 2 instead of z.e, so that the likeliest entry is the nearest one: with dot products alone an entry is
not assigned to itself, and what residual levels leave over may grow. The table starts at unit variance, where whitened latents are.

N x K is never held: rows go through in chunks which the backward pass computes again (`CHUNK_ELEMENTS` probabilities at a time).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from smalti.tokenizers.codebooks import ranks
from smalti.tokenizers.codebooks.entropy import entropy
from smalti.tokenizers.codebooks.rows import check_rows, check_table, mean_square
from smalti.tokenizers.codebooks.search import nearest
from smalti.tokenizers.errors import UsageError

CHUNK_ELEMENTS = 2**20  # 4 MiB, a few times over


@dataclass(frozen=True)
class IBQConfig:
    """codebook_size entries of `dim` numbers. commitment: weight of |h - sg(z)|^2.

    entropy: weight of the entropy loss, which is computed in training only; 0 saves its time. diversity: of the batch's entropy in it.
    temperature: of its softmax.
    """

    kind: ClassVar[str] = "ibq"
    codebook_size: int
    dim: int
    commitment: float = 0.25
    entropy: float = 0.05
    diversity: float = 1.0
    temperature: float = 0.01

    def __post_init__(self) -> None:
        weights = {"commitment": self.commitment, "entropy": self.entropy, "diversity": self.diversity}
        check_table("an IBQ table", self.codebook_size, self.dim, **weights)
        if not self.temperature > 0:
            raise UsageError(f"temperature must be positive, found {self.temperature}")


class IBQ(nn.Module):
    """See the module's docstring. Fulfils `contracts.SoftCodebook`."""

    gradient = "own"

    def __init__(self, config: IBQConfig) -> None:
        super().__init__()
        self.config = config
        self.size, self.dim = config.codebook_size, config.dim
        self.table = nn.Parameter(torch.randn(self.size, self.dim))

    def bound(self, z: Tensor) -> Tensor:
        """Latents as they are: a table reaches everywhere."""
        return z

    def residual_scale(self, level: int) -> Tensor:
        """1: a table learns the size of its residuals."""
        return torch.ones(self.dim, device=self.table.device)

    def assign(self, z: Tensor) -> Tensor:
        check_rows(z, self.dim)
        return nearest(z.detach(), self.table.detach())

    def lookup(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self.table)

    def vectors(self) -> Tensor:
        return self.table

    def soft(self, z: Tensor) -> Tensor:
        """The mean of all entries under the softmax of each row z (N, D); entries learn through their probabilities."""
        with torch.autocast(z.device.type, enabled=False):
            return torch.cat([checkpoint(_expected, part, self.table, use_reentrant=False) for part in self._chunks(z)])

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        """entries: with the gradient of `soft`, as quantizers read them."""
        hard = self.lookup(self.assign(z)) if self.training else entries
        loss = mean_square(entries, z) + mean_square(z, entries.detach()) + self.config.commitment * mean_square(hard, z.detach())
        if not self.training or not self.config.entropy:
            return loss
        return loss + self.config.entropy * self._entropy_loss(z)

    def update(self, z: Tensor, indices: Tensor) -> None:
        """Nothing: the table learns by gradient."""

    def _entropy_loss(self, z: Tensor) -> Tensor:
        total = torch.zeros(self.size + 1, device=z.device)
        with torch.autocast(z.device.type, enabled=False):
            for part in self._chunks(z):
                total = total + checkpoint(_entropies, part, self.table, self.config.temperature, use_reentrant=False)
        mean = ranks.mean(total, len(z))
        return mean[-1] - self.config.diversity * entropy(mean[:-1])

    def _chunks(self, z: Tensor) -> tuple[Tensor, ...]:
        return z.float().split(max(1, CHUNK_ELEMENTS // self.size))


def _logits(z: Tensor, table: Tensor) -> Tensor:
    return torch.addmm(table.square().sum(1) * -0.5, z, table.t())


def _expected(z: Tensor, table: Tensor) -> Tensor:
    return F.softmax(_logits(z, table), 1) @ table.detach()


def _entropies(z: Tensor, table: Tensor, temperature: float) -> Tensor:
    """(K + 1,): the rows' probabilities summed, and the sum of their entropies."""
    log_p = F.log_softmax(_logits(z, table) / temperature, 1)
    p = log_p.exp()
    return torch.cat([p.sum(0), -(p * log_p).sum()[None]])
