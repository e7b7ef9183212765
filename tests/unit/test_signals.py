"""The four signals check themselves."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError
from smalti.tokenizers.signals import Audio, Image, Shape, Video


def test_an_image_knows_its_size() -> None:
    image = Image(np.zeros((3, 5, 3), dtype=np.uint8), ("gray made RGB",))
    assert (image.height, image.width, image.notes) == (3, 5, ("gray made RGB",))
    assert Image(np.zeros((1, 1, 3), dtype=np.uint16)).notes == ()


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 4), (3, 5, 1), (0, 5, 3), (5, 0, 3), (1, 3, 5, 3)])
def test_an_image_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SignalError, match=r"shape \(H, W, 3\)"):
        Image(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.float32, np.bool_])
def test_an_image_of_another_type_is_refused(dtype: type) -> None:
    with pytest.raises(SignalError, match="uint8 or uint16"):
        Image(np.zeros((3, 5, 3), dtype=dtype))


def test_audio_knows_its_length() -> None:
    assert Audio(np.zeros((2, 12000), dtype=np.float32), 24000).seconds == 0.5


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(100, dtype=np.float32), 24000, r"shape \(channels, time\)"),
        (np.zeros((1, 0), dtype=np.float32), 24000, r"shape \(channels, time\)"),
        (np.zeros((1, 100), dtype=np.float64), 24000, "float32"),
        (np.zeros((1, 100), dtype=np.int16), 24000, "float32"),
        (np.zeros((1, 100), dtype=np.float32), 0, "positive sample rate"),
    ],
)
def test_other_audio_is_refused(samples: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        Audio(samples, rate)


def test_video_may_be_read_once() -> None:
    video = Video((np.zeros((4, 4, 3), dtype=np.uint8) for _ in range(3)), Fraction(25))
    assert (len(list(video.frames)), video.aspect, video.audio) == (3, 1, None)


def test_a_shape_is_a_mesh_or_a_cloud() -> None:
    corners = np.eye(3)
    assert Shape(corners).faces is None
    assert Shape(corners, np.array([[0, 1, 2]])).faces is not None
    assert Shape(corners, np.zeros((0, 3), dtype=np.int64)).faces is not None


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.eye(3, dtype=np.float32), None, r"float64 vertices \(V, 3\)"),
        (np.zeros((4, 2)), None, r"float64 vertices \(V, 3\)"),
        (np.eye(3), np.array([[0, 1, 2]], dtype=np.int32), r"int64 faces \(F, 3\)"),
        (np.eye(3), np.array([[0, 1, 2, 0]]), r"int64 faces \(F, 3\)"),
        (np.eye(3), np.array([[0, 1, 3]]), r"outside 0\.\.2"),
        (np.eye(3), np.array([[0, 1, -1]]), r"outside 0\.\.2"),
    ],
)
def test_other_shapes_are_refused(vertices: np.ndarray, faces: np.ndarray | None, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        Shape(vertices, faces)


def test_signals_are_frozen() -> None:
    audio = Audio(np.zeros((1, 1), dtype=np.float32), 8000)
    with pytest.raises(dataclasses.FrozenInstanceError):
        audio.rate = 16000  # type: ignore[misc]


def test_a_target_is_one_at_a_time() -> None:
    assert Target() == Target(None)
    assert Target(bytes=100).bytes == 100
    with pytest.raises(UsageError, match="one target at a time, found bytes and kbps"):
        Target(bytes=100, kbps=6.0)
    for value in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="target bits_per_pixel must be positive"):
            Target(bits_per_pixel=value)


def test_all_errors_are_ours() -> None:
    assert issubclass(SignalError, SmaltiError)
    assert issubclass(UsageError, SmaltiError)
