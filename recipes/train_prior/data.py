"""Tokens of the training pictures, made once: each picture as it is and enlarged, both of them mirrored too."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from smalti.codecs.media.images import read_image
from smalti.recipes.prime_prior import Progress
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Image

Array = np.ndarray
VARIANTS = (
    (1.0, False),
    (1.0, True),
    (1.6, False),
    (1.6, True),
)  # scale, mirrored; enlarged, since judged photos are larger than training ones
BATCH = 32  # pictures that are tokenized at once, and whose tokens make one file of the cache


@dataclass(frozen=True, eq=False)
class Grids:
    """Token grids of one vocabulary a level: int16 arrays (K, rows, columns)."""

    items: tuple[Array, ...]
    vocab: int


def load(tokenizer: Any, files: Sequence[Path], folder: Path, variants: Sequence[tuple[float, bool]] = VARIANTS) -> Grids:
    """Tokens of all files in all variants, from `folder` where they lie there; pictures that cannot be read are named and left out."""
    folder.mkdir(parents=True, exist_ok=True)
    layout = tokenizer.layout((("height", 64), ("width", 64)))
    vocabs = {stage.vocab for stage in layout.stages}
    if len(vocabs) != 1 or len({stage.shape for stage in layout.stages}) != 1:
        raise UsageError("the masked prior wants a model whose levels lie on one grid and have equally many entries")
    items: list[Array] = []
    for scale, mirrored in variants:
        progress = Progress(f"tokens at {scale:g}{', mirrored' if mirrored else ''}", len(files))
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            names = hashlib.sha256("\n".join(path.name for path in batch).encode()).hexdigest()[:12]
            path = folder / f"{tokenizer.fingerprint[:12]}-{names}-{scale:g}{'-mirrored' * mirrored}.npz"
            if not path.is_file():
                _save(path, _tokenize(tokenizer, batch, scale, mirrored))
            items += _load(path)
            progress(min(start + BATCH, len(files)))
    if not items:
        raise UsageError("none of the pictures can be read")
    return Grids(tuple(items), vocabs.pop())


def _tokenize(tokenizer: Any, files: Sequence[Path], scale: float, mirrored: bool) -> list[Array]:
    pictures = []
    for path in files:
        try:
            picture = _scaled(read_image(path), scale)
        except SignalError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        pictures.append(Image(np.ascontiguousarray(picture.pixels[:, ::-1])) if mirrored else picture)
    return [np.stack(tokens.arrays).astype(np.int16) for tokens in tokenizer.encode(pictures)] if pictures else []


def _scaled(picture: Image, scale: float) -> Image:
    if scale == 1:
        return picture
    size = (round(picture.width * scale), round(picture.height * scale))
    return Image(np.asarray(Pillow.fromarray(picture.pixels).resize(size, Pillow.Resampling.BICUBIC)))


def _save(path: Path, items: Sequence[Array]) -> None:
    whole = path.with_suffix(".part.npz")
    np.savez_compressed(whole, **{f"{i:06d}": item for i, item in enumerate(items)})  # type: ignore[arg-type]
    whole.replace(path)


def _load(path: Path) -> list[Array]:
    try:
        with np.load(path) as file:
            return [file[name] for name in sorted(file.files)]
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: can't be read as tokens: {error}; remove it, it is made again") from error
