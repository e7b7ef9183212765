"""Shapes as the bytes of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from smalti.tokenizers.signals import Shape

Array = np.ndarray
FINE = 2.0**-20  # of the extent: what float32 may move a vertex by


def to_ply(shape: Shape) -> bytes:
    """Binary, little-endian; float32, or float64 where that would move a vertex by more than `FINE`."""
    kind, name = ("<f4", "float") if float32_holds(shape.vertices) else ("<f8", "double")
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(shape.vertices)}"]
    head += [f"property {name} {axis}" for axis in "xyz"]
    body = shape.vertices.astype(kind).tobytes()
    if shape.faces is not None:
        head += [f"element face {len(shape.faces)}", "property list uchar int vertex_indices"]
        rows = np.zeros(len(shape.faces), [("count", "u1"), ("corners", "<i4", 3)])
        rows["count"], rows["corners"] = 3, shape.faces
        body += rows.tobytes()
    return "\n".join([*head, "end_header", ""]).encode() + body


def float32_holds(vertices: Array) -> bool:
    """Whether float32 moves none of them by more than `FINE` of their extent."""
    if not len(vertices):
        return True
    with np.errstate(over="ignore"):
        moved = np.abs(vertices.astype(np.float32) - vertices).max()
    return bool(moved <= FINE * np.ptp(vertices, axis=0).max())


def to_stl(shape: Shape) -> bytes:
    """Binary, with normals."""
    assert shape.faces is not None
    corners = shape.vertices[shape.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    rows = np.zeros(len(corners), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows["normal"], rows["corners"] = normals / np.where(length > 0, length, 1), corners
    return b"binary STL".ljust(80) + len(corners).to_bytes(4, "little") + rows.tobytes()


def to_obj(shape: Shape) -> bytes:
    """Text; numbers with as many digits as give them back exactly."""
    faces = [] if shape.faces is None else [f"f {a} {b} {c}" for a, b, c in (shape.faces + 1).tolist()]
    return _text([*(f"v {point}" for point in _points(shape)), *faces])


def to_off(shape: Shape) -> bytes:
    faces = [] if shape.faces is None else [f"3 {a} {b} {c}" for a, b, c in shape.faces.tolist()]
    return _text(["OFF", f"{len(shape.vertices)} {len(faces)} 0", *_points(shape), *faces])


def to_xyz(shape: Shape) -> bytes:
    return _text(list(_points(shape)))


def to_glb(shape: Shape) -> bytes:
    """float32; where that is too coarse a node moves the shape from the origin to its place."""
    import trimesh

    centre = np.zeros(3)
    if not float32_holds(shape.vertices):
        centre = shape.vertices.min(0) / 2 + shape.vertices.max(0) / 2
    place = np.eye(4)
    place[:3, 3] = centre
    points = shape.vertices - centre
    part = trimesh.PointCloud(points) if shape.faces is None else trimesh.Trimesh(points, shape.faces, process=False)
    scene = trimesh.Scene()
    scene.add_geometry(part, node_name="shape", geom_name="shape", transform=place)
    return bytes(scene.export(file_type="glb"))


def _points(shape: Shape) -> Iterator[str]:
    for x, y, z in shape.vertices.tolist():
        yield f"{x!r} {y!r} {z!r}"


def _text(lines: list[str]) -> bytes:
    return "\n".join([*lines, ""]).encode()


WRITERS: dict[str, Callable[[Shape], bytes]] = {
    ".ply": to_ply,
    ".stl": to_stl,
    ".obj": to_obj,
    ".off": to_off,
    ".glb": to_glb,
    ".xyz": to_xyz,
}
