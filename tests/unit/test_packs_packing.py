"""Best fit: no document cropped, none over another, rows used well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.prepare.packs.packing import best_fit


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 16))
def test_documents_lie_whole_and_apart(lengths: list[int], row: int) -> None:
    sizes = np.array(lengths, np.int64)
    starts, rows = best_fit(sizes, row)
    held = np.zeros(rows * row, np.int64)
    for start, size in zip(starts.tolist(), lengths, strict=True):
        held[start : start + size] += 1
        assert start + size <= len(held)
        assert start // row == (start + size - 1) // row if size <= row else start % row == 0
    assert held.max(initial=0) <= 1
    assert held.sum() == sizes.sum()
    assert not rows or held.reshape(rows, row)[:, 0].all()  # no row is empty, and none begins with padding


@pytest.mark.parametrize(
    ("lengths", "row", "starts", "rows"),
    [
        ([6, 4, 7, 3], 10, [10, 16, 0, 7], 2),  # 7 + 3 and 6 + 4 fill their rows
        ([25, 5], 10, [0, 25], 3),  # the end of a long one has room for another
        ([5, 5, 5], 10, [0, 5, 10], 2),  # of equally long ones, the earlier first
        ([2, 8, 7], 10, [8, 0, 10], 2),  # the fullest row that has room, not the first or the last
        ([], 10, [], 0),
    ],
)
def test_where_documents_are_put(lengths: list[int], row: int, starts: list[int], rows: int) -> None:
    found, count = best_fit(np.array(lengths, np.int64), row)
    assert (found.tolist(), count) == (starts, rows)


def test_rows_are_nearly_full() -> None:
    lengths = np.random.default_rng(0).integers(20, 300, 2000)
    _, rows = best_fit(lengths, 1025)
    assert lengths.sum() / (rows * 1025) > 0.99
