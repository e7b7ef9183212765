"""Tiles: every position once, margins where there is room, equal shapes together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.tokenizers.image.tiles import Span, batches, spans, tiles


@given(size=st.integers(1, 200), step=st.integers(1, 70), margin=st.integers(0, 40))
def test_spans_cover_an_axis_exactly_once(size: int, step: int, margin: int) -> None:
    covered = np.zeros(size, int)
    for span in spans(size, step, margin):
        covered[span.inner] += 1
        assert span.start - span.outer_start == min(margin, span.start), "margin on the left, as far as there is room"
        assert span.outer_stop - span.stop == min(margin, size - span.stop), "margin on the right"
        assert span.margins == (min(margin, span.start), min(margin, size - span.stop))
        assert np.array_equal(np.arange(size)[span.outer][span.trim], np.arange(size)[span.inner])
    assert np.all(covered == 1)


@given(
    grids=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4),
    step=st.integers(1, 20),
    margin=st.integers(0, 9),
    positions=st.integers(1, 2000),
)
def test_tiles_cover_every_picture_exactly_once(grids: list[tuple[int, int]], step: int, margin: int, positions: int) -> None:
    covered = [np.zeros(grid, int) for grid in grids]
    found = list(batches(tiles(grids, step, margin), positions))
    for batch in found:
        height, width = batch[0].outer_shape
        assert {tile.outer_shape for tile in batch} == {(height, width)}
        assert len({(tile.rows.margins, tile.columns.margins) for tile in batch}) == 1
        assert len(batch) == 1 or len(batch) * height * width <= positions
        for tile in batch:
            covered[tile.item][tile.rows.inner, tile.columns.inner] += 1
    assert all(np.all(picture == 1) for picture in covered)


def test_a_finer_grid_has_the_same_spans() -> None:
    span = Span(4, 8, 2, 9)
    assert span.scaled(16) == Span(64, 128, 32, 144)
    assert span.scaled(16).trim == slice(32, 96)


def test_no_more_batches_than_needed() -> None:
    found = tiles([(8, 8)] * 10, 8, 3)
    assert [len(batch) for batch in batches(found, 64 * 4)] == [4, 4, 2]


@pytest.mark.parametrize("step", [8, 100])
def test_a_picture_of_one_tile_has_no_margin(step: int) -> None:
    (tile,) = tiles([(8, 5)], step, 3)
    assert tile.outer_shape == (8, 5)
