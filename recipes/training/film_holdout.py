"""What a run on films is judged by while it trains: the first frames of each held-out film, at every prefix of its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from smalti.codecs.media.images import write_image
from smalti.recipes.training.film_data import read_frames
from smalti.recipes.training.holdout import SHEET_ROWS, Seen
from smalti.recipes.training.sheet import side_by_side
from smalti.tokenizers.contracts import Metric, Tokenizer
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Image, Video

SCORED_FRAMES = 13
SHOWN = (0, 2, 4)  # frames of a film on a sheet: a key, between two, a key


def measure(tokenizer: Tokenizer, files: Sequence[Path], judges: Sequence[Metric], sheet: Path) -> Seen:
    """Means over frames and films by "METRIC_STAGES"; the sheet has a row per film: frames, then the same drawn from all stages."""
    values: dict[str, list[float]] = {}
    rows: list[list[Image]] = []
    skipped: list[str] = []
    for path in files:
        try:
            frames = [Image(frame) for frame in read_frames(path, SCORED_FRAMES)]
        except SignalError as error:
            skipped.append(str(error))
            continue
        (tokens,) = tokenizer.encode([Video([frame.pixels for frame in frames], Fraction(25))])
        drawn: list[Image] = []
        for cut in tokens.layout.cuts:
            (film,) = tokenizer.decode([tokens.prefix(cut)])
            assert isinstance(film, Video)
            drawn = [Image(frame) for frame in film.frames]
            for judge in judges:
                found = [judge(reference, image).value for reference, image in zip(frames, drawn, strict=True)]
                values.setdefault(f"{judge.name}_{cut}", []).append(math.fsum(found) / len(found))
        if len(rows) < SHEET_ROWS:
            rows.append([images[place] for images in (frames, drawn) for place in SHOWN if place < len(images)])
    if rows:
        write_image(side_by_side(rows), sheet)
    return Seen({name: math.fsum(found) / len(found) for name, found in values.items()}, tuple(skipped))
