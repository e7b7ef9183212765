"""FSQ: every dimension rounded to a few fixed levels; the index is their mixed-radix number.

Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple" (arXiv 2309.15505). Deviations: levels are symmetric, linspace(-1, 1, L),
for even L too (the paper shifts even ones by half a step), and the default bound is the normal distribution's own function instead of
tanh: with latents of unit variance every level is then equally likely from the first step (with tanh the encoder starts in the middle
cells and tends to stay there). The first dimension counts fastest, as in the paper's code.
Indices are exact: integer arithmetic in int64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.tokenizers.codebooks.rows import check_rows
from smalti.tokenizers.errors import UsageError


@dataclass(frozen=True)
class FSQConfig:
    """levels: number of levels per dimension, each at least 2. bound: "normal" or "tanh"."""

    kind: ClassVar[str] = "fsq"
    levels: tuple[int, ...]
    bound: str = "normal"

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise UsageError(f"FSQ needs at least one dimension and two levels in each, found {self.levels}")
        if math.prod(self.levels) > 2**31 - 1:
            raise UsageError(f"FSQ levels {self.levels} make {math.prod(self.levels)} codes; tokens are int32")
        if self.bound not in ("normal", "tanh"):
            raise UsageError(f"FSQ bound is 'normal' or 'tanh', found {self.bound!r}")

    @property
    def dim(self) -> int:
        """Of latents."""
        return len(self.levels)


class FSQ(nn.Module):
    """See the module's docstring. Fulfils `contracts.Codebook`; has no parameters."""

    gradient = "straight_through"
    levels: Tensor
    places: Tensor

    def __init__(self, config: FSQConfig) -> None:
        super().__init__()
        self.config = config
        self.size, self.dim = math.prod(config.levels), config.dim
        self.register_buffer("levels", torch.tensor(config.levels), persistent=False)
        places = [math.prod(config.levels[:i]) for i in range(self.dim)]
        self.register_buffer("places", torch.tensor(places), persistent=False)

    def bound(self, z: Tensor) -> Tensor:
        """Latents (..., D) into (-1, 1) half a step beyond the outer levels, where the levels live; float32 at least."""
        z = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
        bounded = torch.erf(z / math.sqrt(2)) if self.config.bound == "normal" else torch.tanh(z)
        return bounded * (self.levels / (self.levels - 1)).to(z.dtype)  # outer cells as wide as inner ones

    def residual_scale(self, level: int) -> Tensor:
        """(D,): rounding leaves half a step, 1/(L - 1), to each side; L cells of equal width in it have outer centres at 1/L."""
        return self.levels.double().pow(-level).float()

    def assign(self, z: Tensor) -> Tensor:
        check_rows(z, self.dim)
        steps = (z.detach() + 1) * 0.5 * (self.levels - 1)
        digits = (steps - 0.5).ceil().long()  # rounded, halves down; round() takes halves to the even level
        return (digits.clamp(min=0).minimum(self.levels - 1) * self.places).sum(-1)

    def lookup(self, indices: Tensor) -> Tensor:
        digits = indices[..., None] // self.places % self.levels
        return digits.float() * (2 / (self.levels - 1)) - 1

    def vectors(self) -> Tensor:
        return self.lookup(torch.arange(self.size, device=self.levels.device))

    def loss(self, z: Tensor, entries: Tensor) -> Tensor:
        return z.new_zeros(())

    def update(self, z: Tensor, indices: Tensor) -> None:
        """Nothing to learn."""
