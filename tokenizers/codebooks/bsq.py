"""BSQ: latents on the unit sphere, the sign of each dimension is a bit, entries are the corners of the cube inscribed in it.

Zhao et al., "Image and Video Tokenization with Binary Spherical Quantization" (arXiv 2406.07548), with its loss
entropy * (E[H(c|u)] - diversity * H(E[c])) + commitment * |u - sg(c)|^2, u = z / |z|, c in {-1, 1}^d / sqrt(d); commitment is 0 there,
since an entry is never farther than sqrt(2 - 2/sqrt(d)).

Deviations: the code's mean distribution is kept per group of `group_bits` bits (9 is the paper's choice, its code has 1), exactly within a
group, see `entropy.py`. Levels of a residual stack halve the cube each time, a residual is not put on the sphere again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.codebooks.binary import check_bits, pack, shifts, unpack
from smalti.tokenizers.codebooks.entropy import entropy_loss
from smalti.tokenizers.codebooks.lfq import check_entropy
from smalti.tokenizers.codebooks.rows import check_rows, mean_square
from smalti.tokenizers.errors import UsageError


@dataclass(frozen=True)
class BSQConfig:
    """bits: dimensions, and log2 of the number of codes. The rest as in `LFQConfig`."""

    kind: ClassVar[str] = "bsq"
    bits: int
    commitment: float = 0.0
    entropy: float = 0.1
    diversity: float = 1.0
    temperature: float = 0.01
    group_bits: int = 9
    bit_order: str = "little"

    def __post_init__(self) -> None:
        check_bits("BSQ", self.bits, self.bit_order)
        if self.bits < 2:
            raise UsageError("BSQ needs bits >= 2: on a line the sphere is two points, and no gradient passes; use LFQ for one bit")
        check_entropy(self.entropy, self.diversity, self.temperature, self.group_bits)
        if self.commitment < 0:
            raise UsageError(f"commitment must not be negative, found {self.commitment}")

    @property
    def dim(self) -> int:
        """Of latents."""
        return self.bits


class BSQ(nn.Module):
    """See the module's docstring. Fulfils `contracts.Codebook`; has no parameters."""

    gradient = "straight_through"
    places: Tensor

    def __init__(self, config: BSQConfig) -> None:
        super().__init__()
        self.config = config
        self.size, self.dim = 2**config.bits, config.dim
        self.radius = 1 / math.sqrt(config.bits)
        self.register_buffer("places", shifts(config.bits, config.bit_order), persistent=False)

    def bound(self, z: Tensor) -> Tensor:
        """Latents (..., D) at length 1, in float32 at least; 0 stays 0."""
        return F.normalize(z.float() if z.dtype in (torch.float16, torch.bfloat16) else z, dim=-1)

    def residual_scale(self, level: int) -> Tensor:
        """(D,): 2^-level."""
        return torch.full((self.dim,), 0.5**level, device=self.places.device)

    def assign(self, z: Tensor) -> Tensor:
        check_rows(z, self.dim)
        return pack(z, self.places)

    def lookup(self, indices: Tensor) -> Tensor:
        return unpack(indices, self.places) * self.radius

    def vectors(self) -> Tensor:
        return self.lookup(torch.arange(self.size, device=self.places.device))

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        loss = self.config.commitment * mean_square(z, entries.detach())
        if not self.training or not self.config.entropy:
            return loss
        logits = 4 * self.radius / self.config.temperature * z
        return loss + self.config.entropy * entropy_loss(logits, self.config.diversity, self.config.group_bits)

    def update(self, z: Tensor, indices: Tensor) -> None:
        """Nothing to learn."""
