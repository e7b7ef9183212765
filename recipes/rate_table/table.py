"""From files and scores to rows: means at a rate, differences with intervals, and the Markdown that people read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from smalti.metrics.rate_distortion import Interval, bootstrap_mean
from smalti.recipes.rate_table.ledger import Entry
from smalti.recipes.rate_table.rivals import Answer

TITLES = {"psnr": "PSNR, dB", "lpips-alex": "LPIPS AlexNet", "lpips-vgg": "LPIPS VGG"}


@dataclass(frozen=True)
class Row:
    """A codec at a rate: means over the pictures on which it fits.

    rate: bits per pixel that were allowed, over all pictures. bits_per_pixel: what was spent; for a rival, by the files that the metric
    `spent_by` chose. fits: pictures with a file small enough; smallest: bits per pixel of the smallest files of all pictures.
    differences: of this row's scores from those of the model whose bytes were allowed, on the same pictures. settings: by metric, how
    often each was chosen.
    """

    rate: float
    codec: str
    fits: int
    pictures: int
    bits_per_pixel: float
    scores: dict[str, float]
    spent_by: str = ""
    smallest: float = 0.0
    differences: dict[str, Interval] = field(default_factory=dict)
    settings: dict[str, dict[str, int]] = field(default_factory=dict)


def own_row(codec: str, entries: Sequence[Entry], pixels: Sequence[int]) -> Row:
    """The row of a model at one number of stages."""
    rate = 8 * sum(entry.bytes or 0 for entry in entries) / sum(pixels)
    scores = {name: _mean([entry.scores[name] for entry in entries]) for name in entries[0].scores}
    return Row(rate, codec, len(entries), len(entries), rate, scores)


def rival_row(
    rate: float, codec: str, answers: Sequence[Answer], pixels: Sequence[int], metrics: Sequence[str], ours: Sequence[Entry] = ()
) -> Row:
    """The row of a rival; each metric has its own best files.

    ours: the files whose bytes were allowed, to be compared with by 95 % bootstrap intervals.
    """
    fitting = [i for i, answer in enumerate(answers) if answer.chosen]
    spent_by = next((name for name in metrics if name.startswith("lpips")), metrics[0])
    smallest = 8 * sum(answer.smallest for answer in answers) / sum(pixels)
    if not fitting:
        return Row(rate, codec, 0, len(answers), 0.0, {}, smallest=smallest)
    chosen = {name: [answers[i].chosen[name] for i in fitting] for name in metrics}
    spent = 8 * sum(file.bytes for file in chosen[spent_by]) / sum(pixels[i] for i in fitting)
    scores = {name: _mean([file.score for file in files]) for name, files in chosen.items()}
    differences = {}
    if ours:
        pairs = {name: [answers[i].chosen[name].score - ours[i].scores[name] for i in fitting] for name in metrics}
        differences = {name: bootstrap_mean(values) for name, values in pairs.items() if all(map(math.isfinite, values))}
    settings = {name: dict(Counter(file.setting for file in files).most_common()) for name, files in chosen.items()}
    return Row(rate, codec, len(fitting), len(answers), spent, scores, spent_by, smallest, differences, settings)


def markdown(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """The table; in brackets the difference from the model of that rate, with its interval."""
    lines = [f"| bits per pixel | codec | {' | '.join(TITLES.get(name, name) for name in metrics)} |", "|---" * (2 + len(metrics)) + "|"]
    for row in rows:
        if not row.fits:
            cells = [f"none fits; its smallest files have {row.smallest:.4f}", *[""] * (len(metrics) - 1)]
            lines.append(f"| | {row.codec} | {' | '.join(cells)} |")
            continue
        some = "" if row.fits == row.pictures else f" ({row.fits} of {row.pictures} pictures; the others do not fit)"
        cells = [_number(name, row.scores[name]) + _difference(name, row.differences.get(name)) for name in metrics]
        lines.append(f"| {row.bits_per_pixel:.4f} | {row.codec}{some} | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_json(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    """The same as plain values; names: the pictures'."""
    return {"pictures": list(names), "rows": [asdict(row) for row in rows]}


def _number(metric: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.2f}" if metric == "psnr" else f"{value:{sign}.3f}"


def _difference(metric: str, interval: Interval | None) -> str:
    if interval is None:
        return ""
    mean, low, high = (_number(metric, value, "+") for value in (interval.mean, interval.low, interval.high))
    return f" ({mean}, {low} to {high})"


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
