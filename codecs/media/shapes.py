"""Files of shapes in and out: STL, PLY, OBJ, OFF, GLB and XYZ.

A reader keeps vertices and faces in the file's own units and axes. Polygons become fans of triangles. Formats that repeat a vertex for
each face or normal (STL, OBJ, GLB), and meshes none of whose faces share a vertex, are welded: equal vertices, to the last bit, become
one, numbered by first use. Nothing else is mended; `codecs.media.surface` says what a mesh is like. Colours, normals, textures and
materials are dropped, and what was is said. No other file is opened, whatever a file names.

Written: all six by suffix. XYZ holds points: those of a cloud, or of a mesh as many as are asked for, drawn from its surface.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from smalti.codecs.media.files import SHAPE_SUFFIXES, open_file, read_bytes, read_source, reason, write_atomically
from smalti.codecs.media.shape_files import ply, stl
from smalti.codecs.media.shape_files.parts import Parts, check_counts
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError
from smalti.tokenizers.signals import Shape

MAX_BYTES = 2**29  # 2^23 faces in binary STL have 420 MB
POINTS = 100_000  # of a mesh that is written as a point cloud
_START = 2**16
_MARKS = {b"ply\n": ".ply", b"ply\r": ".ply", b"glTF": ".glb"}
KNOWN = "STL, PLY, OBJ, OFF, GLB or XYZ"


@dataclass(frozen=True)
class Reading:
    """dropped: what the file had beside vertices and faces. notes: the same and what was done, a line each, for people."""

    shape: Shape
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_shape(source: str | os.PathLike[str] | bytes | BinaryIO, name: str = "") -> Shape:
    """A mesh, or a point cloud where the file has no faces.

    source: a path, the bytes of a file, or an open binary file. name: what errors call it. SignalError where it is missing, of no known
    format, damaged, empty, not finite, names a vertex that it lacks, or has more than 2^23 faces or 2^24 points: what the format announces
    is checked before it is made.
    """
    return read_noted(source, name).shape


def read_noted(source: str | os.PathLike[str] | bytes | BinaryIO, name: str = "") -> Reading:
    """The same with what was dropped and done."""
    suffix = ""
    if isinstance(source, (str, os.PathLike)):
        name, suffix = name or str(source), os.path.splitext(source)[1].lower()
        _check_announced(source, name)
        source = read_bytes(source, MAX_BYTES)
    data, name = read_source(source, name, "shape")
    suffix = format_of(data) or suffix or os.path.splitext(name)[1].lower()
    if suffix not in _readers():
        raise SignalError(f"{name}: no shape that can be read, expected {KNOWN}; convert it first")
    try:
        return _reading(_readers()[suffix](data))
    except SmaltiError as error:
        raise type(error)(f"{name}: {error}") from None
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # trimesh, or a tree of JSON that is not what it should be: whatever they raise, the file is at fault
        raise SignalError(f"{name}: damaged, no {suffix[1:].upper()} file that can be read ({reason(error)}); get it again") from None


def looks_like_shape(source: str | os.PathLike[str] | bytes) -> bool:
    """Whether a file's name ends as those of shapes do, or it begins as they do."""
    if not isinstance(source, bytes):
        return os.path.splitext(source)[1].lower() in SHAPE_SUFFIXES or bool(format_of(_start_of(source)))
    return bool(format_of(source))


def format_of(data: bytes) -> str:
    """The suffix of the format that a file's first bytes show, "" where they show none."""
    if data[:4] in _MARKS:
        return _MARKS[data[:4]]
    if data[:84] and len(data) > 84 and stl.announced(data[:84], len(data)) == (len(data) - 84) / 50:
        return ".stl"
    first = next((line.split() for line in data[:_START].splitlines() if line.strip() and not line.lstrip().startswith(b"#")), [])
    if not first:
        return ""
    if first[0] in (b"OFF", b"COFF", b"NOFF", b"CNOFF", b"STOFF"):
        return ".off"
    if first[0].lower() == b"solid" and b"facet" in data[:_START]:
        return ".stl"
    if first[0] in (b"v", b"o", b"g", b"mtllib") and b"\nv " in b"\n" + data[:_START]:
        return ".obj"
    return ".xyz" if len(first) >= 3 and all(map(_is_number, first)) else ""


def _is_number(word: bytes) -> bool:
    try:
        float(word.rstrip(b","))
    except ValueError:
        return False
    return True


def _start_of(path: str | os.PathLike[str]) -> bytes:
    """The first bytes of a file; none where it can't be read, which is said by whoever reads it, and of a pipe, which gives them once."""
    if not os.path.isfile(path):
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(_START)
    except (OSError, ValueError):
        return b""


