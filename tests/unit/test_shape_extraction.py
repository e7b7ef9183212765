"""Surfaces from coarse to fine, against asking everywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.shape.extraction import refined, surface

Array = np.ndarray
SIDE, REACH = 128, 1.15


def ball(radius: float, *centre: float) -> Callable[[Array], Array]:
    return lambda places: np.linalg.norm(places - np.array(centre or (0.0, 0.0, 0.0)), axis=1) - radius


def dense(field: Callable[[Array], Array], side: int = SIDE) -> Array:
    axis = np.linspace(-REACH, REACH, side + 1)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return field(places).astype(np.float32).reshape((side + 1,) * 3)


def truncated(places: Array) -> Array:
    """Two balls, a thin plate and a rod, exactly, cut off."""
    box = np.abs(places - [0.3, -0.5, 0.1])
    plate, rod = box - [0.5, 0.008, 0.4], np.hypot(places[:, 1] - 0.7, places[:, 2]) - 0.01
    outside = np.linalg.norm(np.maximum(plate, 0), axis=1) + np.minimum(plate.max(1), 0)
    return np.minimum.reduce([ball(0.4, -0.3, 0.2, 0)(places), ball(0.02, 0.9, 0.9, 0.9)(places), outside, rod]).clip(-0.15, 0.15)


def counted(field: Callable[[Array], Array]) -> tuple[Callable[[Array], Array], list[int]]:
    asked: list[int] = []

    def call(places: Array) -> Array:
        asked.append(len(places))
        return field(places)

    return call, asked


def test_distance_fields_lose_nothing() -> None:
    field, asked = counted(truncated)
    values, axis = refined(field, REACH, SIDE)
    whole = dense(truncated)
    assert axis[0] == -REACH
    assert len(axis) == SIDE + 1
    found, expected = surface(values, axis), surface(whole, axis)
    assert np.array_equal(found[1], expected[1])
    assert np.allclose(found[0], expected[0], atol=1e-6)
    assert sum(asked) < 0.3 * whole.size


def test_every_crossed_cell_has_asked_corners() -> None:
    """A steep field, whose corners say nothing of what is near: what is found is the true surface, whole."""
    radius = 0.3
    steep = lambda places: 50 * (np.linalg.norm(places * [1, 1, 0.4], axis=1) - radius)  # noqa: E731
    values, axis = refined(steep, REACH, SIDE)
    found, expected = surface(values, axis), surface(dense(steep), axis)
    assert np.array_equal(found[1], expected[1])
    assert np.allclose(found[0], expected[0], atol=1e-6)


def test_surfaces_are_followed_where_coarse_corners_miss_them() -> None:
    """A thin rod between coarse grid points hangs on a ball: only where it meets the ball is it seen, and it is followed to its end."""
    cell = 2 * REACH / 64
    off = cell / 2  # of the coarse grid, on the fine one

    def field(places: Array) -> Array:
        rod = np.maximum(np.hypot(places[:, 1] - off, places[:, 2] - off) - 0.4 * cell, np.abs(places[:, 0]) - 0.9)
        return 40 * np.minimum(ball(0.2)(places), rod)  # steep: no corner seems near

    values, axis = refined(field, REACH, SIDE)
    whole = dense(field)
    coarse = whole[::2, ::2, ::2]
    assert (coarse[np.abs(axis[::2]) > 0.3] > 0).all()
    assert np.array_equal(surface(values, axis)[1], surface(whole, axis)[1])


def test_loose_pieces_may_be_missed_and_slope_finds_them() -> None:
    cell = 2 * REACH / 64
    steep = lambda places: 8 * ball(0.6 * cell, *(cell * 10.5,) * 3)(places)  # noqa: E731
    assert not (dense(steep)[::2, ::2, ::2] < 0).any()
    assert not (refined(steep, REACH, SIDE)[0] < 0).any()
    found = refined(steep, REACH, SIDE, slope=8)
    assert np.array_equal(surface(*found)[1], surface(dense(steep), found[1])[1])


def test_nothing_and_everything_inside() -> None:
    nothing = refined(lambda places: np.full(len(places), 0.1), REACH, SIDE)
    assert surface(*nothing)[1].shape == (0, 3)
    full = surface(*refined(lambda places: np.full(len(places), -0.1), REACH, 8))
    assert np.allclose(np.abs(full[0]).max(0), REACH, atol=2 * REACH / 8)


@pytest.mark.parametrize(("resolution", "first"), [(96, 97), (128, 65), (24, 25)])
def test_it_starts_at_64_or_more(resolution: int, first: int) -> None:
    field, asked = counted(ball(0.05))
    values, _ = refined(field, REACH, resolution)
    assert values.shape == (resolution + 1,) * 3
    assert np.cumsum(asked).tolist().count(first**3) == 1


def test_sizes_are_bounded() -> None:
    with pytest.raises(UsageError, match=r"2\.\.512 cells"):
        refined(ball(0.5), REACH, 4096)
