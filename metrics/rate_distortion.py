"""What a difference between two codecs is worth: intervals over the items that both were judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import UsageError


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that it lies in."""

    mean: float
    low: float
    high: float


def bootstrap_mean(values: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """The mean of paired differences, one per item, with the percentile bootstrap interval (Efron 1979) over items drawn with replacement.

    Raises UsageError without values.
    """
    if not len(values):
        raise UsageError("an interval needs at least one value, found none")
    array = np.asarray(values, np.float64)
    drawn = array[np.random.default_rng(seed).integers(0, len(array), (resamples, len(array)))].mean(1)
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(array.mean()), float(low), float(high))
