"""Random crops of a folder of films, and of pictures among them, as a pure function of (seed, sample number), like those in `data.py`.

Every `stills_every`-th step is of pictures, which are films of one frame: a batch has one length, so kinds take turns by step.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch.utils.data import Dataset

from smalti.codecs.media.files import list_images
from smalti.codecs.media.images import read_image
from smalti.recipes.training.config import DataConfig, FilmDataConfig
from smalti.recipes.training.data import Crops, Sample, random_crop, split_files
from smalti.tokenizers.errors import SignalError, UsageError

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
KEPT_BYTES = 2**30  # of decoded films, in each worker process: twenty minutes of 192 x 144 pixels at 10 frames a second


def split(config: FilmDataConfig) -> tuple[list[Path], list[Path]]:
    """(training films, held-out films) of a folder, by name."""
    if not config.folder:
        raise UsageError("say where the films are: data=DIR")
    return split_files(list_films(Path(config.folder)), config, "films")


def list_films(folder: Path) -> list[Path]:
    """Files below a folder that are named as films are, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def read_frames(path: Path, most: int | None = None) -> np.ndarray:
    """uint8 (T, H, W, 3), the first `most` frames; SignalError where the file cannot be read."""
    try:
        import av
    except ImportError:
        raise UsageError("training on films needs PyAV: pip install av") from None
    frames = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                frames.append(frame.to_ndarray(format="rgb24"))
                if len(frames) == most:
                    break
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        raise SignalError(f"{path}: not readable as a film: {error}") from None
    if not frames or any(frame.shape != frames[0].shape for frame in frames):
        raise SignalError(f"{path}: {len(frames)} frames of {len({frame.shape for frame in frames})} sizes; one size is needed")
    return np.stack(frames)


class FilmCrops(Dataset[Sample]):
    """Samples of films, and in every `stills_every`-th batch of pictures where there are any."""

    def __init__(self, films: Crops, stills: Crops | None, stills_every: int, batch: int) -> None:
        self.films, self.stills, self.stills_every, self.batch = films, stills, stills_every, batch

    def __getitem__(self, sample: int) -> Sample:
        still = self.stills is not None and (sample // self.batch) % self.stills_every == self.stills_every - 1
        return (self.stills if still and self.stills is not None else self.films)[sample]


def film_crops(files: list[Path], config: FilmDataConfig, batch: int, seed: int) -> FilmCrops:
    """uint8 (frames, crop, crop, 3): a random place in time and space, scale, pace and mirroring each; of pictures one frame."""
    scaled = DataConfig(crop=config.crop, smallest_scale=config.smallest_scale, largest_scale=config.largest_scale, holdout=config.holdout)
    pictures = list_images(Path(config.pictures)) if config.pictures else []
    stills = Crops(pictures, seed, partial(_cut_still, config=scaled)) if pictures else None
    return FilmCrops(Crops(files, seed, Cutter(config)), stills, config.stills_every, batch)


def _cut_still(path: Path, random: np.random.Generator, config: DataConfig) -> np.ndarray:
    return random_crop(read_image(path).pixels, config, random)[None]


class Cutter:
    """Cuts crops. What it has decoded stays in memory up to a limit."""

    def __init__(self, config: FilmDataConfig) -> None:
        self.config = config
        self._kept: dict[Path, np.ndarray] = {}
        self._left = KEPT_BYTES

    def __call__(self, path: Path, random: np.random.Generator) -> np.ndarray:
        return cut_film(self._frames(path), self.config, random)

    def _frames(self, path: Path) -> np.ndarray:
        if path in self._kept:
            return self._kept[path]
        frames = read_frames(path)
        if frames.nbytes <= self._left:
            self._kept[path] = frames
            self._left -= frames.nbytes
        return frames


def cut_film(film: np.ndarray, config: FilmDataConfig, random: np.random.Generator) -> np.ndarray:
    """uint8 (frames, crop, crop, 3) of a film (T, H, W, 3), whose last frame is repeated where it is too short."""
    height, width = film.shape[1:3]
    pace = int(random.integers(1, config.fastest + 1))
    start = int(random.integers(max(0, len(film) - 1 - (config.frames - 1) * pace) + 1))
    places = np.minimum(start + pace * np.arange(config.frames), len(film) - 1)
    scale = float(np.exp(random.uniform(np.log(config.smallest_scale), np.log(config.largest_scale))))
    side = max(1, min(round(config.crop / scale), height, width))
    top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
    part = film[places, top : top + side, left : left + side]
    if side != config.crop:
        size = (config.crop, config.crop)
        part = np.stack([np.asarray(PIL.Image.fromarray(frame).resize(size, PIL.Image.Resampling.BICUBIC)) for frame in part])
    return np.ascontiguousarray(part[:, :, ::-1] if random.random() < 0.5 else part)


def to_films(crops: np.ndarray) -> torch.Tensor:
    """uint8 (B, T, crop, crop, 3) -> float32 (B, 3, T, crop, crop) in [-1, 1]."""
    return torch.from_numpy(crops).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
