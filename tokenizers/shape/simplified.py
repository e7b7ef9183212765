"""Coarser meshes of a mesh: fewer faces, the smallest parts dropped first; each of few faces that a file might hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.shape.parts import part_of_faces
from smalti.tokenizers.signals import Shape

Array = np.ndarray
AT_ONCE = 8000  # faces of what all are made from: the shape itself may have millions
KEPT = (1.0, 0.92, 0.8, 0.65, 0.5)  # shares of the surface that the largest parts must hold


def simplified(shape: Shape, counts: Sequence[int]) -> Iterator[Shape]:
    """Meshes of about so many faces each, different ones only; the mesh itself where it has no more. Quadric errors (Garland and Heckbert,
    1997), by fast-simplification."""
    seen: set[bytes] = set()
    start = coarser(shape, AT_ONCE)
    assert start.faces is not None
    for kept in KEPT:
        whole = largest_parts(start.vertices, start.faces, kept)
        for count in counts:
            found = coarser(whole, count)
            assert found.faces is not None
            key = found.vertices.tobytes() + found.faces.tobytes()
            if len(found.faces) and len(found.faces) <= 2 * count and key not in seen:
                seen.add(key)
                yield found


def coarser(mesh: Shape, count: int) -> Shape:
    """The mesh with about so many faces, or itself where it has no more."""
    try:
        import fast_simplification
    except ImportError:
        raise ModelError("simplifying meshes needs fast-simplification: pip install 'smalti[shape]'") from None
    assert mesh.faces is not None
    if len(mesh.faces) <= count:
        return mesh
    # in units of its own size: the library works in float32
    middle, side = mesh.vertices.mean(0), float(np.ptp(mesh.vertices, axis=0).max()) or 1.0
    points = ((mesh.vertices - middle) / side).astype(np.float32)
    vertices, faces = fast_simplification.simplify(points, mesh.faces.astype(np.int32), target_count=count, agg=7)
    return _used(np.asarray(vertices, np.float64) * side + middle, np.asarray(faces, np.int64))


def largest_parts(vertices: Array, faces: Array, kept: float) -> Shape:
    """The largest connected parts, vertices in one place made one, that hold at least the share `kept` of the surface."""
    unique, index = np.unique(vertices, axis=0, return_inverse=True)
    faces = index.reshape(-1)[faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    if not len(faces):
        return Shape(unique[:0], faces)
    part = part_of_faces(unique, faces)
    corner = unique[faces]
    area = np.bincount(part, np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1))
    order = np.argsort(-area, kind="stable")
    enough = int(np.searchsorted(np.cumsum(area[order]), kept * area.sum() * (1 - 1e-9))) + 1
    return _used(unique, faces[np.isin(part, order[:enough])])


def _used(vertices: Array, faces: Array) -> Shape:
    used, index = np.unique(faces, return_inverse=True)
    return Shape(vertices[used], index.reshape(-1, 3).astype(np.int64))
