"""PLY: a header that names elements and their properties, then rows of them, binary of both byte orders or text."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from smalti.codecs.media.shape_files.parts import COLOURS, LINES, NORMALS, TEXTURES, Fans, Parts, check_counts, fans_of, index, numbers
from smalti.tokenizers.errors import SignalError

Array = np.ndarray
MAX_HEAD = 2**16
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2", "int": "i4",
    "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
_CORNERS = ("vertex_indices", "vertex_index")
_DROPPED = {"red": COLOURS, "r": COLOURS, "nx": NORMALS, "texcoord": TEXTURES, "s": TEXTURES, "u": TEXTURES, "texture_u": TEXTURES}


@dataclass(frozen=True)
class _Property:
    """count: the type of a list's length, None of a single number."""

    name: str
    type: str
    count: str | None


@dataclass
class _Element:
    name: str
    length: int
    properties: list[_Property] = field(default_factory=list)


@dataclass(frozen=True)
class _Head:
    """order: "<" or ">" of a binary body, "" of text. start: where the body begins."""

    order: str
    elements: list[_Element]
    start: int

    def length(self, name: str) -> int:
        return next((element.length for element in self.elements if element.name == name), 0)


def announced(start: bytes) -> tuple[int, int] | None:
    """(vertices, faces) that a header announces; None where these bytes hold no whole one."""
    try:
        head = _head(start)
    except SignalError:
        return None
    return head.length("vertex"), head.length("face")


def read_ply(data: bytes) -> Parts:
    """Vertices and faces; other elements, and other properties of these, are dropped."""
    head = _head(data)
    check_counts(head.length("vertex"), head.length("face"))
    body = _Text(data[head.start :].split()) if not head.order else _Binary(data, head.start, head.order)
    points, faces, dropped = np.zeros((0, 3)), None, dict[str, None]()
    for element in head.elements:
        names = [p.name for p in element.properties]
        if element.name in ("vertex", "face"):
            dropped |= {_DROPPED[name]: None for name in names if name in _DROPPED}
        if element.name == "tristrips":
            raise SignalError("triangle strips, expected faces; convert it first")
        if element.name == "edge" and element.length:
            dropped[LINES] = None
        if element.name == "vertex":
            if not {"x", "y", "z"} <= set(names) or any(p.count for p in element.properties):
                raise SignalError("its vertices have no plain x, y and z; convert it first")
            rows = body.table(element)
            points = np.stack([rows[name] for name in "xyz"], 1).astype(np.float64)
        elif element.name == "face" and element.length:
            found = next((p for p in element.properties if p.count and p.name in _CORNERS), None)
            if found is None:
                raise SignalError("its faces have no list vertex_indices; convert it first")
            faces = body.polygons(element, found)
        elif element.name not in ("vertex", "face"):
            if "face" not in (later.name for later in head.elements[head.elements.index(element) :]):
                break
            body.skip(element)
    return Parts(points, faces, tuple(dropped))


