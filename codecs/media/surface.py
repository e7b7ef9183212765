"""What a mesh is like: whether it closes, which way its faces look, what in it is no surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.signals import Shape

Array = np.ndarray


@dataclass(frozen=True)
class Surface:
    """open_edges: of one face. crowded_edges: of three faces or more. turned_edges: of two faces that look to different sides.
    flat_faces: without area. repeated_faces: of the same three vertices as an earlier one. loose_vertices: of no face. volume: signed, in
    the shape's own units; negative where faces look inwards."""

    open_edges: int
    crowded_edges: int
    turned_edges: int
    flat_faces: int
    repeated_faces: int
    loose_vertices: int
    volume: float

    @property
    def watertight(self) -> bool:
        """Each edge has two faces that look to one side."""
        return not (self.open_edges or self.crowded_edges or self.turned_edges)


def surface_of(mesh: Shape) -> Surface:
    """Of a mesh with faces."""
    assert mesh.faces is not None
    faces = mesh.faces
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    proper = directed[directed[:, 0] != directed[:, 1]]
    low, high = proper.min(1), proper.max(1)
    _, place, count = np.unique(low * len(mesh.vertices) + high, return_inverse=True, return_counts=True)
    upwards = np.bincount(place.reshape(-1), proper[:, 0] == low, len(count))
    corners = mesh.vertices[faces] - mesh.vertices.mean(0)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return Surface(
        int((count == 1).sum()),
        int((count > 2).sum()),
        int(((count == 2) & (upwards != 1)).sum()),
        int((~normals.any(1)).sum()),
        len(faces) - len(np.unique(np.sort(faces, axis=1), axis=0)),
        len(mesh.vertices) - len(np.unique(faces)),
        float((corners[:, 0] * normals).sum() / 6),
    )


def describe(shape: Shape) -> tuple[str, ...]:
    """What of a mesh people should know before it is coded, a line each; nothing of a closed one that looks outwards, and of a cloud."""
    if shape.faces is None or not len(shape.faces):
        return ()
    found = surface_of(shape)
    open_edges = [f"{found.open_edges} open edges"] if found.open_edges else []
    crowded = [f"{found.crowded_edges} edges of three faces or more"] if found.crowded_edges else []
    lines = [f"not watertight: {', '.join(open_edges + crowded)}"] if open_edges or crowded else []
    if found.turned_edges:
        lines.append(f"faces look to different sides across {found.turned_edges} edges")
    if found.watertight and found.volume < 0:
        lines.append("inside out: its faces look inwards")
    if found.flat_faces:
        lines.append(f"{found.flat_faces} faces without area")
    if found.repeated_faces:
        lines.append(f"{found.repeated_faces} repeated faces")
    if found.loose_vertices:
        lines.append(f"{found.loose_vertices} vertices of no face")
    return tuple(lines)
