"""Distance fields: signs, walls, mending, clouds; and surfaces drawn from them."""

from __future__ import annotations

import numpy as np
import pytest

from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.shape import field as module
from smalti.tokenizers.shape.extraction import surface
from smalti.tokenizers.shape.field import REACH, WALL, distances, field, grid_axis, grid_distances, grid_points, surface_of
from smalti.tokenizers.shape.pose import Pose, pose_of
from smalti.tokenizers.shape.primitives import Primitives, triangles
from smalti.tokenizers.signals import Shape

pytest.importorskip("igl")
Array = np.ndarray
UNIT = Pose(-7, 128, (0, 0, 0))  # the cube is [-1, 1]^3
BALL = triangles(Primitives(np.array([[4, 26, 0, 96, 0, 96, 0, 96]])))
BOX = triangles(Primitives(np.array([[0, 26, 24, 72, 24, 72, 24, 72]])))


def _field(vertices: Array, faces: Array | None, side: int = 24, reach: float = 0.3) -> tuple[Array, tuple[str, ...]]:
    return field(Shape(vertices, faces), UNIT, side, reach)


def _depth(side: int = 24) -> Array:
    """Exact signed distance to BOX on the grid."""
    q = np.abs(grid_points(side)) - 0.5
    return (np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0)).reshape(side, side, side)


def test_a_solid_has_its_distances() -> None:
    values, done = _field(*BOX)
    assert done == ()
    assert np.allclose(values, np.clip(_depth(), -0.3, 0.3), atol=1e-5)


def test_inside_out_and_mixed_winding_are_mended() -> None:
    vertices, faces = BOX
    turned = faces.copy()
    turned[::3] = turned[::3, ::-1]
    for wrong in (faces[:, ::-1], turned):
        values, done = _field(vertices, np.ascontiguousarray(wrong))
        assert np.allclose(values, np.clip(_depth(), -0.3, 0.3), atol=1e-5)
        assert any("turned outside out" in line for line in done)


def test_cavities_stay() -> None:
    vertices, faces = BOX
    inner = np.ascontiguousarray(faces[:, ::-1] + len(vertices))
    values, _ = _field(np.concatenate([vertices, vertices / 2]), np.concatenate([faces, inner]), side=48)
    assert values[24, 24, 24] > 0.2
    assert values[24, 24, 24 + 8] < 0


def test_holes_do_no_harm() -> None:
    vertices, faces = BALL
    values, _ = _field(vertices, faces[20:], side=32)
    whole, _ = _field(vertices, faces, side=32)
    assert ((values < 0) == (whole < 0)).mean() > 0.99


def test_sheets_are_given_a_wall() -> None:
    vertices = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    values, done = _field(vertices, np.array([[0, 1, 2], [0, 2, 3]]), side=129)
    middle = values[64, 64]
    assert middle.min() < 0
    assert np.isclose(middle.min(), -WALL, atol=1e-6)
    assert "2 triangles without a solid behind them given a wall" in done


def test_thin_solids_are_thickened_to_a_wall() -> None:
    vertices, faces = BOX
    values, done = _field(vertices * np.array([1, 1, WALL / 2]), faces, side=129, reach=0.1)
    thick = np.interp(0, *_crossing(values[64, 64], grid_axis(129)))
    assert WALL * 0.7 < thick < WALL * 1.3
    assert done


def _crossing(line: Array, axis: Array) -> tuple[Array, Array]:
    """Distance and place along the outer half of a line, for interpolation."""
    return line[64:], axis[64:]


def test_the_grid_is_what_its_points_are() -> None:
    vertices, faces = BALL
    found = surface_of(Shape(vertices * 0.9, faces[10:]), UNIT)
    assert np.array_equal(grid_distances(found, 32, 0.1), distances(found, grid_points(32), 0.1).reshape(32, 32, 32))


def test_large_meshes_are_decimated_for_their_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FACES", 200)
    values, done = _field(*BALL)
    assert any("from a copy of" in line for line in done)
    monkeypatch.undo()
    assert np.abs(values - _field(*BALL)[0]).max() < 0.06


def test_clouds_shut_in_what_they_surround() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    values, done = _field(points, None, side=32)
    assert values[16, 16, 16] < -0.2
    assert values[0, 0, 0] > 0.2
    assert "solid" in done[0]
    noise, done = _field(rng.normal(size=(500, 3)) / 3, None, side=32)
    assert "walls" in done[0]
    assert (noise < 0).mean() > 0.01
    line, _ = _field(np.linspace([-1, 0, 0], [1, 0, 0], 200), None, side=32)
    assert line.max() > 0.2


def test_what_has_no_area_is_refused() -> None:
    points = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    with pytest.raises(SignalError, match="none of the 1 triangles"):
        field(Shape(points, np.array([[0, 1, 2]])), pose_of(Shape(points)), 16, 0.2)


def test_surfaces_are_where_fields_are_zero_and_look_outwards() -> None:
    axis = grid_axis(40)
    values = np.linalg.norm(grid_points(40), axis=1).reshape(40, 40, 40) - 0.8
    vertices, faces = surface(values, axis)
    assert np.allclose(np.linalg.norm(vertices, axis=1), 0.8, atol=0.01)
    corner = vertices[faces]
    assert np.isclose(
        np.einsum("ij,ij->i", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() / 6, 4 / 3 * np.pi * 0.8**3, rtol=0.02
    )
    assert len(surface(np.ones((8, 8, 8)), grid_axis(8))[1]) == 0
    vertices, faces = surface(-np.ones((8, 8, 8)), grid_axis(8))  # all inside: closed at the border
    assert np.abs(vertices).max() <= REACH + 1e-9 + 2 * REACH / 8
    edges = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_a_cloud_that_reaches_the_corner_keeps_its_outside() -> None:
    rng = np.random.default_rng(0)
    plates = [
        rng.uniform([-1, -1, -1], [1, 1, -0.98], (150, 3)),
        rng.uniform([-1, -1, -1], [-0.98, 1, 1], (150, 3)),
        [[-1.14, -1.14, -1.14]],
    ]
    values, _ = _field(np.concatenate(plates), None, side=32)
    assert values[-1, -1, -1] > 0.2
    assert (values < 0).mean() < 0.2


def test_many_parts_inside_out_are_turned_at_once() -> None:
    vertices, faces = triangles(Primitives(np.array([[0, 0, 0, 6, 0, 6, 0, 6]])))
    shifts = np.stack(np.meshgrid(*[np.arange(6) * 0.3] * 3), -1).reshape(-1, 1, 3)
    many = (vertices[None] + shifts).reshape(-1, 3)
    found = surface_of(Shape(many, (faces[None, :, ::-1] + 8 * np.arange(216)[:, None, None]).reshape(-1, 3)), UNIT)
    corner = found.vertices[found.faces]
    assert np.einsum("ij,ij->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])) > 0
    assert f"{216 * 12} triangles turned outside out" in found.done
