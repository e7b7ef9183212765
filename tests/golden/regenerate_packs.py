"""Writes packs.json anew: the bytes of a tiny pack in each format. Run on purpose only:

PYTHONPATH=. python tests/golden/regenerate_packs.py
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np

from smalti.prepare.imported import write_codes
from smalti.prepare.packs import PackOptions, write_pack
from smalti.prepare.plan import PlannedModel
from smalti.tokenizers.tokens import Layout, Stage, Tokens

PLACE = Path(__file__).with_name("packs.json")
FORMATS = ("megatron", "datatrove", "litdata", "llmc", "nanogpt", "mds", "webdataset")  # Parquet's bytes are those of its library's release
PACKINGS = ("documents", "best-fit")


def codes(folder: Path) -> object:
    """Two pictures of 1 x 2 and 2 x 2 places and a sound, two levels each."""

    def tokens(axes: tuple[tuple[str, int], ...], first: int) -> Tokens:
        stages = tuple(Stage(f"level{k}", axes, 300) for k in range(2))
        count = stages[0].count
        arrays = tuple(np.arange(first + k, first + k + count, dtype=np.int32).reshape(stages[k].shape) for k in range(2))
        return Tokens(Layout(stages, (1, 2), (("size", count),)), arrays)

    models = [PlannedModel(f"tiny-{m}", f"tiny-{m}@1", m, m, letter * 64, {}, "") for m, letter in (("image", "a"), ("audio", "b"))]
    pictures = [tokens((("row", rows), ("col", 2)), 100 * rows) for rows in (1, 2)]
    return write_codes(folder, models, [("a.x.png", 0, pictures[0]), ("b/c.png", 0, pictures[1]), ("d.wav", 1, tokens((("time", 3),), 7))])


def files() -> dict[str, dict[str, str]]:
    """Hex by file, by pack; of tars, which are mostly zeros, the SHA-256."""
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        made = codes(Path(folder) / "OUT")
        for form in FORMATS:
            for packing in PACKINGS:
                pack = write_pack(made, PackOptions(f"{form}-{packing}", packing=packing, context=15, format=form))  # type: ignore[arg-type]
                names = [file.path for file in pack.files]
                found[pack.name] = {name: shown(pack.folder / name) for name in sorted(names)}
    return found


def shown(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest() if path.suffix == ".tar" else data.hex()


if __name__ == "__main__":
    PLACE.write_text(json.dumps(files(), indent=1) + "\n")