def _head(data: bytes) -> _Head:
    wrong = SignalError("no PLY header that can be read; get it again")
    end = data.find(b"end_header", 0, MAX_HEAD)
    line = data.find(b"\n", end)
    if data[:3] != b"ply" or end < 0 or line < 0:
        raise wrong
    order: str | None = None
    elements: list[_Element] = []
    for row in data[:end].decode("latin-1").splitlines()[1:]:
        match row.split():
            case ["format", form, *_] if form in _FORMATS:
                order = _FORMATS[form]
            case ["element", name, length] if length.isascii() and length.isdigit() and len(length) < 12:
                elements.append(_Element(name, int(length)))
            case ["property", "list", count, kind, name] if elements and count in _TYPES and kind in _TYPES:
                elements[-1].properties.append(_Property(name, _TYPES[kind], _TYPES[count]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append(_Property(name, _TYPES[kind], None))
            case [] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise wrong
    if order is None or len({e.name for e in elements}) < len(elements):
        raise wrong
    if any(len({p.name for p in e.properties}) < len(e.properties) or not e.properties for e in elements):
        raise wrong
    return _Head(order, elements, line + 1)


def _short(element: _Element) -> SignalError:
    return SignalError(f"damaged or cut short (its header announces {element.length} of {element.name}); get it again")


class _Binary:
    """State: the place in the bytes."""

    def __init__(self, data: bytes, place: int, order: str) -> None:
        self._data, self._place, self._order = data, place, order

    def table(self, element: _Element) -> Array:
        """Rows of single numbers."""
        return self._rows(element, np.dtype([(p.name, self._order + p.type) for p in element.properties]))

    def polygons(self, element: _Element, corners: _Property) -> Array:
        """int64 (F, 3)."""
        if (rows := self._uniform(element)) is not None:
            return fans_of(rows[corners.name])
        fans = Fans()
        for _ in range(element.length):
            fans.add([index(corner) for corner in self._row(element)[corners.name]])
        return fans.faces()

    def skip(self, element: _Element) -> None:
        if not any(p.count for p in element.properties):
            self.table(element)
        elif self._uniform(element) is None:
            for _ in range(element.length):
                self._row(element)

    def _uniform(self, element: _Element) -> Array | None:
        """All rows, where their lists are as long as those of the first one, else None and nothing read."""
        if not element.length:
            return None
        start, first = self._place, self._row(element)
        self._place = start
        fields: list[tuple[str, str, tuple[int, ...]]] = []
        for p in element.properties:
            if p.count:
                fields.append((f"{p.name} count", self._order + p.count, ()))
            fields.append((p.name, self._order + p.type, (len(first[p.name]),) if p.count else ()))
        try:
            rows = self._rows(element, np.dtype(fields))
        except SignalError:
            return None
        if all((rows[f"{p.name} count"] == len(first[p.name])).all() for p in element.properties if p.count):
            return rows
        self._place = start
        return None

    def _rows(self, element: _Element, row: np.dtype) -> Array:
        if element.length * row.itemsize > len(self._data) - self._place:
            raise _short(element)
        found = np.frombuffer(self._data, row, element.length, self._place)
        self._place += element.length * row.itemsize
        return found

    def _row(self, element: _Element) -> dict[str, tuple[int | float, ...]]:
        found: dict[str, tuple[int | float, ...]] = {}
        for p in element.properties:
            length = 1
            if p.count:
                length = index(self._unpack(element, p.count, 1)[0])
            found[p.name] = self._unpack(element, p.type, length)
        return found

    def _unpack(self, element: _Element, kind: str, length: int) -> tuple[int | float, ...]:
        size = int(kind[1]) * length
        if not 0 <= size <= len(self._data) - self._place:
            raise _short(element)
        values = struct.unpack_from(f"{self._order}{length}{_CODES[kind]}", self._data, self._place)
        self._place += size
        return values


class _Text:
    """The same of words. State: how many were read."""

    def __init__(self, words: list[bytes]) -> None:
        self._words, self._place = words, 0

    def table(self, element: _Element) -> dict[str, Array]:
        width = len(element.properties)
        rows = numbers(self._take(element, element.length * width)).reshape(-1, width)
        return {p.name: rows[:, i] for i, p in enumerate(element.properties)}

    def polygons(self, element: _Element, corners: _Property) -> Array:
        fans = Fans()
        for _ in range(element.length):
            fans.add([index(word) for word in self._row(element)[corners.name]])
        return fans.faces()

    def skip(self, element: _Element) -> None:
        for _ in range(element.length):
            self._row(element)

    def _row(self, element: _Element) -> dict[str, list[bytes]]:
        return {p.name: self._take(element, index(self._take(element, 1)[0]) if p.count else 1) for p in element.properties}

    def _take(self, element: _Element, count: int) -> list[bytes]:
        if not 0 <= count <= len(self._words) - self._place:
            raise _short(element)
        found = self._words[self._place : self._place + count]
        self._place += count
        return found
