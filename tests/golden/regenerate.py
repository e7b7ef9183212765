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
from smalti.codecs.priors.uniform import UniformPrior
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


def files() -> dict[str, bytes]:
    """Name -> bytes as this release writes them."""
    prior, picture, sound = UniformPrior(), still(), timed()
    image = StreamInfo("image", bytes.fromhex("0123456789ab"), prior.id, signal=picture.layout.signal, notes=5)
    audio = StreamInfo("audio", bytes.fromhex("ba9876543210"), prior.id, signal=sound.layout.signal, fields=(Field(5, b"golden"),))
    small = picture.prefix(2)
    items = [
        Item(small, prior, image, "first"),
        Item(picture.prefix(1), prior, replace(image, notes=0)),
        Item(sound, prior, audio, "Zweites"),
        Item(sound, prior, audio),
        Item(many(), prior, StreamInfo("raw", bytes(6), prior.id, layout=many().layout), "large"),
    ]
    return {
        "archive.smt": write_archive(items),
        "solo.smt": write_solo(picture, prior, image),
        "adaptive.smt": write_solo(picture, AdaptivePrior(), replace(image, prior_id=AdaptivePrior().id)),
        "masked.smt": write_solo(picture, masked(), replace(image, prior_id=masked().id)),
        "chunked.smt": write_chunked([Entry(picture, prior, image), Entry(sound, prior, audio)]),
    }


if __name__ == "__main__":
    for name, data in files().items():
        (HERE / name).write_bytes(data)
    digests = {"still": still().digest(), "timed": timed().digest(), "many": many().digest(), "masked prior": masked().id.hex()}
    (HERE / "digests.json").write_text(json.dumps(digests, indent=1) + "\n")
