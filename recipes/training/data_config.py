"""What a run is trained on: a folder of pictures, of sounds or of films, and how crops are taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from smalti.tokenizers.errors import UsageError


def need(condition: bool, rule: str, found: Any) -> None:
    """UsageError that says what a recipe needs and has not."""
    if not condition:
        raise UsageError(f"{rule} is needed, found {found!r}; change that key of the recipe")


@dataclass(frozen=True)
class DataConfig:
    """folder: pictures, searched recursively. crop: side in pixels. holdout: how many files, last by name, are only evaluated on.

    Crops are taken at a random scale in [smallest_scale, largest_scale] of the source; below 1 shrinks it. workers: decoding processes.
    """

    kind: ClassVar[str] = "pictures"
    folder: str = ""
    crop: int = 128
    smallest_scale: float = 0.75
    largest_scale: float = 2.0
    holdout: int = 16
    workers: int = 1

    def __post_init__(self) -> None:
        need(self.crop >= 16, "data.crop >= 16", self.crop)
        scales = (self.smallest_scale, self.largest_scale)
        need(0 < scales[0] <= scales[1] < math.inf, "0 < data.smallest_scale <= data.largest_scale", scales)
        need(self.holdout >= 1, "data.holdout >= 1", self.holdout)
        need(self.workers >= 0, "data.workers >= 0", self.workers)


@dataclass(frozen=True)
class SoundDataConfig:
    """folder: sound files, searched recursively. crop: samples at the tokenizer's rate. holdout: how many files, last by name, are only
    evaluated on.

    Each crop is made quieter by a random gain between quietest_db and 0. speeds: what its file is played at, each as likely; pitch goes
    with it. workers: decoding processes.
    """

    kind: ClassVar[str] = "sounds"
    folder: str = ""
    crop: int = 16000
    quietest_db: float = -12.0
    speeds: tuple[float, ...] = (1.0,)
    holdout: int = 8
    workers: int = 1

    def __post_init__(self) -> None:
        need(self.crop >= 1, "data.crop >= 1", self.crop)
        need(-100 <= self.quietest_db <= 0, "-100 <= data.quietest_db <= 0", self.quietest_db)
        need(bool(self.speeds) and all(0.25 <= speed <= 4 for speed in self.speeds), "data.speeds within 0.25 and 4", self.speeds)
        need(self.holdout >= 1, "data.holdout >= 1", self.holdout)
        need(self.workers >= 0, "data.workers >= 0", self.workers)


@dataclass(frozen=True)
class FilmDataConfig:
    """folder: films, searched recursively. pictures: a folder of pictures, of which every `stills_every`-th step is made; "" for none.

    frames: of a crop, one more than whole groups of the tokenizer. crop: side in pixels. fastest: crops take every first to so-many-th
    frame. holdout: how many films, last by name, are only evaluated on. Scales and workers as in `DataConfig`.
    """

    kind: ClassVar[str] = "films"
    folder: str = ""
    pictures: str = ""
    stills_every: int = 4
    frames: int = 5
    crop: int = 128
    fastest: int = 2
    smallest_scale: float = 0.75
    largest_scale: float = 1.5
    holdout: int = 6
    workers: int = 1

    def __post_init__(self) -> None:
        scales = (self.smallest_scale, self.largest_scale)
        need(0 < scales[0] <= scales[1] < math.inf, "0 < data.smallest_scale <= data.largest_scale", scales)
        for name, least in (("stills_every", 1), ("frames", 1), ("crop", 16), ("fastest", 1), ("holdout", 1), ("workers", 0)):
            need(getattr(self, name) >= least, f"data.{name} >= {least}", getattr(self, name))
