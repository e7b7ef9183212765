"""Real photo patches to check claims on: the same ones for everybody, from a folder of photos, by a fixed seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smalti.codecs.media.images import read_image
from smalti.recipes.training.config import DataConfig
from smalti.recipes.training.data import random_crop, split

SIDE = 32
PHOTOS, HELD_OUT_PHOTOS = 320, 64
PATCHES_PER_PHOTO = 32


@dataclass(frozen=True)
class Patches:
    """float32 (N, 3, 32, 32) in [-1, 1], from different photos."""

    train: Tensor
    held_out: Tensor


def load(folder: Path, photos: int = PHOTOS, held_out_photos: int = HELD_OUT_PHOTOS) -> Patches:
    """Patches of the first `photos` and the last `held_out_photos` pictures by name; UsageError where there are too few."""
    config = DataConfig(folder=str(folder), crop=SIDE, holdout=held_out_photos)
    train, held_out = split(config)
    return Patches(_cut(train[:photos], config), _cut(held_out, config))


def _cut(files: list[Path], config: DataConfig) -> Tensor:
    patches = []
    for number, file in enumerate(files):
        random = np.random.default_rng(number)
        pixels = read_image(file).pixels
        patches += [random_crop(pixels, config, random) for _ in range(PATCHES_PER_PHOTO)]
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2).float() / 127.5 - 1
