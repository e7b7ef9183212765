"""How near surfaces lie to a shape, quickly: what the choice between ways to say it is made by."""

from __future__ import annotations

import numpy as np

from smalti.tokenizers.shape.field import igl
from smalti.tokenizers.shape.simplified import coarser
from smalti.tokenizers.signals import Shape

Array = np.ndarray
PLACES = 3000
MOST_FACES = 6000  # that distances are taken to
_NEAR = (0.04, 0.02)  # 2 and 1 percent of the longest side, in half sides


class Closeness:
    """Of surfaces to one shape in its cube as [-1, 1]^3: 0 is perfect.

    The sum of 1 - F-score at 2 % of the longest side, half of the same at 1 %, twice the mean distance (at most a quarter side), and a
    quarter of the distance within which nearly all of the shape is told: what leaves out a part is seen by that.
    """

    def __init__(self, vertices: Array, faces: Array | None) -> None:
        self.places = places_on(vertices, faces)
        if faces is not None and len(faces) > MOST_FACES:
            coarse = coarser(Shape(vertices, faces), MOST_FACES)  # every call builds a tree of them
            vertices, faces = coarse.vertices, coarse.faces
        self.vertices, self.faces = vertices, faces

    def __call__(self, vertices: Array, faces: Array) -> float:
        if not len(faces):
            return 4.0
        there = _to(places_on(vertices, faces), self.vertices, self.faces)
        back = _to(self.places, vertices, faces)
        out = np.minimum(there, 0.5).mean() + np.minimum(back, 0.5).mean() + 0.25 * min(float(np.quantile(back, 0.98)), 1.0)
        for near, weight in zip(_NEAR, (1.0, 0.5), strict=True):
            precision, recall = float((there < near).mean()), float((back < near).mean())
            out += weight * (1 - 2 * precision * recall / max(precision + recall, 1e-9))
        return float(out)


def places_on(vertices: Array, faces: Array | None, count: int = PLACES) -> Array:
    """Places evenly spread over triangles by area, always the same ones; of a point cloud some of its points."""
    if faces is None:
        return vertices[:: max(1, len(vertices) // count)]
    corner = vertices[faces]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    if not area.sum():
        return vertices[faces.reshape(-1)[:count]]
    at = np.searchsorted(np.cumsum(area), np.linspace(0, area.sum(), count, endpoint=False), side="right").clip(0, len(area) - 1)
    weights = np.random.default_rng(0).dirichlet([1, 1, 1], count)
    return np.einsum("nk,nkc->nc", weights, corner[at])


def _to(points: Array, vertices: Array, faces: Array | None) -> Array:
    if faces is None:
        from scipy.spatial import cKDTree

        return cKDTree(vertices).query(points)[0]
    return np.sqrt(igl().point_mesh_squared_distance(points, vertices, faces)[0])
