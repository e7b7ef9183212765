"""Tokens of the training pictures, made once: each picture as it is and enlarged, both of them mirrored too."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from smalti.codecs.media.files import reason, write_atomically
from smalti.recipes.prime_prior import Progress, readable
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.signals import Image

Array = np.ndarray
VARIANTS = (
    (1.0, False),
    (1.6, True),
    (1.0, True),
    (1.6, False),
)  # scale, mirrored; enlarged, since judged photos are larger than training ones
BATCH = 32  # pictures that are tokenized at once, and whose tokens make one file of the cache


@dataclass(frozen=True, eq=False)
class Grids:
    """Token grids of one vocabulary a level: int16 arrays (K, rows, columns)."""

    items: tuple[Array, ...]
    vocab: int

    @property
    def hash(self) -> str:
        """Of all tokens, in hex."""
        sha = hashlib.sha256()
        for item in self.items:
            sha.update(np.array(item.shape, "<i4").tobytes() + item.astype("<i2").tobytes())
        return sha.hexdigest()


def load(tokenizer: Any, root: Path, files: Sequence[Path], folder: Path, variants: Sequence[tuple[float, bool]] = VARIANTS) -> Grids:
    """Tokens of all files under `root` in all variants, from `folder` where they lie there.

    Pictures that cannot be read are named and left out. Raises UsageError where none can be, or where `folder` cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({reason(error)}); choose another place or make this one writable") from None
    items: list[Array] = []
    for scale, mirrored in variants:
        progress = Progress(f"tokens at {scale:g}{', mirrored' if mirrored else ''}", len(files))
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            path = folder / f"{_key(tokenizer, root, batch, scale, mirrored)}.safetensors"
            if not path.is_file():
                _save(path, _tokenize(tokenizer, batch, scale, mirrored))
            items += _load(path)
            progress(min(start + BATCH, len(files)))
    if not items:
        raise UsageError("none of the pictures can be read")
    return Grids(tuple(items), tokenizer.layout((("height", 64), ("width", 64))).stages[0].vocab)


def _key(tokenizer: Any, root: Path, files: Sequence[Path], scale: float, mirrored: bool) -> str:
    """Of the model and of what the files were when they were tokenized."""
    about = [f"{path.relative_to(root).as_posix()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join((tokenizer.fingerprint, f"{scale:g} {mirrored}", *about)).encode()).hexdigest()[:16]


def _tokenize(tokenizer: Any, files: Sequence[Path], scale: float, mirrored: bool) -> list[Array]:
    pictures = []
    for _, picture in readable(files):
        scaled = _scaled(picture, scale)
        pictures.append(Image(np.ascontiguousarray(scaled.pixels[:, ::-1])) if mirrored else scaled)
    return [np.stack(tokens.arrays).astype(np.int16) for tokens in tokenizer.encode(pictures)] if pictures else []


def _scaled(picture: Image, scale: float) -> Image:
    if scale == 1:
        return picture
    size = (round(picture.width * scale), round(picture.height * scale))
    return Image(np.asarray(Pillow.fromarray(picture.eight_bits).resize(size, Pillow.Resampling.BICUBIC)))


def _save(path: Path, items: Sequence[Array]) -> None:
    from safetensors.numpy import save

    write_atomically(path, save({f"{i:06d}": item for i, item in enumerate(items)}))


def _load(path: Path) -> list[Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        held = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: can't be read as tokens: {error}; remove it, it is made again") from error
    return [held[name] for name in sorted(held)]
