"""Two codecs on the same items: what their difference would have been on other items of the kind.

The bootstrap is paired: each replicate draws items with replacement, the same ones for both codecs and for all rates, averages rates and
metric over them per setting, transforms the mean where the metric asks for it, and computes BD-rate anew. Means first, transform after:
MS-SSIM in dB is that of the mean, as CompressAI plots it, while others average decibels.

A verdict needs the whole interval on one side of 0, agreement of pchip and akima on that side, six items (with fewer no order of them is
rarer than one in twenty, which is the sign test's bound), and replicates that nearly all have a common interval: those without could lie
anywhere, so beyond (1 - level) / 2 of them the percentiles say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti.metrics.rate_distortion.bjontegaard import bd_rate
from smalti.metrics.rate_distortion.curves import Curves, checked, sign_of, transformed
from smalti.metrics.rate_distortion.intervals import draws, item_order, percentiles
from smalti.tokenizers.errors import UsageError

Array = np.ndarray
LEAST_ITEMS = 6
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Rows:
    """What one codec did: rates and values of a metric, float64 (settings, items).

    NaN where a codec failed on an item: that item is then left out, for both codecs. units: (items,), what rates divide by, such as
    pixels or seconds, so that the rate of a setting is all bits over all units; None averages the rates of items.
    """

    rates: Array
    values: Array
    units: Array | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.rates) != 2:
            raise UsageError(f"rows are (settings, items), found {np.shape(self.rates)}")
        checked(self.rates, self.values, "higher")
        if self.units is not None and (np.shape(self.units) != np.shape(self.rates)[1:] or not (np.asarray(self.units) > 0).all()):
            raise UsageError(f"units are positive, one for each of {np.shape(self.rates)[1]} items, found {np.shape(self.units)}")

    @property
    def items(self) -> int:
        return int(np.shape(self.rates)[1])

    @property
    def complete(self) -> Array:
        """(items,): which have all their numbers."""
        return np.asarray(~(np.isnan(self.rates) | np.isnan(self.values)).any(0))

    def take(self, items: Array) -> Rows:
        units = None if self.units is None else np.asarray(self.units)[items]
        return Rows(np.asarray(self.rates)[:, items], np.asarray(self.values)[:, items], units)


@dataclass(frozen=True)
class BDInterval:
    """BD-rate with what it is worth; None where a number is undefined.

    percent, low, high: by pchip, and the interval over items. akima_percent: the check. overlap, points, dropped: as in `BD`, of the curves
    of means. items: those that both codecs did whole. undefined_share: of the replicates. verdict: "better", "worse", "no verdict" or
    "undefined", of the second codec against the first. reason: why there is no verdict, or empty.
    """

    percent: float | None
    low: float | None
    high: float | None
    akima_percent: float | None
    overlap: float
    points: tuple[int, int]
    dropped: tuple[int, int]
    items: int
    undefined_share: float
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class Paired:
    """Bytes of the second codec over those of the first at equal quality, item by item.

    ratios: one for each item, None where its two curves share no interval. median, low, high: over the others, None without any.
    """

    median: float | None
    low: float | None
    high: float | None
    ratios: tuple[float | None, ...]


@dataclass(frozen=True)
class CurvePoint:
    """Mean rate and mean value of a setting, with the interval of the value over items; None where it is not finite."""

    rate: float | None
    value: float | None
    low: float | None
    high: float | None


def bootstrap_bd(
    anchor: Rows,
    test: Rows,
    better: str = "higher",
    transform: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> BDInterval:
    """BD-rate of `test` against `anchor` with its interval; columns of both are the same items in the same order.

    UsageError for rows of different items. The order of items changes nothing.
    """
    anchor, test = _paired(anchor, test)
    points = (len(anchor.rates), len(test.rates))
    if not anchor.items:
        return BDInterval(
            None, None, None, None, 0.0, points, (0, 0), 0, 1.0, "undefined", "no item was done by both codecs at all settings"
        )
    whole = np.ones((1, anchor.items))
    sides = [(rates[0], values[0]) for rates, values in (_means(rows, whole, transform) for rows in (anchor, test))]
    pchip, akima = (bd_rate(*sides[0], *sides[1], interpolation=kind, better=better) for kind in ("pchip", "akima"))
    if pchip.percent is None:
        return BDInterval(None, None, None, None, 0.0, points, pchip.dropped, anchor.items, 1.0, "undefined", pchip.reason)
    counts = draws(anchor.items, resamples, seed)
    shifts = _shifts(*(_curves(rows, counts, better, transform) for rows in (anchor, test)))
    defined = np.isfinite(shifts)
    undefined_share = float(1 - defined.mean())
    low, high = percentiles(100 * (10 ** shifts[defined] - 1), level) if defined.any() else (None, None)
    verdict, reason = _verdict(pchip.percent, akima.percent, low, high, anchor.items, undefined_share, level)
    return BDInterval(
        pchip.percent, low, high, akima.percent, pchip.overlap, points, pchip.dropped, anchor.items, undefined_share, verdict, reason
    )  # fmt: skip


def paired_ratios(
    anchor: Rows,
    test: Rows,
    better: str = "higher",
    transform: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Paired:
    """The ratio of bytes at equal quality for each item, by the item's own two curves, and the median with its interval over items."""
    if anchor.items != test.items:
        raise UsageError(f"rows of different items: {anchor.items} and {test.items}; give the same items in the same order")
    curves = [
        Curves(np.asarray(rows.rates, np.float64).T, sign_of(better) * transformed(rows.values, transform).T) for rows in (anchor, test)
    ]
    shifts = _shifts(*curves)
    shifts[~(anchor.complete & test.complete)] = np.nan
    ratios = tuple(float(10**shift) if np.isfinite(shift) else None for shift in shifts)
    held = np.array([ratio for ratio in ratios if ratio is not None])
    if not len(held):
        return Paired(None, None, None, ratios)
    drawn = np.random.default_rng(seed).integers(0, len(held), (resamples, len(held)))
    low, high = percentiles(np.median(np.sort(held)[drawn], axis=1), level)
    return Paired(float(np.median(held)), low, high, ratios)


