"""Metrics of shapes against what geometry says they must be."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from smalti.metrics.registry import resolve
from smalti.metrics.surfaces import Surface, ceiling, distances, drawn, surface
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Image, Shape

pytest.importorskip("igl")
NAMES = ("f-score-1", "f-score-2", "chamfer", "normal-consistency", "volume-iou", "surface-iou", "d1-psnr")
OF_CLOUDS = ("f-score-1", "f-score-2", "chamfer", "d1-psnr")


def box(size: tuple[float, float, float] = (1, 1, 1), at: tuple[float, float, float] = (0, 0, 0)) -> Shape:
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64) * size + at
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Shape(corners, np.array([face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))], np.int64))


def ball(radius: float) -> Shape:
    import trimesh

    made = trimesh.creation.icosphere(4, radius)
    return Shape(np.asarray(made.vertices, np.float64), np.asarray(made.faces, np.int64))


def value(name: str, reference: Shape, decoded: Shape) -> float:
    return resolve(name)(reference, decoded).value


def test_two_balls() -> None:
    whole, larger = ball(1.0), ball(1.1)  # .1 apart, which is 5 % of the longest side
    assert value("chamfer", whole, larger) == pytest.approx(0.05, rel=0.01)
    assert value("d1-psnr", whole, larger) == pytest.approx(10 * math.log10(3 / 0.05**2), abs=0.05)
    assert value("volume-iou", whole, larger) == pytest.approx(1 / 1.1**3, abs=0.01)
    assert value("normal-consistency", whole, larger) == pytest.approx(1, abs=1e-3)
    assert value("f-score-2", whole, larger) == 0
    near = ball(1.03)  # 1.5 %
    assert value("f-score-1", whole, near) == 0
    assert value("f-score-2", whole, near) == 1


def test_near_is_what_the_name_says() -> None:
    """Squares above each other, 1 across."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float64)
    square = Shape(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int64))
    for percent in (1, 2):
        for share, score in ((0.99, 1.0), (1.01, 0.0)):
            assert value(f"f-score-{percent}", square, Shape(corners + np.array([0, 0, share * percent / 100]), square.faces)) == score


def test_the_surface_is_looked_at_within_two_percent() -> None:
    """Of a ball that is larger by one standard deviation: a half of normal noise lies in one, 84 % in the other."""
    assert value("surface-iou", ball(1.0), ball(1.04)) == pytest.approx(0.5 / 0.8413, abs=0.02)  # noise along a ball leads off it


def test_overlap_of_boxes() -> None:
    assert value("volume-iou", box(), box(at=(0.5, 0, 0))) == pytest.approx(1 / 3, abs=0.01)
    assert value("volume-iou", box(), box(at=(3, 0, 0))) == 0
    assert value("volume-iou", box(), box((0.5, 1, 1))) == pytest.approx(0.5, abs=0.01)
    turned = Shape(box().vertices, box().faces[:, ::-1].copy())  # type: ignore[index]
    assert value("volume-iou", turned, box()) == value("surface-iou", box(), turned) == 1  # inside out, the same volume
    thin, hollow = box((1, 1, 0.02)), box((1, 1, 0.01))
    assert value("surface-iou", thin, hollow) == pytest.approx(0.5, abs=0.02)


def test_what_is_missing_costs_recall_and_what_is_too_much_precision() -> None:
    whole = box((4, 1, 1))
    side = Shape(whole.vertices, whole.faces[2:4])  # type: ignore[index]  # one end of area 1, of 18
    recall = 1 / 18
    for reference, decoded in ((whole, side), (side, whole)):
        found = value("f-score-1", reference, decoded)
        near = recall + 4 * 0.01 * max(np.ptp(reference.vertices[np.unique(reference.faces)], axis=0)) / 18  # and the rim of it
        assert found == pytest.approx(2 * near / (1 + near), abs=0.003)


def test_normals() -> None:
    flat = Shape(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float64), np.array([[0, 1, 2], [0, 2, 3]], np.int64))
    for degrees in (0, 30, 60, 150):
        angle = math.radians(degrees)
        tilted = flat.vertices @ np.array([[1, 0, 0], [0, math.cos(angle), math.sin(angle)], [0, 0, 1.0]])
        assert value("normal-consistency", flat, Shape(tilted, flat.faces)) == pytest.approx(abs(math.cos(angle)), abs=1e-9)
    with pytest.raises(SignalError, match="encloses no volume"):
        value("volume-iou", flat, box())
    assert value("volume-iou", box(), flat) == 0


@pytest.mark.parametrize("name", NAMES)
def test_units_and_place_do_not_matter(name: str) -> None:
    a, b = box((1, 2, 3)), box((1, 2, 2.9), (0, 0.01, 0.05))
    moved = [Shape(shape.vertices * 1e-7 + [3, 0, -1], shape.faces) for shape in (a, b)]
    assert value(name, moved[0], moved[1]) == pytest.approx(value(name, a, b), rel=1e-3)
    assert value(name, a, b) != value(name, a, Shape(b.vertices[:, [2, 0, 1]], b.faces))  # axes do


