"""Frechet distance of films by a network that its user brings."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from smalti.metrics.distributions import frechet_distance
from smalti.metrics.registry import resolve_task
from smalti.metrics.video_distributions import FILE, windows
from smalti.testing import check_task
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Video

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMALTI_JUDGES", str(tmp_path))
    return tmp_path


def network(path: Path, shape: tuple[object, ...] = (None, 3, 4, 8, 8)) -> None:
    """Means of the channels over a window."""
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3, 4], keepdims=0)
    graph = onnx.helper.make_graph(
        [node], "means", [value("x", onnx.TensorProto.FLOAT, shape)], [value("y", onnx.TensorProto.FLOAT, (None, 3))]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def films(seed: int, count: int = 3, frames: int = 9) -> list[Video]:
    rng = np.random.default_rng(seed)
    return [Video(list(np.full((frames, 16, 20, 3), rng.integers(0, 255, 3), np.uint8)), Fraction(25)) for _ in range(count)]


def test_windows_cover_every_frame() -> None:
    frames = [np.array(i) for i in range(10)]
    assert [[int(f) for f in w] for w in windows(frames, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert [[int(f) for f in w] for w in windows(frames[:8], 4)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [[int(f) for f in w] for w in windows(frames[:2], 4)] == [[0, 1, 1, 1]]
    with pytest.raises(SignalError, match="found none"):
        next(windows([], 4))


def test_it_is_the_frechet_distance_of_windows(judges: Path) -> None:
    network(judges / FILE)
    task, ours, theirs = resolve_task("frechet-video-distance"), films(0), films(1)

    def means(side: list[Video]) -> np.ndarray:
        return np.concatenate([[np.asarray(film.frames)[0, 0, 0] / 127.5 - 1] * 3 for film in side])

    assert task(ours, theirs).value == pytest.approx(frechet_distance(means(ours), means(theirs)), rel=1e-4)
    assert task.ceiling(ours).value == pytest.approx(0, abs=1e-6)
    check_task(task, ours)
    assert "windows of 4 frames, 9 of them" in task(ours, theirs).convention


def test_what_cannot_be_used_is_said(judges: Path) -> None:
    with pytest.raises(ModelError, match=r"video_features.onnx: not found; put an ONNX network there"):
        resolve_task("frechet-video-distance")
    (judges / FILE).write_bytes(b"no network")
    with pytest.raises(ModelError, match="not readable as an ONNX network"):
        resolve_task("frechet-video-distance")
    for shape in ((None, 3, "t", 8, 8), (None, 3, 8, 8)):
        network_of = judges / FILE
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", ["x"], ["y"])], "same",
            [value("x", onnx.TensorProto.FLOAT, shape)], [value("y", onnx.TensorProto.FLOAT, shape)],
        )  # fmt: skip
        network_of.write_bytes(
            onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
        )
        with pytest.raises(ModelError, match=r"expected one \(N, 3, T, H, W\)"):
            resolve_task("frechet-video-distance")
    network(judges / FILE)
    with pytest.raises(SignalError, match="two windows of 4 frames"):
        resolve_task("frechet-video-distance")(films(0, 1, 4), films(1, 1, 4))
    network(judges / FILE, (None, 3, 2**20, 1024, 1024))
    with pytest.raises(ModelError, match="too large"):
        resolve_task("frechet-video-distance")
