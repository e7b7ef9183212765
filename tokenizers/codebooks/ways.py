"""Options that tables learned by averages and by gradient have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.tokenizers.codebooks import revival
from smalti.tokenizers.errors import UsageError

CHOICES = {"revival": revival.WAYS, "init": ("batch", "kmeans"), "gradient": ("straight_through", "rotation")}


def check_ways(dim: int, decay: float, revival: str, init: str, cosine: bool, gradient: str) -> None:
    """UsageError where an option is unknown or has no meaning in that dimension."""
    if not 0 <= decay < 1:
        raise UsageError(f"decay must lie in [0, 1), found {decay}")
    for key, value in (("revival", revival), ("init", init), ("gradient", gradient)):
        if value not in CHOICES[key]:
            raise UsageError(f"{key} is {' or '.join(map(repr, CHOICES[key]))}, found {value!r}")
    if dim < 2 and (cosine or gradient == "rotation"):
        raise UsageError(f"directions need dim >= 2, found {dim}; use neither cosine nor gradient='rotation'")


def residual_scale(size: int, dim: int, sphere_level: int) -> Tensor:
    """(D,): the radius of that level's sphere, K^(-level / (D - 1)); 1 at level 0, and for tables that are on no sphere."""
    return torch.full((dim,), float(size) ** (-sphere_level / max(1, dim - 1)))
