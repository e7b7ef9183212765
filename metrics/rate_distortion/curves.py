"""Many curves of log rate over quality at once: sorted, made monotone, interpolated, integrated.

A curve here is log10 of the rate as a function of quality, where quality is the metric turned so that higher is better. Interpolation is
pchip (Fritsch and Butland 1984), as in SciPy's `PchipInterpolator`, to which tests hold it; SciPy takes one set of places for all curves,
while here each replicate of a bootstrap has its own, and 2000 of its objects for each pair of codecs would take minutes.

Measured points are rarely monotone where quality is a machine's answer. What is kept is the envelope: the points that no other beats, that
is, from the lowest rate on each point that is better than all before it. Who uses the codec would take those settings and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import UsageError

Array = np.ndarray
LEAST = 2  # points of a curve


@dataclass(frozen=True, eq=False)
class Envelope:
    """rates, values: the points kept, ascending in rate and in quality. dropped: how many were not."""

    rates: Array
    values: Array
    dropped: int


def monotone_envelope(rates: Array, values: Array, better: str = "higher") -> Envelope:
    """The points that no other beats in both rate and quality; those that are not finite are dropped too.

    rates, values: (n,), in any order. UsageError for unequal lengths, rates that are not positive and an unknown direction.
    """
    rates, quality = checked(rates, values, better)
    order, kept, _ = _kept(rates[None], quality[None])
    chosen = order[0][kept[0]]
    return Envelope(rates[chosen], np.asarray(values, np.float64)[chosen], len(rates) - len(chosen))


def decibels(values: Array) -> Array:
    """-10 log10(1 - x) of a similarity that saturates at 1, such as SSIM; 1 becomes infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-10 * np.log10(1 - np.asarray(values, np.float64)))


def transformed(values: Array, transform: str | None) -> Array:
    """Values as they are, or in "db"; UsageError for another transform."""
    if transform not in (None, "db"):
        raise UsageError(f"a metric is transformed by 'db' or not at all, found {transform!r}")
    return decibels(values) if transform else np.asarray(values, np.float64)


def checked(rates: Array, values: Array, better: str) -> tuple[Array, Array]:
    """Rates and quality (higher is better) as float64; UsageError where they are no curve."""
    rates, values = np.asarray(rates, np.float64), np.asarray(values, np.float64)
    if rates.shape != values.shape or not rates.ndim:
        raise UsageError(f"a curve has one value for each rate, found {rates.shape} rates and {values.shape} values")
    if (rates <= 0).any():  # not-a-number passes: a point that is missing
        raise UsageError(f"rates must be positive, found {float(np.nanmin(rates))}")
    return rates, values * sign_of(better)


def sign_of(better: str) -> float:
    """1 where higher is better, -1 where lower is."""
    if better not in ("higher", "lower"):
        raise UsageError(f"better is 'higher' or 'lower', found {better!r}")
    return 1.0 if better == "higher" else -1.0


def _kept(rates: Array, quality: Array) -> tuple[Array, Array, Array]:
    """Of (R, n): the order by rate, which of the ordered points are kept, and the ordered quality."""
    usable = np.isfinite(rates) & np.isfinite(quality)
    rates, quality = np.where(usable, rates, np.inf), np.where(usable, quality, -np.inf)
    order = np.lexsort((-quality, rates), axis=-1)  # of equal rates the best first
    quality = np.take_along_axis(quality, order, -1)
    before = np.concatenate([np.full((len(quality), 1), -np.inf), np.maximum.accumulate(quality, -1)[:, :-1]], 1)
    return order, quality > before, quality


class Curves:
    """R curves of log10 rate over quality, each of up to n points; those of fewer than two points have no range."""

    def __init__(self, rates: Array, quality: Array) -> None:
        """rates, quality: float64 (R, n), higher is better."""
        order, kept, quality = _kept(rates, quality)
        front = np.argsort(~kept, axis=-1, kind="stable")  # the kept ones, in order, then the others
        with np.errstate(invalid="ignore"):
            logs = np.log10(np.take_along_axis(rates, order, -1))
        self.counts = kept.sum(1)
        self._x, self._y = np.take_along_axis(quality, front, -1), np.take_along_axis(logs, front, -1)

    @property
    def ranges(self) -> tuple[Array, Array]:
        """Lowest and highest quality of each, (R,) and (R,); infinitely far apart, the wrong way, where there is no curve."""
        last = np.take_along_axis(self._x, np.maximum(self.counts - 1, 0)[:, None], 1)[:, 0]
        valid = self.counts >= LEAST
        return np.where(valid, self._x[:, 0], np.inf), np.where(valid, last, -np.inf)

    def integrals(self, low: Array, high: Array) -> Array:
        """Of log10 rate from low to high (R,), both within the range; NaN where there is no curve."""
        found = np.full(len(self.counts), np.nan)
        for rows, x, y in self._groups():
            slopes = pchip_slopes(x, y)
            found[rows] = _antiderivative(x, y, slopes, high[rows]) - _antiderivative(x, y, slopes, low[rows])
        return found

    def _groups(self) -> Iterator[tuple[Array, Array, Array]]:
        """Curves of equally many points: their rows, x and y (G, count)."""
        for count in np.unique(self.counts):
            if count >= LEAST:
                rows = np.flatnonzero(self.counts == count)
                yield rows, self._x[rows, :count], self._y[rows, :count]


def pchip_slopes(x: Array, y: Array) -> Array:
    """Derivatives at the points of curves (R, n), n >= 2, whose x and y both ascend strictly."""
    steps = np.diff(x)
    secants = np.diff(y) / steps
    if x.shape[1] == 2:
        return np.repeat(secants, 2, 1)
    before, after = secants[:, :-1], secants[:, 1:]
    weight_before, weight_after = 2 * steps[:, 1:] + steps[:, :-1], steps[:, 1:] + 2 * steps[:, :-1]
    inner = (weight_before + weight_after) / (weight_before / before + weight_after / after)
    first = _edge(steps[:, 0], steps[:, 1], secants[:, 0], secants[:, 1])
    last = _edge(steps[:, -1], steps[:, -2], secants[:, -1], secants[:, -2])
    return np.concatenate([first[:, None], inner, last[:, None]], 1)


def _edge(step: Array, next_step: Array, secant: Array, next_secant: Array) -> Array:
    """One-sided derivative by three points, level where it would descend."""
    return np.maximum(0, ((2 * step + next_step) * secant - step * next_secant) / (step + next_step))


def _antiderivative(x: Array, y: Array, slopes: Array, at: Array) -> Array:
    """Integrals of cubic Hermite curves (G, n) from their first point to `at` (G,)."""
    steps = np.diff(x)
    whole = steps * (y[:, :-1] + y[:, 1:]) / 2 + steps**2 * (slopes[:, :-1] - slopes[:, 1:]) / 12
    up_to = np.concatenate([np.zeros((len(x), 1)), np.cumsum(whole, 1)], 1)
    piece = np.clip((x <= at[:, None]).sum(1) - 1, 0, x.shape[1] - 2)[:, None]

    def of(values: Array, offset: int = 0) -> Array:
        return np.take_along_axis(values, piece + offset, 1)[:, 0]

    step = of(steps)
    s = (at - of(x)) / step
    s2, s3, s4 = s**2, s**3, s**4
    ends = of(y) * (s4 / 2 - s3 + s) + of(y, 1) * (s3 - s4 / 2)
    bends = of(slopes) * (s4 / 4 - 2 * s3 / 3 + s2 / 2) + of(slopes, 1) * (s4 / 4 - s3 / 3)
    return np.asarray(of(up_to) + step * (ends + step * bends))
