"""Curves of quality over rate, and what a difference between two codecs is worth.

`bjontegaard` compares two curves of means, `bootstrap` does so with intervals over the items that both codecs were judged on, and
`correlation` asks whether two judges rank codecs alike.
"""

from smalti.metrics.rate_distortion.bjontegaard import BD, Gain, bd_metric, bd_rate
from smalti.metrics.rate_distortion.bootstrap import (
    BDInterval,
    CurvePoint,
    Paired,
    Rows,
    bootstrap_bd,
    mean_curve,
    paired_ratios,
)
from smalti.metrics.rate_distortion.correlation import Correlation, spearman_interval
from smalti.metrics.rate_distortion.curves import decibels, monotone_envelope
from smalti.metrics.rate_distortion.intervals import Interval, bootstrap_mean

__all__ = [
    "BD",
    "BDInterval",
    "Correlation",
    "CurvePoint",
    "Gain",
    "Interval",
    "Paired",
    "Rows",
    "bd_metric",
    "bd_rate",
    "bootstrap_bd",
    "bootstrap_mean",
    "decibels",
    "mean_curve",
    "monotone_envelope",
    "paired_ratios",
    "spearman_interval",
]
