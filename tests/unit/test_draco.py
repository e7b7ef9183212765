"""Draco behind the codecs' contract."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from smalti.codecs.classical import draco
from smalti.codecs.classical.draco import Draco
from smalti.codecs.registry import resolve
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Audio, Shape
from tests.unit.test_mesh import box, grid

CODEC = Draco()


def test_the_shortest_level_is_taken() -> None:
    import DracoPy

    shape = grid(20, 20)
    data = CODEC.compress(shape, Target(quality=9))
    lengths = [len(DracoPy.encode(shape.vertices, shape.faces, quantization_bits=9, compression_level=level)) for level in range(11)]
    assert len(data) == min(lengths[level] for level in draco.LEVELS) == min(lengths)


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_vertices_lie_within_half_a_step(bits: int) -> None:
    shape = grid(8, 9)
    back = CODEC.decompress(CODEC.compress(shape, Target(quality=bits)))
    assert isinstance(back, Shape)
    assert back.faces is not None
    assert shape.faces is not None
    assert len(back.faces) == len(shape.faces)
    step = np.ptp(shape.vertices, axis=0).max() / (2**bits - 1)
    nearest = np.abs(back.vertices[:, None] - shape.vertices[None]).max(2).min(1)
    assert nearest.max() <= 0.51 * step + 1e-6


def test_bytes_are_met_by_fewer_bits() -> None:
    shape = grid(12, 12)
    sizes = [len(CODEC.compress(shape, Target(quality=bits))) for bits in (6, 7)]
    assert CODEC.compress(shape, Target(bytes=sizes[1] - 1)) == CODEC.compress(shape, Target(quality=6))
    with pytest.raises(UsageError, match="smallest file"):
        CODEC.compress(shape, Target(bytes=40))


def test_points_come_back_as_points() -> None:
    back = CODEC.decompress(CODEC.compress(Shape(grid(5, 5).vertices)))
    assert isinstance(back, Shape)
    assert back.faces is None
    assert len(back.vertices) == 36


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = box()
    for wrong in (
        Audio(np.zeros((1, 8), np.float32), 8000),
        Shape(np.zeros((0, 3))),
        Shape(cube.vertices, np.zeros((0, 3), np.int64)),
        Shape(cube.vertices, np.array([[0, 0, 1]])),
        Shape(np.full((3, 3), np.inf), np.array([[0, 1, 2]])),
    ):
        with pytest.raises(SignalError):
            CODEC.compress(wrong)
    for target in (Target(stages=1), Target(kbps=6), Target(bits_per_pixel=1), Target(quality=21), Target(quality=7.5)):
        with pytest.raises(UsageError):
            CODEC.compress(cube, target)
    with pytest.raises(UsageError, match="shapes are not"):
        resolve("draco/2")
    data = CODEC.compress(cube)
    for damaged in (b"", b"GLTF" + data, data[:-1], data[:20]):
        with pytest.raises(BitstreamError):
            CODEC.decompress(damaged)
    for place in range(11, len(data), 3):
        with contextlib.suppress(BitstreamError):
            CODEC.decompress(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
    monkeypatch.setitem(__import__("sys").modules, "DracoPy", None)
    with pytest.raises(ModelError, match=r"smalti\[codecs\]"):
        CODEC.compress(cube)
