"""Random crops of a folder of sound files, as a pure function of (seed, sample number), like those of pictures in `data.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.files import list_sounds
from smalti.recipes.training.config import SoundConfig, SoundDataConfig
from smalti.recipes.training.data import Crops, split_files
from smalti.tokenizers.audio.sounds import to_network
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Audio

KEPT_BYTES = 2**29  # of sounds, in each worker process: 2.3 hours at 16 kHz


def split(config: SoundDataConfig) -> tuple[list[Path], list[Path]]:
    """(training files, held-out files) of a folder, by name."""
    if not config.folder:
        raise UsageError("say where the sound files are: data=DIR")
    return split_files(list_sounds(Path(config.folder)), config, "sound files")


def sound_crops(files: list[Path], config: SoundDataConfig, tokenizer: SoundConfig, seed: int) -> Crops:
    """float32 (crop,) at the tokenizer's rate: a random place and gain each; of stereo files mid or side."""
    return Crops(files, seed, Cutter(config, tokenizer.rate))


class Cutter:
    """Cuts crops. What it has decoded and resampled stays in memory up to a limit: a crop is a hundredth of that work."""

    def __init__(self, config: SoundDataConfig, rate: int) -> None:
        self.config, self.rate = config, rate
        self._kept: dict[tuple[Path, float], np.ndarray] = {}
        self._left = KEPT_BYTES

    def __call__(self, path: Path, random: np.random.Generator) -> np.ndarray:
        speeds = self.config.speeds
        speed = speeds[random.integers(len(speeds))] if len(speeds) > 1 else speeds[0]  # crops of one speed stay those of earlier runs
        return random_crop(self._channels(path, speed), self.config, random)

    def _channels(self, path: Path, speed: float) -> np.ndarray:
        if (path, speed) in self._kept:
            return self._kept[path, speed]
        audio = read_audio(path)
        channels = to_network(Audio(audio.samples, max(1, round(audio.rate * speed))), self.rate, 1)
        if channels.nbytes <= self._left:
            self._kept[path, speed] = channels
            self._left -= channels.nbytes
        return channels


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
