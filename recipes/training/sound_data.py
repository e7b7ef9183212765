"""Random crops of a folder of sound files, as a pure function of (seed, sample number), like those of pictures in `data.py`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.files import list_sounds
from smalti.recipes.training.config import SoundConfig, SoundDataConfig
from smalti.recipes.training.data import Crops, split_files
from smalti.tokenizers.audio.sounds import to_network
from smalti.tokenizers.errors import UsageError


def split(config: SoundDataConfig) -> tuple[list[Path], list[Path]]:
    """(training files, held-out files) of a folder, by name."""
    if not config.folder:
        raise UsageError("say where the sound files are: data=DIR")
    return split_files(list_sounds(Path(config.folder)), config, "sound files")


def sound_crops(files: list[Path], config: SoundDataConfig, tokenizer: SoundConfig, seed: int) -> Crops:
    """float32 (crop,) at the tokenizer's rate: a random place and gain each; of stereo files mid or side."""
    return Crops(files, seed, partial(_cut, config=config, rate=tokenizer.rate))


def _cut(path: Path, random: np.random.Generator, config: SoundDataConfig, rate: int) -> np.ndarray:
    return random_crop(to_network(read_audio(path), rate, 1), config, random)


def random_crop(channels: np.ndarray, config: SoundDataConfig, random: np.random.Generator) -> np.ndarray:
    """float32 (crop,) of one of the channels (C, T); a shorter sound is followed by silence."""
    channel = channels[random.integers(len(channels))]
    start = int(random.integers(max(0, len(channel) - config.crop) + 1))
    gain = 10 ** (random.uniform(config.quietest_db, 0) / 20)
    found = np.zeros(config.crop, np.float32)
    part = channel[start : start + config.crop]
    found[: len(part)] = part * np.float32(gain)
    return found


def to_waves(crops: np.ndarray) -> torch.Tensor:
    """float32 (B, crop) -> (B, 1, crop)."""
    return torch.from_numpy(crops)[:, None]
