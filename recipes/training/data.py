"""Random crops of a folder of pictures, as a pure function of (seed, sample number): any run resumes at any step with the same data.

Pictures are decoded and cropped in worker processes. A file that cannot be read is replaced by the next one in order, named once
and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from smalti.codecs.media.files import list_images
from smalti.codecs.media.images import read_image
from smalti.recipes.training.config import DataConfig, FilmDataConfig, SoundDataConfig
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Image

TRIES = 8  # unreadable files in a row before a run gives up

# a uint8 (crop, crop, 3), None where `TRIES` files in a row cannot be read, and one line per file that was skipped
Sample = tuple[np.ndarray | None, tuple[str, ...]]


@dataclass(frozen=True)
class Batch:
    """signals: float32 (B, 3, crop, crop), or (B, 1, crop) of sounds, in [-1, 1]. skipped: one line per unreadable file met on the way.

    failure: why the batch could not be filled; there are no signals then. An error raised in a worker process would reach the main
    one as a whole traceback.
    """

    signals: torch.Tensor
    skipped: tuple[str, ...]
    failure: str = ""

    def pin_memory(self) -> Batch:
        return Batch(self.signals.pin_memory(), self.skipped, self.failure)


def split(config: DataConfig) -> tuple[list[Path], list[Path]]:
    """(training files, held-out files) of a folder, by name."""
    if not config.folder:
        raise UsageError("say where the pictures are: data=DIR")
    return split_files(list_images(Path(config.folder)), config, "pictures")


def split_files(files: list[Path], config: DataConfig | SoundDataConfig | FilmDataConfig, what: str) -> tuple[list[Path], list[Path]]:
    """(training files, held-out files); UsageError where there are too few."""
    if len(files) < config.holdout + 1:
        raise UsageError(
            f"{config.folder}: {len(files)} {what}, at least {config.holdout + 1} are needed: "
            f"{config.holdout} are kept for evaluation (data.holdout)"
        )
    return files[: -config.holdout], files[-config.holdout :]


class Crops(Dataset[Sample]):
    """Sample n of an endless sequence of crops: epochs in random order. cut: makes a crop of a file, with random numbers of its own."""

    def __init__(self, files: list[Path], seed: int, cut: Callable[[Path, np.random.Generator], np.ndarray]) -> None:
        self.files, self.seed, self.cut = files, seed, cut

    def __getitem__(self, sample: int) -> Sample:
        epoch, place = divmod(sample, len(self.files))
        order = np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.files))
        random = np.random.default_rng((self.seed, 1, sample))
        skipped: list[str] = []
        for attempt in range(min(TRIES, len(self.files))):
            path = self.files[order[(place + attempt) % len(self.files)]]
            try:
                return self.cut(path, random), tuple(skipped)
            except SignalError as error:
                skipped.append(str(error))
        return None, tuple(skipped)


def picture_crops(files: list[Path], config: DataConfig, seed: int) -> Crops:
    """uint8 (crop, crop, 3): a random place, scale and mirroring each."""
    return Crops(files, seed, partial(_cut_picture, config=config))


def _cut_picture(path: Path, random: np.random.Generator, config: DataConfig) -> np.ndarray:
    return random_crop(read_image(path).pixels, config, random)


def random_crop(pixels: np.ndarray, config: DataConfig, random: np.random.Generator) -> np.ndarray:
    """uint8 (crop, crop, 3): a square of the picture at a random scale, perhaps mirrored."""
    height, width = pixels.shape[:2]
    scale = float(np.exp(random.uniform(np.log(config.smallest_scale), np.log(config.largest_scale))))
    side = max(1, min(round(config.crop / scale), height, width))
    top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
    square = Image(pixels[top : top + side, left : left + side]).eight_bits
    if side != config.crop:
        resized = PIL.Image.fromarray(np.ascontiguousarray(square)).resize((config.crop, config.crop), PIL.Image.Resampling.BICUBIC)
        square = np.asarray(resized)
    return np.ascontiguousarray(square[:, ::-1] if random.random() < 0.5 else square)


class StepSampler(Sampler[list[int]]):
    """Sample numbers of each step from `start` to `stop` for one of several processes."""

    def __init__(self, start: int, stop: int, batch: int, process: int = 0, processes: int = 1) -> None:
        self.start, self.stop, self.batch, self.process, self.processes = start, stop, batch, process, processes

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            first = (step * self.processes + self.process) * self.batch
            yield list(range(first, first + self.batch))

    def __len__(self) -> int:
        return max(0, self.stop - self.start)


def loader(
    crops: Dataset[Sample], sampler: StepSampler, workers: int, pin_memory: bool, to_tensor: Callable[[np.ndarray], torch.Tensor]
) -> DataLoader[Sample]:
    """Batches in step order, decoded ahead by worker processes. to_tensor: makes signals of the stacked crops."""
    return DataLoader(
        crops,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=partial(collate, to_tensor=to_tensor),
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # its own: a draw from the global one at every start would change what a resumed run does
    )


def collate(samples: list[Sample], to_tensor: Callable[[np.ndarray], torch.Tensor]) -> Batch:
    """Samples of one data set to a `Batch`."""
    skipped = tuple(line for _, lines in samples for line in lines)
    crops = [crop for crop, _ in samples if crop is not None]
    failed = [lines for crop, lines in samples if crop is None]
    if failed:
        why = f"{len(failed[0])} files in a row cannot be used, the last: {failed[0][-1]}"
        return Batch(torch.empty(0), skipped, why)
    return Batch(to_tensor(np.stack(crops)), skipped)


def to_pixels(crops: np.ndarray) -> torch.Tensor:
    """uint8 (B, crop, crop, 3) -> float32 (B, 3, crop, crop) in [-1, 1]."""
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last)
