"""What a reader of shapes gives, and what all of them check: numbers, indices and counts."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import MAX_FACES, MAX_POINTS

Array = np.ndarray
COLOURS = "colours"
NORMALS = "normals"
TEXTURES = "textures and materials"
LINES = "lines and loose points"
WIDTH = 2**16  # corners of one polygon


@dataclass(frozen=True)
class Parts:
    """vertices: float64 (V, 3). faces: int64 (F, 3), not yet checked against V, or None where the file has none. dropped: what else it
    holds. split: whether the format has a vertex anew for each face or each normal, so that equal ones are one."""

    vertices: Array
    faces: Array | None
    dropped: tuple[str, ...] = ()
    split: bool = False


def check_counts(points: int, faces: int) -> None:
    """SignalError where a file has, or announces, more than is read; asked before anything of that size is made."""
    if faces > MAX_FACES:
        raise SignalError(f"{faces} faces, expected {MAX_FACES} at most; simplify it first")
    if points > MAX_POINTS:
        raise SignalError(f"{points} points, expected {MAX_POINTS} at most; thin them out first")


def numbers(words: Iterable[bytes]) -> Array:
    """float64 of words of text."""
    try:
        return np.fromiter(map(float, words), np.float64)
    except (ValueError, OverflowError):
        raise SignalError("damaged: a number is expected where there is none; get it again") from None


def index(word: bytes | float) -> int:
    """A whole number within 32 bits, whatever its sign."""
    try:
        value = int(word)
    except (ValueError, OverflowError):
        raise SignalError(f"damaged: {str(word)[:40]} is no index of a vertex; get it again") from None
    if abs(value) >= 2**32:
        raise SignalError(f"damaged: a face names the vertex {str(value)[:20]}; get it again")
    return value


class Fans:
    """Polygons as fans of triangles from their first corners; those of fewer than three corners are left out. State: the corners so far."""

    def __init__(self) -> None:
        self._corners = array("q")
        self.left_out = 0

    def add(self, polygon: Sequence[int]) -> None:
        """One more, its corners in order."""
        if not 3 <= len(polygon) <= WIDTH:
            if len(polygon) > WIDTH:
                raise SignalError(f"a face of {len(polygon)} corners, expected {WIDTH} at most; triangulate it first")
            self.left_out += 1
            return
        first = polygon[0]
        for second, third in itertools.pairwise(polygon[1:]):
            self._corners.extend((first, second, third))
        check_counts(0, len(self._corners) // 3)

    def faces(self) -> Array:
        """int64 (F, 3)."""
        return np.frombuffer(self._corners, np.int64).reshape(-1, 3) if self._corners else np.zeros((0, 3), np.int64)


def fans_of(polygons: Array) -> Array:
    """The same for polygons of one number of corners: integers (N, K) -> int64 (N * (K - 2), 3)."""
    count, corners = polygons.shape
    if corners < 3:
        return np.zeros((0, 3), np.int64)
    check_counts(0, count * (corners - 2))
    columns = np.stack([np.zeros(corners - 2, np.int64), np.arange(1, corners - 1), np.arange(2, corners)], 1)
    return polygons.astype(np.int64)[:, columns].reshape(-1, 3)
