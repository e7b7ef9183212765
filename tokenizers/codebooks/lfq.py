"""LFQ: the sign of each dimension is a bit; no table, no search.

Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation" (MAGVIT-v2, arXiv 2310.05737), with its loss
commitment * |z - sg(c)|^2 + entropy * (E[H(c|z)] - diversity * H(E[c])), softmax over all 2^bits codes at a temperature of 0.01.

Deviations: the entropies are computed without a table, see `entropy.py`, the second exact within groups of `group_bits` bits only: at
18 bits and 9 a group it is an upper bound, `group_bits=18` makes it exact, for N * 2^9 + 2^18 numbers instead of N * 2^18. Latents of about
unit variance are expected, since everything depends on how far they are from 0 (the author advises a GroupNorm; ours are whitened). Levels
of a residual stack halve the cube each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.tokenizers.codebooks.binary import check_bits, pack, shifts, unpack
from smalti.tokenizers.codebooks.entropy import entropy_loss
from smalti.tokenizers.codebooks.rows import check_rows, mean_square
from smalti.tokenizers.errors import UsageError

MOST_GROUP_BITS = 20


@dataclass(frozen=True)
class LFQConfig:
    """bits: dimensions, and log2 of the number of codes. commitment: weight of |z - sg(c)|^2.

    entropy: weight of the entropy loss, which is computed in training only. diversity: of the batch's entropy in it (gamma of the paper).
    temperature: of the softmax. group_bits: how many bits share one batch entropy, 1 to 20. bit_order: "little", first dimension lowest,
    or "big".
    """

    kind: ClassVar[str] = "lfq"
    bits: int
    commitment: float = 0.25
    entropy: float = 0.1
    diversity: float = 1.0
    temperature: float = 0.01
    group_bits: int = 9
    bit_order: str = "little"

    def __post_init__(self) -> None:
        check_bits("LFQ", self.bits, self.bit_order)
        check_entropy(self.entropy, self.diversity, self.temperature, self.group_bits)
        if self.commitment < 0:
            raise UsageError(f"commitment must not be negative, found {self.commitment}")

    @property
    def dim(self) -> int:
        """Of latents."""
        return self.bits


class LFQ(nn.Module):
    """See the module's docstring. Fulfils `contracts.Codebook`; has no parameters."""

    gradient = "straight_through"
    places: Tensor

    def __init__(self, config: LFQConfig) -> None:
        super().__init__()
        self.config = config
        self.size, self.dim = 2**config.bits, config.dim
        self.register_buffer("places", shifts(config.bits, config.bit_order), persistent=False)

    def bound(self, z: Tensor) -> Tensor:
        """Latents as they are, in float32 at least."""
        return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z

    def residual_scale(self, level: int) -> Tensor:
        """(D,): 2^-level."""
        return torch.full((self.dim,), 0.5**level, device=self.places.device)

    def assign(self, z: Tensor) -> Tensor:
        check_rows(z, self.dim)
        return pack(z, self.places)

    def lookup(self, indices: Tensor) -> Tensor:
        return unpack(indices, self.places)

    def vectors(self) -> Tensor:
        return self.lookup(torch.arange(self.size, device=self.places.device))

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        loss = self.config.commitment * mean_square(z, entries.detach())
        if not self.training or not self.config.entropy:
            return loss
        logits = 4 / self.config.temperature * z  # |z - c|^2 differs by 4 z between the two signs
        return loss + self.config.entropy * entropy_loss(logits, self.config.diversity, self.config.group_bits)

    def update(self, z: Tensor, indices: Tensor) -> None:
        """Nothing to learn."""


def check_entropy(entropy: float, diversity: float, temperature: float, group_bits: int) -> None:
    """UsageError where the entropy loss would make no sense."""
    if entropy < 0 or diversity < 0:
        raise UsageError(f"entropy and diversity must not be negative, found {entropy} and {diversity}")
    if not temperature > 0:
        raise UsageError(f"temperature must be positive, found {temperature}")
    if not 1 <= group_bits <= MOST_GROUP_BITS:
        raise UsageError(f"group_bits must lie in 1..{MOST_GROUP_BITS}, found {group_bits}")
