"""STL, binary and text: triangles, each with corners of its own."""

from __future__ import annotations

import re
import struct

import numpy as np

from smalti.codecs.media.shape_files.parts import COLOURS, Parts, check_counts, numbers
from smalti.tokenizers.errors import SignalError

HEAD = 84
_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_CORNER = re.compile(rb"\bvertex\s+(\S{1,64})\s+(\S{1,64})\s+(\S{1,64})", re.IGNORECASE)


def announced(head: bytes, size: int) -> int | None:
    """How many triangles a binary file of this size, with this start, says it has; None of a text."""
    if len(head) < HEAD:
        return None
    count: int = struct.unpack_from("<I", head, HEAD - 4)[0]
    whole = HEAD + _TRIANGLE.itemsize * count == size
    return count if whole or not _is_text(head) else None


def _is_text(head: bytes) -> bool:
    return head.lstrip()[:5].lower() == b"solid" and b"\0" not in head[:HEAD]


def read_stl(data: bytes) -> Parts:
    """Both forms; which one shows the size that a binary file says it has."""
    count = announced(data[:HEAD], len(data))
    if count is None:
        return _read_text(data)
    check_counts(0, count)
    if HEAD + _TRIANGLE.itemsize * count != len(data):
        held = (len(data) - HEAD) / _TRIANGLE.itemsize
        raise SignalError(f"damaged or cut short ({count} triangles announced, bytes for {held:.1f}); get it again")
    triangles = np.frombuffer(data, _TRIANGLE, count, HEAD)
    return _parts(triangles["corners"].reshape(-1, 3).astype(np.float64), (COLOURS,) if triangles["attribute"].any() else ())


def _read_text(data: bytes) -> Parts:
    if data.lstrip()[:5].lower() != b"solid" or b"endsolid" not in data[-4096:].lower():
        raise SignalError("no STL file that can be read, or cut short; expected triangles in binary, or from `solid` to `endsolid`")
    check_counts(0, data.count(b"endloop"))
    found = [word for corner in _CORNER.findall(data) for word in corner]
    if len(found) % 9 or len(found) // 3 != data.lower().count(b"vertex"):
        raise SignalError(f"damaged: {data.lower().count(b'vertex')} corners, of which {len(found) // 3} have three numbers; get it again")
    return _parts(numbers(found).reshape(-1, 3), ())


def _parts(corners: np.ndarray, dropped: tuple[str, ...]) -> Parts:
    return Parts(corners, np.arange(len(corners), dtype=np.int64).reshape(-1, 3), dropped, split=True)
