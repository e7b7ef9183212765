"""Do two judges rank codecs alike: Spearman's rank correlation over all codecs and rates, with an interval.

The second finding of "Machine Perceptual Quality" (arXiv 2401.07957) is that what machines lose follows deep similarity (LPIPS) rather
than PSNR. It is given there without an interval; this one is by bootstrap. Where both judges have a number for each item, items are
drawn, the same for all points, and means are ranked anew: what other items would have said of these codecs. Without, the points
themselves are drawn: what other codecs would have said, as if points were independent, which settings of one codec are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti.metrics.rate_distortion.bootstrap import RESAMPLES
from smalti.metrics.rate_distortion.curves import sign_of
from smalti.metrics.rate_distortion.intervals import draws, item_order, percentiles
from smalti.tokenizers.errors import UsageError

Array = np.ndarray
LEAST_POINTS = 3


@dataclass(frozen=True)
class Correlation:
    """spearman: in [-1, 1], None where one side is constant or there are fewer than three points. low, high: its interval, None where
    one side is constant on more than a few replicates. points: how many were ranked. over: what was drawn, "items" or "points"."""

    spearman: float | None
    low: float | None
    high: float | None
    points: int
    over: str


def spearman_interval(
    x: Array,
    y: Array,
    better: tuple[str, str] = ("higher", "higher"),
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Correlation:
    """Rank correlation of two judges.

    x, y: float64 (points,), a point being a codec at a setting, or (points, items); NaN where one has no number: the item, or of (points,)
    the point, is left out. better: direction of each, so that 1 means that both call the same codecs good whichever way their numbers run.
    UsageError for other shapes.
    """
    x, y = sign_of(better[0]) * np.asarray(x, np.float64), sign_of(better[1]) * np.asarray(y, np.float64)
    if x.shape != y.shape or x.ndim not in (1, 2):
        raise UsageError(f"both judges have (points,) or (points, items) of one size, found {x.shape} and {y.shape}")
    over = "items" if x.ndim == 2 else "points"
    usable = ~(np.isnan(x) | np.isnan(y))
    if x.ndim == 2:
        x, y = x[:, usable.all(0)], y[:, usable.all(0)]
        if not x.size:
            return Correlation(None, None, None, len(x), over)
        order = item_order(x, y)
        x, y = x[:, order], y[:, order]
        means = x.mean(1), y.mean(1)
        counts = draws(x.shape[1], resamples, seed)
        drawn = counts @ x.T / x.shape[1], counts @ y.T / x.shape[1]
    else:
        x, y = x[usable], y[usable]
        means = x, y
        if not len(x):
            return Correlation(None, None, None, 0, over)
        chosen = np.random.default_rng(seed).integers(0, len(x), (resamples, len(x)))
        drawn = x[chosen], y[chosen]
    if len(x) < LEAST_POINTS:
        return Correlation(None, None, None, len(x), over)
    value, replicates = float(_spearman(means[0][None], means[1][None])[0]), _spearman(*drawn)
    if np.isnan(value):
        return Correlation(None, None, None, len(x), over)
    defined = np.isfinite(replicates)
    # replicates on which one side is constant could lie anywhere: with many of them percentiles say nothing
    low, high = percentiles(replicates[defined], level) if (~defined).mean() <= (1 - level) / 2 else (None, None)
    return Correlation(value, low, high, len(x), over)


def _spearman(x: Array, y: Array) -> Array:
    """Of each row of (R, points); NaN where one is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(side, axis=1) for side in (x, y))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1)))
