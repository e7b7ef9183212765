"""Packing: where documents lie in a stream that is cut into rows of one length. No document is ever cropped.

- `documents`: one after the other, no rows.
- `concat`: one after the other; a row may end within a document, which goes on in the next one. The last row is padded.
- `best-fit`: each document whole within one row, in the fullest that has room for it (Ding et al., arXiv 2404.10830); one that is longer
than a row begins one and takes as many as it needs, one after the other. What is left free is padded.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

Array = np.ndarray
PACKINGS = ("documents", "concat", "best-fit")


def best_fit(lengths: Array, row: int) -> tuple[Array, int]:
    """(start of each document, number of rows) for documents of these lengths, rows of `row` ids.

    The longest come first; of equally long ones, the earlier. In N log(row) steps.
    """
    starts = np.zeros(len(lengths), np.int64)
    room: dict[int, list[int]] = {}  # free ids at the end of a row -> those rows, the last opened on top
    sizes: list[int] = []  # the keys of `room`, ascending
    rows = 0
    for i in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[i])
        at = bisect_left(sizes, length)
        if at < len(sizes):  # never for one that is longer than a row
            free = sizes[at]
            opened = room[free].pop()
            if not room[free]:
                del room[free], sizes[at]
        else:
            taken = max(1, -(-length // row))
            opened, free = rows + taken - 1, taken * row
            rows += taken
        starts[i] = (opened + 1) * row - free
        if free > length:
            if free - length not in room:
                room[free - length] = []
                insort(sizes, free - length)
            room[free - length].append(opened)
    return starts, rows
