"""What tokens say without being decoded: a linear probe on how often each is used.

A classifier that reads tokens needs no decoder, no pixels and no samples; how much of a class is in their histogram is the least that such
a reader can do, since it sees no order. Features of an item are, for each stage, the roots of the shares of its entries (so that distances
are Hellinger's), the stages one behind the other; entries that no item learned from uses are left out. Tokens that stages lack (a prefix,
absent regions) count for nothing. The probe, its parts and its protocols are those of `probes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.metrics.machine.probes import outcomes, split
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.tokens import Tokens

Array = np.ndarray
Entry = tuple[int, int]  # stage, number
MOST_ENTRIES = 2**14  # columns; where more are used, the most used


class TokenProbe:
    """Share of items that a probe on token histograms classifies right, in [0, 1]."""

    name = "token-probe"

    def __init__(self, labels: Sequence[int], groups: Sequence[str] | None = None, seed: int = 0) -> None:
        """labels, groups: one for each item in order; UsageError as in `probes.split`."""
        self.split = split(labels, groups, seed)

    def __call__(self, tokens: Sequence[Tokens], learned: Sequence[Tokens] | None = None) -> Score:
        """tokens: of each item. learned: those that the probe learns from, by default the same; all stages, say, of tokens cut short."""
        scored = (self.split.part >= 0).sum()
        meaning = f"logistic regression on token histograms, {self.split.classes} classes, {scored} items"
        return Score(float(np.nanmean(self.per_item(tokens, learned))), "", "higher", meaning)

    def per_item(self, tokens: Sequence[Tokens], learned: Sequence[Tokens] | None = None) -> Array:
        """1 where it is right, else 0, NaN where the class is too small to split; float64 (N,)."""
        sides = [tokens if learned is None else learned, tokens]
        for side in sides:
            if len(side) != len(self.split.labels):
                raise SignalError(f"tokens of {len(side)} items for {len(self.split.labels)} labels; give one label for each")
        columns = entries(sides[0])
        return outcomes(self.split, *(histograms(side, columns) for side in sides))


def entries(tokens: Sequence[Tokens]) -> list[Entry]:
    """What occurs in these tokens, in order; where that is more than `MOST_ENTRIES`, what occurs most."""
    found: dict[Entry, int] = {}
    for item in tokens:
        for stage in range(len(item.arrays)):
            for number, count in zip(*np.unique(_held(item, stage), return_counts=True), strict=True):
                found[stage, int(number)] = found.get((stage, int(number)), 0) + int(count)
    if not found:
        raise UsageError("no token to learn from; give items that have some")
    return sorted(sorted(found, key=lambda entry: (-found[entry], entry))[:MOST_ENTRIES])


def histograms(tokens: Sequence[Tokens], columns: Sequence[Entry]) -> Array:
    """float64 (N, len(columns)): roots of the shares of each stage's tokens."""
    place = {entry: column for column, entry in enumerate(columns)}
    found = np.zeros((len(tokens), len(columns)))
    for row, item in zip(found, tokens, strict=True):
        for stage in range(len(item.arrays)):
            held = _held(item, stage)
            for number, count in zip(*np.unique(held, return_counts=True), strict=True):
                if (column := place.get((stage, int(number)))) is not None:
                    row[column] = np.sqrt(count / held.size)
    return found


def _held(item: Tokens, stage: int) -> Array:
    """The numbers of a stage that are there."""
    present, array = item.present[stage], item.arrays[stage]
    return array.ravel() if present is None else array[np.broadcast_to(present, array.shape)]
