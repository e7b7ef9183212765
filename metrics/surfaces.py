"""What the metrics of shapes are made of: points of surfaces, exact distances to them, and what lies inside.

All is measured in the reference's longest side (of its axis-parallel box), around its centre; so no unit and no place matters. Points are
drawn from surfaces evenly by area with fixed seeds, so that a number can be had again; a point cloud gives its own points, 100,000 of them
at most. Distances go to the nearest point of the other's triangles, by libigl's tree of boxes, or to the nearest point of a cloud. Faces
without area are no surface; a mesh that has no others counts as the cloud of its vertices.

Inside is where the winding number (fast approximation, Barill et al. 2018, as libigl has it) exceeds 1/2 in size. It says in or out and
nothing of how far. Where a mesh is open it is a guess, a good one for small holes.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Shape, Signal

Array = np.ndarray
POINTS = 100_000
SEED = 20241
KEPT = 4  # shapes whose points, and 2 pairs whose distances, are kept for the next metric


@dataclass(frozen=True, eq=False)
class Surface:
    """vertices: float64 (V, 3). faces: int64 (F, 3), all of some area, or None for a cloud."""

    vertices: Array
    faces: Array | None

    @property
    def empty(self) -> bool:
        return not len(self.vertices)


@dataclass(frozen=True, eq=False)
class Drawn:
    """points: float64 (N, 3). normals: unit vectors (N, 3), None of a cloud."""

    points: Array
    normals: Array | None


@dataclass(frozen=True, eq=False)
class Distances:
    """Of points to the nearest place of a surface. normals: |cos| of the angle to the surface there, None where one side is a cloud."""

    values: Array
    normals: Array | None


@dataclass(frozen=True, eq=False)
class Compared:
    """Distances in the reference's longest side, from either's points to the other; None where the decoded shape is empty."""

    of_decoded: Distances | None
    of_reference: Distances | None


def shapes(reference: Signal, decoded: Signal) -> tuple[Shape, Shape]:
    """Both as shapes; SignalError for other signals, and for a reference that has no extent."""
    if not isinstance(reference, Shape) or not isinstance(decoded, Shape):
        raise SignalError(f"shape metrics compare shapes, found {type(reference).__name__} and {type(decoded).__name__}")
    if not len(reference.vertices) or (reference.faces is not None and not len(reference.faces)):
        raise SignalError("the reference is empty; there is nothing to compare with")
    if not np.isfinite(reference.vertices).all() or not np.isfinite(decoded.vertices).all():
        raise SignalError("a shape with vertices that are not finite; remove them first")
    if not np.ptp(reference.used, axis=0).max() > 0:
        raise SignalError("the reference has no extent: its vertices lie in one place")
    return reference, decoded


@functools.lru_cache(maxsize=2 * KEPT)
def surface(shape: Shape, reference: Shape) -> Surface:
    """A shape with the reference's longest side as 1 and its centre as 0."""
    if shape.faces is not None and not len(shape.faces):
        return Surface(np.zeros((0, 3)), None)
    low, high = reference.used.min(0), reference.used.max(0)
    vertices = (shape.vertices - (low / 2 + high / 2)) / (high - low).max()
    if shape.faces is None:
        return Surface(vertices, None)
    faces = shape.faces[areas(vertices, shape.faces) > 0]
    return Surface(vertices, faces) if len(faces) else Surface(vertices[np.unique(shape.faces)], None)


def areas(vertices: Array, faces: Array) -> Array:
    """Of each face."""
    return np.asarray(np.linalg.norm(_crosses(vertices, faces), axis=1) / 2)


def _crosses(vertices: Array, faces: Array) -> Array:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def drawn(found: Surface, seed: int = SEED, count: int = POINTS) -> Drawn:
    """`count` points of a mesh's surface, each area's share by chance; of a cloud its points, `count` of them where it has more."""
    rng = np.random.default_rng(seed)
    if found.faces is None:
        many = len(found.vertices) > count
        return Drawn(found.vertices[np.sort(rng.choice(len(found.vertices), count, replace=False))] if many else found.vertices, None)
    crosses = _crosses(found.vertices, found.faces)
    lengths = np.linalg.norm(crosses, axis=1)
    up_to = np.cumsum(lengths)
    which = np.minimum(np.searchsorted(up_to, rng.random(count) * up_to[-1], side="right"), len(lengths) - 1)
    u, v = rng.random((2, count, 1))
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    a, b, c = (found.vertices[found.faces[which, i]] for i in range(3))
    return Drawn(a + u * (b - a) + v * (c - a), (crosses / lengths[:, None])[which])


@functools.lru_cache(maxsize=KEPT)
def points_of(found: Surface) -> Drawn:
    """Those that all metrics share."""
    return drawn(found)


def distances(of: Drawn, to: Surface) -> Distances:
    """From points to a surface that is not empty."""
    if to.faces is None:
        from scipy.spatial import cKDTree

        return Distances(np.asarray(cKDTree(to.vertices).query(of.points)[0], np.float64), None)
    squares, face, _ = igl().point_mesh_squared_distance(np.ascontiguousarray(of.points), to.vertices, to.faces)
    values = np.sqrt(np.maximum(squares, 0))
    if of.normals is None:
        return Distances(values, None)
    crosses = _crosses(to.vertices, to.faces)
    normals = (crosses / np.linalg.norm(crosses, axis=1, keepdims=True))[face]
    return Distances(values, np.abs((of.normals * normals).sum(1)))


@functools.lru_cache(maxsize=2)
def compared(reference: Shape, decoded: Shape) -> Compared:
    """Both directions; what several metrics of one pair share is computed once."""
    whole, found = surface(reference, reference), surface(decoded, reference)
    if found.empty:
        return Compared(None, None)
    return Compared(distances(points_of(found), whole), distances(points_of(whole), found))


def inside(points: Array, mesh: Surface) -> Array:
    """Boolean: which points lie inside; none of a cloud."""
    if mesh.faces is None:
        return np.zeros(len(points), bool)
    return np.asarray(np.abs(igl().fast_winding_number(mesh.vertices, mesh.faces, np.ascontiguousarray(points))) > 0.5)


def ceiling(shape: Shape, tau: float, count: int = POINTS) -> float:
    """The F-score of two samplings of one shape against each other, point to point: what a cloud of `count` points can reach at most.

    Distances to surfaces have no such ceiling: there it is 1. tau: in the longest side.
    """
    found = surface(*shapes(shape, shape))
    first, second = (drawn(found, SEED + i, count) for i in (1, 2))
    there = distances(first, Surface(second.points, None)).values
    back = distances(second, Surface(first.points, None)).values
    return f_score(there, back, tau)


def f_score(of_decoded: Array, of_reference: Array, tau: float) -> float:
    """2 P R / (P + R) of the shares of distances within tau."""
    precision, recall = float((of_decoded <= tau).mean()), float((of_reference <= tau).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def decibels(square: float) -> float:
    """10 log10(3 / square); infinite where the square is no more than float64's own error."""
    return math.inf if square < 1e-24 else 10 * math.log10(3 / square)


def igl() -> Any:
    """libigl; ModelError where it is not installed."""
    try:
        import igl as library
    except ImportError:
        raise ModelError("metrics of meshes need the package libigl: pip install 'smalti[shape]'") from None
    return library
