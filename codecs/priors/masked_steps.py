"""In which order the masked prior codes a grid, and through which windows it looks at it.

Positions have ranks 0..15 that repeat every 4 x 4: each half of the ranks lies midway between those before (a Bayer matrix), so that what
is coded late has known neighbours on all sides. A step codes the ranks below its bound all at once (fixed masks, as M2T has them: Mentzer
et al., ICCV 2023, arXiv 2304.07313). Windows overlap; each position is coded from the one window that it lies deepest in.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Array = np.ndarray
RANKS = np.array([[0, 12, 3, 15], [8, 4, 11, 7], [2, 14, 1, 13], [10, 6, 9, 5]])
LAST = 16


@dataclass(frozen=True)
class Window:
    """Where a window starts, and which rows and columns of the grid are coded from it: half-open ranges."""

    row: int
    column: int
    rows: tuple[int, int]
    columns: tuple[int, int]


def ranks(rows: int, columns: int) -> Array:
    """int64 (rows, columns): when each position is coded."""
    return np.tile(RANKS, (-(-rows // 4), -(-columns // 4)))[:rows, :columns]


def windows(rows: int, columns: int, side: int, margin: int) -> list[Window]:
    """Windows of side x side that cover a grid; what is coded from one lies `margin` inside of it, but at the grid's edges."""
    return [
        Window(top, left, inner_rows, inner_columns)
        for top, inner_rows in _spans(rows, side, margin)
        for left, inner_columns in _spans(columns, side, margin)
    ]


def _spans(size: int, side: int, margin: int) -> list[tuple[int, tuple[int, int]]]:
    """Starts of windows along one axis, and what is coded from each."""
    if size <= side:
        return [(0, (0, size))]
    count = -(-(size - 2 * margin) // (side - 2 * margin))
    starts = [i * (size - side) // (count - 1) for i in range(count)]
    edges = [0, *((a + side + b) // 2 for a, b in pairwise(starts)), size]
    return list(zip(starts, pairwise(edges), strict=True))