@pytest.mark.parametrize("name", NAMES)
def test_nothing_scores_worst_and_is_scored(name: str) -> None:
    worst = 1.0 if name == "chamfer" else 0.0
    for empty in (Shape(np.zeros((0, 3)), np.zeros((0, 3), np.int64)), Shape(np.ones((4, 3)), np.zeros((0, 3), np.int64))):
        assert value(name, box(), empty) == worst
        with pytest.raises(SignalError, match="reference is empty"):
            value(name, empty, box())
    assert value(name, box(), Shape(np.zeros((0, 3)))) == worst


@pytest.mark.parametrize("name", NAMES)
def test_clouds_are_compared_by_points_or_refused(name: str) -> None:
    cloud = Shape(np.random.default_rng(0).uniform(size=(4000, 3)))
    if name not in OF_CLOUDS:
        with pytest.raises(SignalError, match="clouds of points"):
            value(name, cloud, cloud)
        with pytest.raises(SignalError, match="clouds of points"):
            value(name, box(), cloud)
        return
    same = value(name, cloud, Shape(cloud.vertices[::-1].copy()))
    assert same == {"chamfer": 0, "d1-psnr": math.inf}.get(name, 1)
    assert np.isfinite(value(name, box(), cloud))
    assert np.isfinite(value(name, cloud, box()))


def test_a_cloud_by_hand() -> None:
    first = Shape(np.array([[0, 0, 0], [10, 0, 0]], np.float64))
    second = Shape(np.array([[0, 0, 0.15], [10, 0, 0], [10, 0, 3]], np.float64))
    # there (.15, 0, 3) / 10, back (.15, 0) / 10
    assert value("chamfer", first, second) == pytest.approx((3.15 / 3 + 0.15 / 2) / 2 / 10)
    assert value("f-score-2", first, second) == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert value("f-score-1", first, second) == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))
    assert value("d1-psnr", first, second) == pytest.approx(10 * math.log10(3 * 100 / ((0.15**2 + 9) / 3)))


def test_points_are_drawn_by_area_and_distances_are_exact() -> None:
    rng = np.random.default_rng(0)
    soup = Surface(rng.normal(size=(60, 3)), np.arange(60, dtype=np.int64).reshape(-1, 3))
    points = drawn(soup, 1, 20000)
    triangles = soup.vertices[soup.faces]
    back = distances(points, soup)
    assert back.values.max() < 1e-12
    assert back.normals is not None
    assert (back.normals > 1 - 1e-9).mean() > 0.99  # but where triangles cross
    areas = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1) / 2
    centre = (points.points @ np.eye(3)).mean(0)
    assert centre == pytest.approx((triangles.mean(1) * areas[:, None]).sum(0) / areas.sum(), abs=0.03)
    from trimesh.triangles import closest_point

    few = rng.normal(size=(50, 3)) * 2
    pairs = [np.linalg.norm(closest_point(triangles, np.tile(point, (20, 1))) - point, axis=1).min() for point in few]
    assert np.allclose(distances(drawn(Surface(few, None)), soup).values, pairs, atol=1e-12)


def test_faces_without_area_are_no_surface() -> None:
    whole = box()
    assert whole.faces is not None
    more = Shape(np.concatenate([whole.vertices, [[9, 9, 9]]]), np.concatenate([whole.faces, [[8, 8, 8], [0, 0, 7]]]))
    assert value("chamfer", whole, more) < 1e-12
    assert value("volume-iou", whole, more) == 1
    line = Shape(np.array([[0, 0, 0], [1, 0, 0], [0.5, 0, 0]], np.float64), np.array([[0, 1, 2]], np.int64))
    assert surface(line, line).faces is None
    assert value("chamfer", line, line) == 0


def test_a_cloud_drawn_from_a_shape_has_a_ceiling() -> None:
    few, more = (ceiling(ball(1.0), 0.01, count) for count in (3000, 20000))
    assert few < more < 1
    assert ceiling(ball(1.0), 0.02, 20000) > more


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SignalError, match="compare shapes, found Image and Shape"):
        resolve("chamfer")(Image(np.zeros((2, 2, 3), np.uint8)), box())
    with pytest.raises(SignalError, match="not finite"):
        value("chamfer", box(), Shape(np.full((3, 3), np.nan)))
    with pytest.raises(SignalError, match="no extent"):
        value("chamfer", Shape(np.ones((5, 3))), box())
    monkeypatch.setitem(sys.modules, "igl", None)
    with pytest.raises(ModelError, match=r"libigl: pip install 'smalti\[shape\]'"):
        value("volume-iou", box(), box())
