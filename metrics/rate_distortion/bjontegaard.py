"""BD-rate and its counterpart: the mean difference of two curves over what both cover.

Bjontegaard, "Calculation of average PSNR differences between RD curves" (VCEG-M33, 2001), with monotone interpolation in place of his
cubic fit: pchip by default, akima to check it by (Herglotz et al., arXiv 2202.12565), both SciPy's. Rates are in log10. The integral is
that of the interpolant, exact, over the common interval; nothing is extrapolated, and without a common interval there is no number.

Not antisymmetric in percent: a codec that needs half the bytes of another is at -50 %, the other at +100 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.metrics.rate_distortion.curves import LEAST, monotone_envelope, sign_of, transformed
from smalti.tokenizers.errors import UsageError

Array = np.ndarray
Values = Sequence[float] | Array


@dataclass(frozen=True)
class BD:
    """Bytes of the second codec at equal quality, in percent more than the first's; None where the curves share no interval.

    overlap: the common interval as a share of what both cover together, in the metric. points: of each curve, anchor first, before the
    monotone envelope; dropped: how many that left out. reason: why there is no number, or empty.
    """

    percent: float | None
    overlap: float
    points: tuple[int, int]
    dropped: tuple[int, int]
    reason: str = ""


@dataclass(frozen=True)
class Gain:
    """Metric of the second codec at equal rate, less the first's, in the metric's unit (in dB where transformed); else as `BD`."""

    difference: float | None
    overlap: float
    points: tuple[int, int]
    dropped: tuple[int, int]
    reason: str = ""


def bd_rate(
    rates_anchor: Values,
    values_anchor: Values,
    rates_test: Values,
    values_test: Values,
    interpolation: str = "pchip",
    better: str = "higher",
    transform: str | None = None,
) -> BD:
    """The mean difference in rate at equal quality. Points may come in any order.

    better: "higher" or "lower". transform: "db" takes a similarity that saturates at 1 to -10 log10(1 - x) first.
    UsageError for curves that are none (see `monotone_envelope`) and for an unknown interpolation.
    """
    sides, dropped = _sides(rates_anchor, values_anchor, rates_test, values_test, better, transform)
    curves = [(quality, logs) for logs, quality in sides]
    mean, overlap, reason = _mean_difference(curves, interpolation, "quality")
    percent = None if mean is None else float(100 * (10**mean - 1))
    return BD(percent, overlap, (len(rates_anchor), len(rates_test)), dropped, reason)


def bd_metric(
    rates_anchor: Values,
    values_anchor: Values,
    rates_test: Values,
    values_test: Values,
    interpolation: str = "pchip",
    better: str = "higher",
    transform: str | None = None,
) -> Gain:
    """The mean difference in the metric at equal rate, over the common interval of log10 rates; arguments as in `bd_rate`."""
    sides, dropped = _sides(rates_anchor, values_anchor, rates_test, values_test, better, transform)
    mean, overlap, reason = _mean_difference(sides, interpolation, "rate")
    # quality is the metric turned so that higher is better; decibels of one where lower is better do not exist
    difference = None if mean is None else mean * sign_of(better)
    return Gain(difference, overlap, (len(rates_anchor), len(rates_test)), dropped, reason)


def _sides(
    rates_anchor: Values, values_anchor: Values, rates_test: Values, values_test: Values, better: str, transform: str | None
) -> tuple[list[tuple[Array, Array]], tuple[int, int]]:
    """Log rates and quality of both envelopes, and how many points each lost."""
    sides, dropped = [], []
    for rates, values in ((rates_anchor, values_anchor), (rates_test, values_test)):
        envelope = monotone_envelope(np.asarray(rates, np.float64), transformed(np.asarray(values), transform), better)
        sides.append((np.log10(envelope.rates), envelope.values * sign_of(better)))
        dropped.append(envelope.dropped)
    return sides, (dropped[0], dropped[1])


def _mean_difference(curves: list[tuple[Array, Array]], interpolation: str, axis: str) -> tuple[float | None, float, str]:
    """Mean of the second curve less the first (x, y) over their common interval, the overlap, and why there is no mean."""
    kind = _interpolator(interpolation)
    if (shorter := min(len(x) for x, _ in curves)) < LEAST:
        return None, 0.0, f"a curve of {shorter} points, expected {LEAST} or more"
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if high <= low:
        return None, 0.0, f"the curves share no interval of {axis}"
    whole = max(x[-1] for x, _ in curves) - min(x[0] for x, _ in curves)
    first, second = (float(kind(x, y).integrate(low, high)) for x, y in curves)
    return (second - first) / (high - low), float((high - low) / whole), ""


def _interpolator(name: str) -> Any:
    from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

    known = {"pchip": PchipInterpolator, "akima": Akima1DInterpolator}
    if name not in known:
        raise UsageError(f"no interpolation {name!r}; known: {', '.join(known)}")
    return known[name]
