"""What a run is judged by while it trains: the middle of each held-out picture, so that large ones bound neither time nor memory.

Scores are of at most 1024 x 1024 pixels of a picture, sheets show at most 512 x 512; `release` and `smalti evaluate` see whole pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smalti.codecs.media.images import read_image
from smalti.recipes.training.sheet import sheet, shown_cuts
from smalti.tokenizers.contracts import Metric, Tokenizer
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Image

SCORED_SIDE = 1024
SHEET_SIDE = 512
SHEET_ROWS = 6


@dataclass(frozen=True)
class Seen:
    """scores: means over files by "METRIC_STAGES", empty where none can be read. skipped: a line per unreadable file."""

    scores: dict[str, float]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Holdout:
    """scores: means over pictures by "METRIC_STAGES". sheet: None where no picture can be read. skipped: a line per unreadable file."""

    scores: dict[str, float]
    sheet: Image | None
    skipped: tuple[str, ...]


def measure(tokenizer: Tokenizer, files: Sequence[Path], judges: Sequence[Metric]) -> Holdout:
    """Judge the middles of pictures at every decodable prefix (of many, at doubled lengths), one picture at a time."""
    values: dict[str, list[float]] = {}
    shown: list[Image] = []
    skipped: list[str] = []
    for path in files:
        try:
            image = middle(read_image(path), SCORED_SIDE)
        except SignalError as error:
            skipped.append(str(error))
            continue
        shown += [middle(image, SHEET_SIDE)] if len(shown) < SHEET_ROWS else []
        (tokens,) = tokenizer.encode([image])
        for cut in shown_cuts(tokens.layout.cuts):
            (decoded,) = tokenizer.decode([tokens.prefix(cut)])
            for judge in judges:
                values.setdefault(f"{judge.name}_{cut}", []).append(judge(image, decoded).value)
    scores = {name: math.fsum(found) / len(found) for name, found in values.items()}
    return Holdout(scores, sheet(tokenizer, shown) if shown else None, tuple(skipped))


def middle(image: Image, side: int) -> Image:
    """The middle of a picture, at most `side` pixels high and wide."""
    top, left = (max(0, (size - side) // 2) for size in (image.height, image.width))
    return Image(image.pixels[top : top + side, left : left + side], image.notes)
