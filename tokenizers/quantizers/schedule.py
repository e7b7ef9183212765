"""The shapes of the scales of a multi-scale quantizer, and latents from one shape to another, over any number of axes.

Down is the mean over each cell, never samples: F.interpolate without it aliases. Where sizes do not divide, cells are rounded outward and
share their edge positions (torch's adaptive pooling; what "area" means there and in VAR). Up is interpolation, axis by axis.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F


def fraction_shapes(fractions: tuple[float, ...], grid: tuple[int, ...], held_axes: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Per scale the fraction of each axis, rounded half up and at least 1; held axes keep their size."""
    return tuple(
        tuple(size if axis in held_axes else max(1, int(size * fraction + 0.5)) for axis, size in enumerate(grid)) for fraction in fractions
    )


def down(z: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(B, D, *grid) -> (B, D, *shape), each the mean of its cell."""
    return _per_axis(z, shape, lambda lines, size: F.adaptive_avg_pool1d(lines, size))


def up(z: Tensor, shape: tuple[int, ...], mode: str) -> Tensor:
    """(B, D, *coarse) -> (B, D, *shape). mode: "nearest", "linear" or "cubic"."""
    if mode == "cubic":  # torch has it for pictures alone: a picture one pixel wide
        return _per_axis(z, shape, lambda lines, size: F.interpolate(lines[..., None], (size, 1), mode="bicubic")[..., 0])
    return _per_axis(z, shape, lambda lines, size: F.interpolate(lines, size, mode="nearest-exact" if mode == "nearest" else mode))


def _per_axis(z: Tensor, shape: tuple[int, ...], resize: Callable[[Tensor, int], Tensor]) -> Tensor:
    for axis, size in enumerate(shape, 2):
        if z.shape[axis] == size:
            continue
        moved = z.movedim(axis, -1)
        lines = moved.reshape(-1, 1, moved.shape[-1])
        z = resize(lines, size).reshape(*moved.shape[:-1], size).movedim(-1, axis)
    return z
