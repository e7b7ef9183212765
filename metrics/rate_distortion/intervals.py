"""Bootstrap intervals (Efron 1979) over items: percentiles of what a statistic would be on items drawn with replacement."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import UsageError

Array = np.ndarray


@dataclass(frozen=True)
class Interval:
    """A mean and the interval that it lies in."""

    mean: float
    low: float
    high: float


def bootstrap_mean(values: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """The mean of paired differences, one per item, with the percentile bootstrap interval over items drawn with replacement.

    Raises UsageError without values.
    """
    if not len(values):
        raise UsageError("an interval needs at least one value, found none")
    array = np.asarray(values, np.float64)
    drawn = array[np.random.default_rng(seed).integers(0, len(array), (resamples, len(array)))].mean(1)
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(array.mean()), float(low), float(high))


@functools.lru_cache(maxsize=16)
def draws(items: int, resamples: int, seed: int) -> Array:
    """How often each item is in each replicate: float64 (resamples, items), rows sum to `items`; the same for equal arguments."""
    counts = np.random.default_rng(seed).multinomial(items, np.full(items, 1 / items), resamples).astype(np.float64)
    counts.flags.writeable = False
    return counts


def item_order(*rows: Array) -> Array:
    """An order of items, the last axis of all rows, that does not depend on the order they came in: by their numbers.

    With it, draws and rounding are the same however items were listed.
    """
    return np.lexsort(np.concatenate([np.atleast_2d(row) for row in rows]))


def percentiles(values: Array, level: float) -> tuple[float, float]:
    """The interval that holds the middle `level` of the values (N,)."""
    low, high = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
