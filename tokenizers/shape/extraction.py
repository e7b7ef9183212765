"""Surfaces from distance fields: marching cubes."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


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
