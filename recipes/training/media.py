"""What the loop needs of a medium, pictures, films or sounds: its files, its crops, its loss, and how held-out files are judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from smalti.codecs.media.images import write_image
from smalti.metrics.registry import resolve
from smalti.recipes.training import data, film_data, film_holdout, holdout, sound_data, sound_holdout
from smalti.recipes.training.adversary import Adversary
from smalti.recipes.training.config import TrainingConfig
from smalti.recipes.training.data import Sample
from smalti.recipes.training.film_losses import FilmLoss
from smalti.recipes.training.holdout import SCORED_SIDE, Seen
from smalti.recipes.training.losses import PictureLoss
from smalti.recipes.training.sound_adversary import SoundAdversary
from smalti.recipes.training.sound_losses import SoundLoss


@dataclass(frozen=True)
class Medium:
    """split: (training files, held-out files) of a data config. crops: an endless data set. to_tensor: of stacked crops, the network's
    input.

    loss: terms by name of (signals, reconstruction, quantized, progress). adversary: discriminators with their
    optimizer. judge: scores by name of a tokenizer on held-out files; what is to be looked at or listened to goes into the run's folder,
    named by the step. limits: what is logged beside scores.
    """

    split: Callable[[Any], tuple[list[Path], list[Path]]]
    crops: Callable[[list[Path], TrainingConfig], Dataset[Sample]]
    to_tensor: Callable[[np.ndarray], Tensor]
    loss: Callable[[TrainingConfig], nn.Module]
    adversary: Callable[[TrainingConfig, Accelerator], Any]
    judge: Callable[[Any, TrainingConfig, list[Path], Path, int], Seen]
    limits: dict[str, int]


def _picture_crops(files: list[Path], config: TrainingConfig) -> Dataset[Sample]:
    return data.picture_crops(files, config.data, config.seed)  # type: ignore[arg-type]


def _judge_pictures(tokenizer: Any, config: TrainingConfig, files: list[Path], folder: Path, step: int) -> Seen:
    found = holdout.measure(tokenizer, files, [resolve(name, str(tokenizer.device)) for name in _judges(config)])
    if found.sheet is not None:
        write_image(found.sheet, folder / f"sheet-{step:06d}.png")
    return Seen(found.scores, found.skipped)


def _film_crops(files: list[Path], config: TrainingConfig) -> Dataset[Sample]:
    return film_data.film_crops(files, config.data, config.batch, config.seed)  # type: ignore[arg-type]


def _judge_films(tokenizer: Any, config: TrainingConfig, files: list[Path], folder: Path, step: int) -> Seen:
    judges = [resolve(name, str(tokenizer.device)) for name in _judges(config)]
    return film_holdout.measure(tokenizer, files, judges, folder / f"sheet-{step:06d}.png")


def _judges(config: TrainingConfig) -> tuple[str, ...]:
    return ("psnr", *(["lpips-alex"] if config.loss.lpips_alex else []))  # type: ignore[union-attr]


def _sound_crops(files: list[Path], config: TrainingConfig) -> Dataset[Sample]:
    return sound_data.sound_crops(files, config.data, config.tokenizer, config.seed)  # type: ignore[arg-type]


def _sound_loss(config: TrainingConfig) -> nn.Module:
    return SoundLoss(config.loss, config.tokenizer.rate)  # type: ignore[arg-type, union-attr]


def _judge_sounds(tokenizer: Any, config: TrainingConfig, files: list[Path], folder: Path, step: int) -> Seen:
    return sound_holdout.measure(tokenizer, tokenizer.config.rate, files, folder / f"listen-{step:06d}.wav")


PICTURES = Medium(
    data.split,
    _picture_crops,
    data.to_pixels,
    lambda config: PictureLoss(config.loss),  # type: ignore[arg-type]
    lambda config, accelerator: Adversary(config.adversary, accelerator),  # type: ignore[arg-type]
    _judge_pictures,
    {"holdout_largest_side": SCORED_SIDE},
)
FILMS = Medium(
    film_data.split,
    _film_crops,
    film_data.to_films,
    lambda config: FilmLoss(config.loss),  # type: ignore[arg-type]
    PICTURES.adversary,
    _judge_films,
    {"holdout_first_frames": film_holdout.SCORED_FRAMES},
)
SOUNDS = Medium(
    sound_data.split,
    _sound_crops,
    sound_data.to_waves,
    _sound_loss,
    lambda config, accelerator: SoundAdversary(config.adversary, accelerator),  # type: ignore[arg-type]
    _judge_sounds,
    {"holdout_largest_seconds": sound_holdout.SCORED_SECONDS},
)


def of(config: TrainingConfig) -> Medium:
    """The medium of a run."""
    return {"sounds": SOUNDS, "films": FILMS}.get(config.data.kind, PICTURES)
