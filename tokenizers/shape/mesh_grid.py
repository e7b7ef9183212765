"""The grid that a mesh's coordinates are rounded to: 2^bits cells a side, over the cube of a pose and half a unit around it.

The middles of cells are whole multiples of a power of two, so that float64 holds them exactly and a decoded mesh comes out equal again.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from smalti.tokenizers.shape.pose import MANTISSA, Pose, pose_of
from smalti.tokenizers.signals import Shape

Array = np.ndarray
_AROUND = sorted(range(-4, 5), key=abs)  # units that rounding may move a centre or a side by, at 7 bits
_PROBES = 16


def quantized(pose: Pose, points: Array, bits: int) -> Array:
    """int64 (V, 3) below 2^bits: the cells of points (V, 3)."""
    return np.stack([_quantized(pose, axis, points[:, axis], bits) for axis in range(3)], 1)


def places(pose: Pose, cells: Array, bits: int) -> Array:
    """float64 (V, 3): the middles of cells (V, 3), exactly."""
    return np.stack([_places(pose, axis, cells[:, axis], bits) for axis in range(3)], 1)


def pose_on_grid(shape: Shape, bits: int) -> Pose:
    """The pose of the vertices; of those that lie in middles of cells of a pose near by, that one. Errors: those of `pose_of`."""
    found = pose_of(shape)
    points = shape.vertices
    probes = points[np.linspace(0, len(points) - 1, min(_PROBES, len(points))).astype(np.int64)]
    for change in _AROUND:
        half, exponent = found.half + change, found.exponent
        if half >= 2 * MANTISSA:
            half, exponent = (half + 1) // 2, exponent + 1
        elif half < MANTISSA:
            half, exponent = 2 * half + 1, exponent - 1
        centre = np.rint(np.ldexp(np.asarray(found.place, np.float64), found.exponent - exponent)).astype(np.int64)
        options = [
            [
                int(centre[axis]) + d
                for d in _AROUND
                if _holds(Pose(exponent, half, (int(centre[axis]) + d,) * 3), axis, probes[:, axis], bits)
            ]
            for axis in range(3)
        ]
        for x, y, z in product(*(some[:2] for some in options)):
            pose = Pose(exponent, half, (x, y, z))
            if all(_holds(pose, axis, points[:, axis], bits) for axis in range(3)):
                return pose
    return found


def _quantized(pose: Pose, axis: int, values: Array, bits: int) -> Array:
    units = np.ldexp(values, -pose.exponent) - pose.place[axis]
    cells = np.floor(np.ldexp(units, bits) / (2 * pose.half + 1) + (1 << (bits - 1))).astype(np.int64)
    return np.clip(cells, 0, (1 << bits) - 1)


def _places(pose: Pose, axis: int, cells: Array, bits: int) -> Array:
    odd = 2 * cells.astype(np.int64) + 1 - (1 << bits)
    whole = (pose.place[axis] << (bits + 1)) + odd * (2 * pose.half + 1)
    return np.ldexp(whole.astype(np.float64), pose.exponent - bits - 1)


def _holds(pose: Pose, axis: int, values: Array, bits: int) -> bool:
    """Whether all values (V,) of an axis are middles of cells."""
    return bool(np.array_equal(_places(pose, axis, _quantized(pose, axis, values, bits), bits), values))