def _check_announced(path: str | os.PathLike[str], name: str) -> None:
    """SignalError for a file that says at its start that it is too large, before it is read."""
    if not os.path.isfile(path):
        return
    with open_file(path) as file:
        start, size = file.read(_START), os.path.getsize(path)
    points, faces = ply.announced(start) or (0, 0)
    if Path(path).suffix.lower() == ".stl":
        faces = stl.announced(start[: stl.HEAD], size) or 0
    try:
        check_counts(points, faces)
    except SignalError as error:
        raise SignalError(f"{name}: {error}") from None


def _readers() -> dict[str, Callable[[bytes], Parts]]:
    from smalti.codecs.media.shape_files import glb, text

    return {
        ".stl": stl.read_stl,
        ".ply": ply.read_ply,
        ".obj": text.read_obj,
        ".off": text.read_off,
        ".glb": glb.read_glb,
        ".xyz": text.read_xyz,
    }


def _reading(parts: Parts) -> Reading:
    points, faces = parts.vertices + 0.0, parts.faces  # -0 is 0
    check_counts(len(points), len(faces) if faces is not None else 0)
    if not len(points):
        raise SignalError("no vertices, expected at least one; get another file")
    if bad := int((~np.isfinite(points).all(1)).sum()):
        raise SignalError(f"{bad} of {len(points)} vertices are not finite (NaN or infinite); remove them first")
    notes = [f"dropped: {', '.join(parts.dropped)}"] if parts.dropped else []
    if faces is None:
        return Reading(Shape(points), parts.dropped, tuple(notes))
    if not len(faces):
        raise SignalError("no faces of three corners or more, expected at least one; get another file")
    if faces.min() < 0 or faces.max() >= len(points):
        wrong = int(((faces < 0) | (faces >= len(points))).any(1).sum())
        raise SignalError(f"damaged: {wrong} faces name a vertex outside 0..{len(points) - 1}; get it again")
    if parts.split or (len(faces) > 1 and len(np.unique(faces)) == faces.size):
        welded = weld(Shape(points, faces))
        if len(welded.vertices) < len(points):
            notes.append(f"{len(points)} vertices welded to {len(welded.vertices)}")
        return Reading(welded, parts.dropped, tuple(notes))
    return Reading(Shape(points, faces), parts.dropped, tuple(notes))


def weld(shape: Shape) -> Shape:
    """Vertices that are equal to the last bit made one, those that no face uses left out, numbered by first use."""
    assert shape.faces is not None
    _, first, place = np.unique(shape.vertices, axis=0, return_index=True, return_inverse=True)
    used = place.reshape(-1)[shape.faces].ravel()
    _, when, number = np.unique(used, return_index=True, return_inverse=True)
    order = np.argsort(when, kind="stable")  # of the vertices in use, by where the first face with each stands
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Shape(shape.vertices[first[used[when[order]]]], rank[number.reshape(-1)].reshape(-1, 3))


def write_shape(shape: Shape, destination: str | os.PathLike[str], points: int = POINTS) -> None:
    """Write a file by suffix, all or nothing; UsageError where that is impossible. points: see `encode_shape`."""
    write_atomically(destination, encode_shape(shape, os.path.splitext(destination)[1], str(destination), points))


def encode_shape(shape: Shape, suffix: str, name: str = "shape", points: int = POINTS) -> bytes:
    """The bytes of a file of this suffix (".ply"), in the shape's own units.

    Text keeps vertices exactly, PLY and GLB to 2^-20 of the extent at worst, STL as float32 does: coarse for what lies far from the
    origin. points: how many of a mesh's surface go into ".xyz". UsageError for an unknown suffix, and for points alone in STL.
    """
    from smalti.codecs.media.shape_files.writing import WRITERS

    if suffix.lower() not in WRITERS:
        raise UsageError(f"{name}: unknown suffix {suffix!r} for a shape, expected one of {', '.join(WRITERS)}; change the name")
    if is_empty(shape) and suffix.lower() in (".glb", ".xyz"):
        raise UsageError(f"{name}: there is no surface to write, and {suffix[1:].upper()} holds no empty one; decode more stages")
    if suffix.lower() == ".xyz" and shape.faces is not None:
        shape = sampled(shape, points)
    if suffix.lower() == ".stl" and shape.faces is None:
        raise UsageError(f"{name}: STL holds triangles, and this is a point cloud; write .ply or .xyz")
    return WRITERS[suffix.lower()](shape)


def is_empty(shape: Shape) -> bool:
    """Whether it has no vertex, or as a mesh no face."""
    return not len(shape.vertices) or (shape.faces is not None and not len(shape.faces))


def sampled(mesh: Shape, points: int, seed: int = 0) -> Shape:
    """A cloud of points of a mesh's surface, as many on equal areas, the same for the same seed."""
    import trimesh

    surface = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    if not surface.area > 0:
        raise UsageError("a mesh without area has no surface to take points from; write .ply")
    return Shape(np.asarray(trimesh.sample.sample_surface(surface, points, seed=seed)[0], np.float64))
