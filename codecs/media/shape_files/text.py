"""OBJ, OFF and XYZ: shapes as lines of text."""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterator

import numpy as np

from smalti.codecs.media.shape_files.parts import COLOURS, LINES, NORMALS, TEXTURES, Fans, Parts, check_counts, index, numbers
from smalti.tokenizers.errors import SignalError

_OBJ_DROPPED = {b"vt": TEXTURES, b"mtllib": TEXTURES, b"usemtl": TEXTURES, b"vn": NORMALS, b"l": LINES, b"p": LINES}
_OBJ_CURVED = (b"curv", b"curv2", b"surf", b"bzp", b"bsp")


def read_obj(data: bytes) -> Parts:
    """Wavefront OBJ: `v` and `f` lines; negative indices count back from the vertex before. Material files are not opened."""
    points, fans, dropped = array("d"), Fans(), dict[str, None]()
    for words in _lines(data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")):
        key = words[0]
        if key == b"v":
            if len(words) < 4:
                raise SignalError("damaged: a vertex of fewer than three numbers; get it again")
            points.extend(numbers(words[1:4]))
            check_counts(len(points) // 3, 0)
            if len(words) > 5:
                dropped[COLOURS] = None
        elif key == b"f":
            fans.add([_absolute(index(word.split(b"/", 1)[0]), len(points) // 3) for word in words[1:]])
        elif key in _OBJ_DROPPED:
            dropped[_OBJ_DROPPED[key]] = None
        elif key in _OBJ_CURVED:
            raise SignalError("curved surfaces, expected polygons; convert it to a mesh first")
    faces = fans.faces()
    return Parts(_three(points), faces if len(faces) else None, tuple(dropped))


def _absolute(number: int, held: int) -> int:
    if number == 0:
        raise SignalError("damaged: a face names the vertex 0, and OBJ counts from 1; get it again")
    return number - 1 if number > 0 else held + number


def read_off(data: bytes) -> Parts:
    """OFF, COFF, NOFF, CNOFF and STOFF as text: counts, then one vertex and one face a line."""
    lines = _lines(data)
    head = next(lines, [b""])
    kind, counts = head[0], head[1:] or next(lines, [])
    if kind not in (b"OFF", b"COFF", b"NOFF", b"CNOFF", b"STOFF") or counts[:1] == [b"BINARY"] or len(counts) < 2:
        raise SignalError("no OFF file that can be read, expected OFF and the counts of vertices and faces as text; convert it first")
    held, announced = index(counts[0]), index(counts[1])
    check_counts(held, announced)
    points, fans, coloured = array("d"), Fans(), b"C" in kind
    for _ in range(held):
        words = next(lines, [])
        if len(words) < 3:
            raise SignalError(f"damaged or cut short ({len(points) // 3} of {held} vertices); get it again")
        points.extend(numbers(words[:3]))
    for i in range(announced):
        words = next(lines, [])
        corners = index(words[0]) if words else -1
        if not 0 <= corners < len(words):
            raise SignalError(f"damaged or cut short ({i} of {announced} faces); get it again")
        fans.add([index(word) for word in words[1 : corners + 1]])
        coloured |= len(words) > corners + 1
    dropped = [COLOURS] * coloured + [NORMALS] * (b"N" in kind) + [TEXTURES] * (kind == b"STOFF")
    return Parts(_three(points), fans.faces() if announced else None, tuple(dropped))


def read_xyz(data: bytes) -> Parts:
    """A point a line, x y z, by blanks or commas; further columns (normals, colours) are dropped."""
    points, more = array("d"), False
    for words in _lines(data.replace(b",", b" ")):
        if len(words) < 3:
            raise SignalError(f"no point cloud: {len(words)} numbers in the line of point {len(points) // 3 + 1}, expected x y z")
        points.extend(numbers(words[:3]))
        check_counts(len(points) // 3, 0)
        more |= len(words) > 3
    return Parts(_three(points), None, ("further columns",) if more else ())


def _lines(data: bytes) -> Iterator[list[bytes]]:
    """The words of each line that has any, comments left out."""
    for line in io.BytesIO(data):
        if words := line.partition(b"#")[0].split():
            yield words


def _three(points: array[float]) -> np.ndarray:
    return np.frombuffer(points, np.float64).reshape(-1, 3) if points else np.zeros((0, 3))
