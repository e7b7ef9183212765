"""Poses: what they keep, within which bounds, and what has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.shape.pose import Pose, pose_from, pose_of
from smalti.tokenizers.signals import Shape


@given(st.integers(-100, 100), st.floats(1, 2), st.floats(-1e6, 1e6))
def test_the_cube_holds_the_shape_tightly(exponent: int, size: float, place: float) -> None:
    scale = size * 2.0**exponent
    corners = np.array([[0, 0, 0], [1, 0.5, 0.25]]) * scale + np.array([place, -place, 0.5]) * scale
    pose = pose_of(Shape(corners))
    inside = pose.inwards(corners)
    assert np.abs(inside).max() <= 1 + 1 / 256 + 1e-9
    assert np.ptp(inside, axis=0).max() > 2 * (1 - 1 / 128) - 1e-9
    assert np.allclose(pose.outwards(inside), corners, rtol=0, atol=1e-9 * np.abs(corners).max())
    assert pose_from(pose.signal) == pose


def test_poses_without_a_cube_are_refused() -> None:
    for points, said in [
        (np.zeros((0, 3)), "no vertices"),
        (np.array([[0, 0, np.nan], [1, 1, 1]]), "1 of 2 vertices"),
        (np.ones((3, 3)), "no extent"),
        (np.array([[1e12, 0, 0], [1e12 + 1, 0, 0]]), "too far"),
        (np.array([[0, 0, 0], [1e300, 0, 0]]), "beyond what is kept"),
    ]:
        with pytest.raises(SignalError, match=said):
            pose_of(Shape(points))


def test_sizes_that_are_no_pose_are_refused() -> None:
    with pytest.raises(UsageError, match="scale, x, y, z"):
        pose_from((("height", 3), ("width", 4)))
    with pytest.raises(UsageError, match="not kept"):
        pose_from((("scale", 2**20 - 1), ("x", 0), ("y", 0), ("z", 0)))
    assert pose_from((("scale", 0), ("x", 1), ("y", 2), ("z", 3))) == Pose(0, 128, (-1, 1, -2))
