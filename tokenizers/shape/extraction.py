"""Surfaces from distance fields: marching cubes, of a dense grid or coarse to fine.

Coarse to fine, a field that is a function of points is asked on a grid of at least 64 cells a side, then, twice as fine each time, only in
cells that the surface may cross; elsewhere it is interpolated. It is one grid to the end, so no cracks are made. What holds of the surface
at the finest grid, against that of asking everywhere:

- It is the same, but for whole connected pieces of it that may be missing: refinement follows a surface until no cell that it crosses has
  a corner that was not asked, and interpolation between corners of one sign invents none.
- No piece is missing if the field changes by at most `slope` times the distance between two points, wherever it is within reach of 0:
  cells are refined whose corners come as near to 0 as a surface inside allows. A distance field has slope 1; a learned one nearly so.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smalti.tokenizers.errors import UsageError

Array = np.ndarray
Field = Callable[[Array], Array]  # points (N, 3) -> values (N,), negative inside
COARSEST = 64  # cells a side that are asked everywhere
LARGEST = 512
AT_ONCE = 2**17  # points


def surface(values: Array, axis: Array) -> tuple[Array, Array]:
    """(vertices float64 (V, 3), faces int64 (F, 3)) of the surface where a field on a grid of equal steps is 0, outsides outwards; both
    empty where the field is nowhere negative. At the border of the grid surfaces are closed."""
    from skimage.measure import marching_cubes

    if not values.min() < 0:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    step = float(axis[1] - axis[0])
    padded = np.pad(values, 1, constant_values=max(float(values.max()), step))
    vertices, faces, _, _ = marching_cubes(padded, 0.0)
    return axis[0] + (vertices.astype(np.float64) - 1) * step, faces.astype(np.int64)


def refined(field: Field, reach: float, resolution: int, slope: float = 1.0) -> tuple[Array, Array]:
    """(float32 (resolution + 1,)*3, its axis) of a field on [-reach, reach]^3, as `surface` takes them: asked where the surface may be.

    resolution: cells a side; it is halved while that leaves 64 and more to start with.
    """
    if not 2 <= resolution <= LARGEST:
        raise UsageError(f"surfaces are drawn from 2..{LARGEST} cells a side, found {resolution}")
    side = resolution
    while side % 2 == 0 and side // 2 >= COARSEST:
        side //= 2
    values = _asked(field, np.arange((side + 1) ** 3), reach, side).reshape((side + 1,) * 3)
    while side < resolution:
        near = slope * 2 * reach / side * 3**0.5 / 2  # no place of a cell is farther than that from the nearest corner
        cells = _crossed(values) | (_corners(np.abs(values), np.minimum) <= near)
        values, side = _doubled(values), 2 * side
        known = np.zeros(values.shape, bool)
        known[::2, ::2, ::2] = True
        cells = cells.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        while True:
            new = np.flatnonzero(_touched(cells) & ~known)
            if not len(new):
                break
            values.reshape(-1)[new] = _asked(field, new, reach, side)
            known.reshape(-1)[new] = True
            cells = _crossed(values)
    return values, np.linspace(-reach, reach, resolution + 1)


def _asked(field: Field, places: Array, reach: float, side: int) -> Array:
    """The field at places of the grid, float32; a bounded number at a time."""
    axis = np.linspace(-reach, reach, side + 1)
    out = np.empty(len(places), np.float32)
    for start in range(0, len(places), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        out[part] = field(axis[np.stack(np.unravel_index(places[part], (side + 1,) * 3), 1)])
    return out


def _corners(values: Array, join: Callable[[Array, Array], Array]) -> Array:
    """What the eight corners of each cell have in common."""
    for axis in range(3):
        first, second = (np.take(values, range(k, values.shape[axis] - 1 + k), axis) for k in (0, 1))
        values = join(first, second)
    return values


def _crossed(values: Array) -> Array:
    """Cells with corners of both signs."""
    inside = values < 0
    return _corners(inside, np.logical_or) & ~_corners(inside, np.logical_and)


def _touched(cells: Array) -> Array:
    """Corners of these cells."""
    return _corners(np.pad(cells, 1), np.logical_or)


def _doubled(values: Array) -> Array:
    """Twice as fine: means in between."""
    for axis in range(3):
        moved = np.moveaxis(values, axis, 0)
        out = np.empty((2 * len(moved) - 1, *moved.shape[1:]), values.dtype)
        out[::2], out[1::2] = moved, (moved[1:] + moved[:-1]) / 2
        values = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(values)
