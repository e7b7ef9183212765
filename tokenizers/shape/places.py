"""Places on surfaces with their normals: what a network reads of a shape. No chance is in it, so that a shape has one list of them."""

from __future__ import annotations

import numpy as np

from smalti.tokenizers.shape.field import Surface, surface_of
from smalti.tokenizers.shape.pose import Pose
from smalti.tokenizers.signals import Shape

Array = np.ndarray


def places_of(shape: Shape, pose: Pose, count: int) -> Array:
    """float32 (count, 6): places in the cube as [-1, 1]^3, and normals outwards; of a point cloud some of its points, and zeros.
    SignalError where no triangle has an area."""
    if shape.faces is not None:
        return on_surface(surface_of(shape, pose), count)
    points = pose.inwards(shape.vertices)
    chosen = points[np.arange(count) * len(points) // count]
    return np.concatenate([chosen, np.zeros_like(chosen)], 1).astype(np.float32)


def on_surface(surface: Surface, count: int) -> Array:
    """The same of a surface: spread evenly by area, in the order of triangles."""
    corner = surface.vertices[surface.faces]
    across = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(across, axis=1)
    at = np.searchsorted(np.cumsum(area), (np.arange(count) + 0.5) / count * area.sum(), side="right").clip(0, len(area) - 1)
    weights = np.random.default_rng(0).dirichlet([1, 1, 1], count)
    return np.concatenate([np.einsum("nk,nkc->nc", weights, corner[at]), (across / area[:, None])[at]], 1).astype(np.float32)
