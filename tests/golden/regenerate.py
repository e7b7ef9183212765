"""Write the golden files again: `PYTHONPATH=. python tests/golden/regenerate.py` in the root.

Only ever run on purpose: files of version 1 must read for ever.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from smalti.codecs.bitstream import Entry, Field, Item, StreamInfo, write_archive, write_chunked, write_solo
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_config import MaskedConfig, kind
from smalti.codecs.priors.mesh import MeshPrior
from smalti.codecs.priors.shape import ShapePrior
from smalti.codecs.priors.shape_model import CONTEXTS
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.shape.mesh import Mesh, MeshConfig
from smalti.tokenizers.signals import Shape
from smalti.tokenizers.tokens import Layout, Stage, Tokens

HERE = Path(__file__).parent


def still() -> Tokens:
    """A three-stage image of 40 x 25 pixels whose last stage lacks some regions."""
    stages = tuple(Stage(f"level{k}", (("row", 5), ("col", 3)), 1000) for k in range(3))
    layout = Layout(stages, (1, 2, 3), (("height", 40), ("width", 25)))
    arrays = [_counting(stage, k) for k, stage in enumerate(stages)]
    mask = np.arange(15).reshape(5, 3) % 4 != 0
    arrays[2][~mask] = 0
    return Tokens(layout, tuple(arrays), (None, None, mask))


def timed() -> Tokens:
    """Two levels of 300 and 600 steps of sound."""
    stages = (Stage("coarse", (("time", 300),), 4096), Stage("fine", (("time", 600),), 70000))
    layout = Layout(stages, (1, 2), (("samples", 95999), ("rate", 24000), ("channels", 1)))
    return Tokens(layout, tuple(_counting(stage, k) for k, stage in enumerate(stages)))


def many() -> Tokens:
    """Raw tokens that are too many for a compact item."""
    layout = Layout((Stage("s", (("row", 100), ("col", 100)), 1 << 20),), (1,))
    return Tokens(layout, (_counting(layout.stages[0], 0),))


def _counting(stage: Stage, k: int) -> np.ndarray:
    """Tokens by arithmetic, since a random generator's stream may change between releases of NumPy."""
    return ((np.arange(stage.count, dtype=np.int64) * 7919 + 31 * k) % stage.vocab).astype(np.int32).reshape(stage.shape)


def masked() -> MaskedPrior:
    """A small network whose weights are arithmetic too; windows are smaller than the picture."""
    config = MaskedConfig(1000, ((2, 8, 16), (8, 16), (16,)), side=4, margin=1, entry=2, channels=4, heads=2, blocks=1, wide=6)
    tensors = {}
    for i, (name, shape) in enumerate(config.shapes().items()):
        values = (np.arange(np.prod(shape), dtype=np.int64) * 7919 + 613 * i) % 12001 - 6000
        tensors[name] = (values << (8 if name.endswith("bias") else 0)).astype(kind(name)).reshape(shape)
    return MaskedPrior(config, tensors)


def shape() -> tuple[Tokens, ShapePrior]:
    """A plan of three primitives and two scales, under chances that are arithmetic."""
    counts = (20, 50)
    stages = [Stage("plan", (("token", 1),), 28), Stage("primitives", (("primitive", 6), ("number", 8)), 97)]
    stages += [Stage(f"scale{k}", (("component", count),), 31) for k, count in enumerate(counts, 1)]
    signal = (("scale", 300), ("x", 5), ("y", 6), ("z", 700))
    numbers = np.zeros((6, 8), np.int32)
    numbers[:3] = [[0, 2, 0, 96, 10, 20, 30, 66], [4, 1, 0, 20, 10, 20, 96, 96], [3, 13, 5, 9, 0, 10, 30, 44]]
    steps = [np.arange(count) for count in counts]
    first = (steps[0] * 7919 % 11 - 5) * (steps[0] % 3 > 0) + 15
    second = np.where(steps[1] < 20, steps[1] * 31 % 3 - 1, (steps[1] * 613 % 7 - 3) * (steps[1] % 4 == 0)) + 15
    arrays = (np.array([13], np.int32), numbers, first.astype(np.int32), second.astype(np.int32))
    chances = (np.arange(CONTEXTS) * 7919 % 60000 + 2000).astype(np.uint16)
    levels = (np.arange(3 * 50).reshape(3, 50) * 31 % 37 - 18).astype(np.int16)
    prior = ShapePrior(levels, (np.arange(50) % 4).astype(np.uint8), np.array([0, 1, 3], np.int16), chances)
    return Tokens(Layout(tuple(stages), (2, 3, 4), signal), arrays), prior


def mesh() -> Tokens:
    """A sheet of 5 x 4 places with a hole, and a tetrahedron beside it."""
    row, col = np.divmod(np.arange(20), 5)
    points = np.stack([col * 8, row * 8, row * col * 3], 1).astype(np.float64)
    corner = np.array([r * 5 + c for r in range(3) for c in range(4) if (r, c) != (1, 2)])
    faces = np.concatenate([np.stack([corner, corner + 1, corner + 6], 1), np.stack([corner, corner + 6, corner + 5], 1)])
    tip = np.array([[60, 0, 0], [70, 0, 0], [60, 10, 0], [60, 0, 10]], np.float64)
    solid = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]) + 20
    (tokens,) = Mesh(MeshConfig(8)).encode([Shape(np.concatenate([points, tip]), np.concatenate([faces, solid]).astype(np.int64))])
    return tokens


def files() -> dict[str, bytes]:
    """Name -> bytes as this release writes them."""
    prior, picture, sound = UniformPrior(), still(), timed()
    image = StreamInfo("image", bytes.fromhex("0123456789ab"), prior.id, signal=picture.layout.signal, notes=5)
    audio = StreamInfo("audio", bytes.fromhex("ba9876543210"), prior.id, signal=sound.layout.signal, fields=(Field(5, b"golden"),))
    small = picture.prefix(2)
    solid, own = shape()
    pose = StreamInfo("shape", bytes.fromhex("0123456789ab"), own.id, signal=solid.layout.signal)
    faces, walk = mesh(), MeshPrior()
    counted = StreamInfo("shape", bytes.fromhex("ba9876543210"), walk.id, signal=faces.layout.signal)
    items = [
        Item(small, prior, image, "first"),
        Item(picture.prefix(1), prior, replace(image, notes=0)),
        Item(sound, prior, audio, "Zweites"),
        Item(sound, prior, audio),
        Item(many(), prior, StreamInfo("raw", bytes(6), prior.id, layout=many().layout), "large"),
    ]
    return {
        "archive.smt": write_archive(items),
        "mesh.smt": write_solo(faces, walk, counted),
        "shape.smt": write_solo(solid, own, pose),
        "solo.smt": write_solo(picture, prior, image),
        "adaptive.smt": write_solo(picture, AdaptivePrior(), replace(image, prior_id=AdaptivePrior().id)),
        "masked.smt": write_solo(picture, masked(), replace(image, prior_id=masked().id)),
        "chunked.smt": write_chunked([Entry(picture, prior, image), Entry(sound, prior, audio)]),
    }


if __name__ == "__main__":
    for name, data in files().items():
        (HERE / name).write_bytes(data)
    digests = {"still": still().digest(), "timed": timed().digest(), "many": many().digest(), "masked prior": masked().id.hex()}
    digests |= {"shape": shape()[0].digest(), "shape prior": shape()[1].id.hex(), "mesh": mesh().digest()}
    (HERE / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")
