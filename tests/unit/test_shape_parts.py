"""Primitives: what they say of parts, mirror images, distances and triangles."""

from __future__ import annotations

import numpy as np
import pytest

from smalti.tokenizers.shape.closeness import Closeness
from smalti.tokenizers.shape.parts import fitted, largest
from smalti.tokenizers.shape.primitives import LEVELS, MOST, Primitives, corners, distance, mirrored, signed, triangles

Array = np.ndarray
igl = pytest.importorskip("igl")


def _mesh(*numbers: list[int]) -> tuple[Array, Array]:
    return triangles(Primitives(np.array(numbers)))


TABLE = ([0, 2 + 18, 0, 96, 60, 70, 20, 76], [0, 1 + 9, 4, 10, 0, 60, 22, 30])  # a top, a leg and its three images


def test_mirror_images_are_said_once() -> None:
    vertices, faces = _mesh(*TABLE)
    assert len(faces) == 5 * 12
    (found,) = fitted(vertices, faces, (2,))
    assert sorted(found.numbers.tolist()) == sorted(map(list, TABLE))
    assert len(found.all[1]) == 5


def test_fewer_primitives_take_parts_together() -> None:
    vertices, faces = _mesh(*TABLE)
    one, two = fitted(vertices, faces, (1, 2))
    assert len(one.numbers) == 1
    low, high = corners(one.all[1])[0]
    assert np.allclose([low, high], [vertices.min(0), vertices.max(0)], atol=1 / LEVELS)
    assert len(two.numbers) == 2


def test_one_part_is_split() -> None:
    # an L of one connected mesh: grid faces of two boxes would be more than one part, so a strip of quads is bent
    profile = np.array([[-1, -1], [1, -1], [1, -0.8], [-0.8, -0.8], [-0.8, 1], [-1, 1]])
    side = [np.column_stack([profile, np.full(6, z)]) for z in (-0.2, 0.2)]
    vertices = np.concatenate(side)
    i, j = np.arange(6), (np.arange(6) + 1) % 6
    walls = np.concatenate([np.stack([i, j, j + 6], 1), np.stack([i, j + 6, i + 6], 1)])
    caps = np.array([[0, 2, 1], [0, 3, 2], [0, 4, 3], [0, 5, 4]])
    faces = np.concatenate([walls, caps, caps[:, ::-1] + 6])
    whole, two = fitted(vertices, faces, (1, 2))
    measure = Closeness(vertices, faces)
    assert measure(*triangles(two)) < measure(*triangles(whole)) / 3


@pytest.mark.parametrize(
    ("numbers", "kind"), [([2, 26, 10, 86, 0, 96, 10, 86], 2), ([4, 26, 0, 96, 0, 96, 0, 96], 4), ([0, 26, 0, 96, 9, 87, 5, 91], 0)]
)
def test_kinds_are_told(numbers: list[int], kind: int) -> None:
    (found,) = fitted(*_mesh(numbers), (1,))
    assert found.numbers.tolist() == [numbers]
    assert found.numbers[0, 0] == kind


def test_point_clouds_have_primitives() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform([-1, -1, -1], [-0.6, 1, 1], (500, 3)), rng.uniform([0.6, -1, -1], [1, 1, 1], (500, 3))])
    found = fitted(points, None, (1, 2))
    assert [len(f.all[1]) for f in found] == [1, 2]


@pytest.mark.parametrize("kind", range(5))
def test_distances_are_those_to_the_triangles(kind: int) -> None:
    half = np.array([0.5, 0.5, 0.5]) if kind else np.array([0.5, 0.25, 0.75])
    sides = np.rint((np.stack([-half, half], 1) + 1) / 2 * LEVELS).astype(np.int64)
    found = Primitives(np.array([[kind, 0, *sides.ravel()]]))
    vertices, faces = triangles(found)
    volume = np.einsum("ij,ij->i", vertices[faces[:, 0]], np.cross(vertices[faces[:, 1]], vertices[faces[:, 2]])).sum() / 6
    assert volume > 0
    points = np.random.default_rng(1).uniform(-1, 1, (300, 3))
    low, high = corners(found.all[1])[0]
    ours = signed(kind, low, high, *points.T)
    exact = np.sqrt(igl.point_mesh_squared_distance(points, vertices, faces)[0])
    inside = igl.winding_number(vertices, faces, points) > 0.5
    assert np.abs(np.abs(ours) - exact).max() < 0.02  # polygons of 24 sides
    clear = exact > 0.02
    assert ((ours < 0) == inside)[clear].all()
    axis = np.linspace(-1.1, 1.1, 12)
    grid = distance(found, (axis, axis, axis), 0.3)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    assert np.allclose(grid.ravel(), np.clip(signed(kind, low, high, *places.T), -0.3, 0.3), atol=1e-5)


def test_mirrored_twice_is_itself() -> None:
    sides = np.random.default_rng(2).integers(0, LEVELS, (5, 3, 2))
    assert (mirrored(mirrored(sides, 1), 1) == sides).all()
    assert (mirrored(sides, 1)[:, [0, 2]] == sides[:, [0, 2]]).all()


def test_small_parts_are_left_out() -> None:
    small = [0, 0, 40, 44, 80, 84, 40, 44]
    vertices, faces = _mesh(*TABLE, small)
    (found,) = largest(vertices, faces, (2, 3))
    assert sorted(found.numbers.tolist()) == sorted(map(list, TABLE))


def test_what_files_ask_for_is_bounded() -> None:
    rng = np.random.default_rng(0)
    numbers = np.column_stack([np.zeros(64, np.int64), np.full(64, 13), np.sort(rng.integers(0, 97, (64, 3, 2)), -1).reshape(64, 6)])
    assert len(Primitives(numbers).all[0]) == MOST
    assert len(Primitives(np.repeat(numbers[:1], 5, 0)).all[0]) == 8