def mean_curve(
    rows: Rows, transform: str | None = None, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> list[CurvePoint]:
    """One point for each setting in the order of the rows; of each setting the items that it has numbers for."""
    points = []
    for setting in range(len(rows.rates)):
        row = Rows(rows.rates[setting : setting + 1], rows.values[setting : setting + 1], rows.units)
        row = row.take(np.flatnonzero(row.complete))
        row = row.take(item_order(row.rates, row.values))
        if not row.items:
            points.append(CurvePoint(None, None, None, None))
            continue
        rate, value = (float(means[0, 0]) for means in _means(row, np.ones((1, row.items)), transform))
        drawn = _means(row, draws(row.items, resamples, seed), transform)[1][:, 0]
        ends = percentiles(drawn, level) if np.isfinite(drawn).all() else (None, None)
        points.append(CurvePoint(rate, value if np.isfinite(value) else None, *ends))
    return points


def _paired(anchor: Rows, test: Rows) -> tuple[Rows, Rows]:
    """Both with the items that both have whole, in an order that does not depend on theirs."""
    if anchor.items != test.items:
        raise UsageError(f"rows of different items: {anchor.items} and {test.items}; give the same items in the same order")
    both = np.flatnonzero(anchor.complete & test.complete)
    anchor, test = anchor.take(both), test.take(both)
    order = item_order(anchor.rates, anchor.values, test.rates, test.values)
    return anchor.take(order), test.take(order)


def _means(rows: Rows, counts: Array, transform: str | None) -> tuple[Array, Array]:
    """Rates and transformed values per replicate and setting, (R, settings); counts: (R, items)."""
    units = np.ones(rows.items) if rows.units is None else np.asarray(rows.units, np.float64)
    rates = counts @ (np.asarray(rows.rates, np.float64) * units).T / (counts @ units)[:, None]
    values, infinite = np.asarray(rows.values, np.float64), ~np.isfinite(rows.values)
    means = counts @ np.where(infinite, 0, values).T / counts.sum(1, keepdims=True)
    # one item without loss makes the mean of its setting infinite, on all replicates: no curve goes through that
    means[:, infinite.any(1)] = np.inf
    return rates, transformed(means, transform)


def _curves(rows: Rows, counts: Array, better: str, transform: str | None) -> Curves:
    rates, values = _means(rows, counts, transform)
    return Curves(rates, values * sign_of(better))


def _shifts(anchor: Curves, test: Curves) -> Array:
    """Mean difference of log10 rates over the common interval of each pair of curves, NaN where there is none; (R,)."""
    (low_anchor, high_anchor), (low_test, high_test) = anchor.ranges, test.ranges
    low, high = np.maximum(low_anchor, low_test), np.minimum(high_anchor, high_test)
    shared = high > low
    # any place will do where nothing is shared: the result is thrown away
    low, high = np.where(shared, low, 0.0), np.where(shared, high, 1.0)
    found = np.full(len(low), np.nan)
    with np.errstate(all="ignore"):
        shifts = (test.integrals(low, high) - anchor.integrals(low, high)) / (high - low)
    found[shared] = shifts[shared]
    return found


def _verdict(
    percent: float, akima: float | None, low: float | None, high: float | None, items: int, undefined: float, level: float
) -> tuple[str, str]:
    """The verdict, and the reason where it is none."""
    none = "no verdict"
    if low is None or high is None or undefined > (1 - level) / 2:
        return none, f"{100 * undefined:.1f} % of the resampled curves share no interval"
    if low <= 0 <= high:
        return none, "the interval holds 0"
    if items < LEAST_ITEMS:
        return none, f"{items} item{'' if items == 1 else 's'}, a verdict needs {LEAST_ITEMS}"
    if akima is None or (akima > 0) != (percent > 0):
        return none, "pchip and akima disagree on the sign"
    return ("better" if high < 0 else "worse"), ""
