"""BD-rates against an independent package, published values and truths made by hand; intervals, paired ratios and rank correlations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bjontegaard
import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from scipy.stats import spearmanr

from smalti.metrics.rate_distortion import (
    Rows,
    bd_metric,
    bd_rate,
    bootstrap_bd,
    decibels,
    mean_curve,
    monotone_envelope,
    paired_ratios,
    spearman_interval,
)
from smalti.metrics.rate_distortion.curves import Curves, pchip_slopes
from smalti.tokenizers.errors import UsageError

# the vectors of the bjontegaard package's own page
ANCHOR = ([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851])
TEST = ([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987])
PUBLISHED = json.loads((Path(__file__).parent / "kodak_published.json").read_text(encoding="utf-8"))


def published(name: str, column: int = 1) -> tuple[list[float], list[float]]:
    points = sorted(PUBLISHED["points"][name])
    return [point[0] for point in points], [point[column] for point in points]


def made(seed: int, settings: int = 5, items: int = 12, gain: float = 0.0, noise: float = 0.3) -> Rows:
    """A codec whose metric grows with the logarithm of the rate, on items of different difficulty; gain: in the metric."""
    rng = np.random.default_rng(seed)
    difficulty = np.random.default_rng(99).normal(0, 2, items)
    rates = np.geomspace(0.1, 2, settings)[:, None] * rng.uniform(0.9, 1.1, (settings, items))
    return Rows(rates, 30 + 8 * np.log10(rates) + difficulty + gain + rng.normal(0, noise, (settings, items)))


# --- two curves ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "percent", "gain"), [("pchip", -4.417485, 0.119693), ("akima", -4.425245, 0.119409)])
def test_the_known_vectors(kind: str, percent: float, gain: float) -> None:
    found = bd_rate(*ANCHOR, *TEST, interpolation=kind)
    assert found.percent == pytest.approx(percent, abs=1e-6)
    assert bd_metric(*ANCHOR, *TEST, interpolation=kind).difference == pytest.approx(gain, abs=1e-6)
    assert (found.points, found.dropped, found.reason) == ((4, 4), (0, 0), "")


@pytest.mark.parametrize("kind", ["pchip", "akima"])
@pytest.mark.parametrize("seed", range(5))
def test_the_bjontegaard_package_agrees(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = ((np.cumsum(rng.uniform(0.05, 0.6, 6 + side)), 25 + side + np.cumsum(rng.uniform(0.2, 3, 6 + side))) for side in range(2))
    options: dict[str, Any] = {"method": kind, "min_overlap": 0, "require_matching_points": False}
    assert bd_rate(*a, *b, interpolation=kind).percent == pytest.approx(bjontegaard.bd_rate(*a, *b, **options), abs=1e-6)
    assert bd_metric(*a, *b, interpolation=kind).difference == pytest.approx(bjontegaard.bd_psnr(*a, *b, **options), abs=1e-6)


@pytest.mark.parametrize("name", PUBLISHED["against_vtm"])
def test_published_points_of_kodak(name: str) -> None:
    """Three points of each curve are kept here: too few for the published BD-rates, enough for their sign and their size."""
    anchor, test = published("vtm"), published(name)
    found = bd_rate(*anchor, *test).percent
    assert found == pytest.approx(
        bjontegaard.bd_rate(*anchor, *test, method="pchip", min_overlap=0, require_matching_points=False), abs=1e-6
    )
    full = PUBLISHED["against_vtm"][name]
    assert found is not None
    assert 1 < (1 + found / 100) / (1 + full / 100) * 1.01 < 1.2, f"{found} from three points, {full} from all"


def test_a_curve_against_itself_is_level() -> None:
    assert bd_rate(*ANCHOR, *ANCHOR).percent == pytest.approx(0, abs=1e-12)
    assert bd_rate(*ANCHOR, *ANCHOR).overlap == 1
    assert bd_metric(*ANCHOR, *ANCHOR).difference == pytest.approx(0, abs=1e-12)


def test_twice_the_bytes_is_a_hundred_percent_more() -> None:
    doubled = [2 * rate for rate in ANCHOR[0]]
    for kind in ("pchip", "akima"):
        assert bd_rate(*ANCHOR, doubled, ANCHOR[1], interpolation=kind).percent == pytest.approx(100, abs=1e-9)
        assert bd_rate(doubled, ANCHOR[1], *ANCHOR, interpolation=kind).percent == pytest.approx(-50, abs=1e-9)


def test_the_order_of_points_changes_nothing() -> None:
    rates, values = (list(side) for side in TEST)
    expected = bd_rate(*ANCHOR, rates, values)
    assert bd_rate(*ANCHOR, rates[::-1], values[::-1]) == expected
    assert bd_rate(ANCHOR[0][::-1], ANCHOR[1][::-1], [rates[i] for i in (2, 0, 3, 1)], [values[i] for i in (2, 0, 3, 1)]) == expected


def test_where_lower_is_better() -> None:
    turned = [-value for value in ANCHOR[1]], [-value for value in TEST[1]]
    found = bd_rate(ANCHOR[0], turned[0], TEST[0], turned[1], better="lower")
    assert found.percent == pytest.approx(bd_rate(*ANCHOR, *TEST).percent)
    gain = bd_metric(ANCHOR[0], turned[0], TEST[0], turned[1], better="lower").difference
    assert gain == pytest.approx(-0.119693, abs=1e-6), "in the metric's own direction: lower is what the test codec gives"


def test_a_metric_that_saturates_is_compared_in_decibels() -> None:
    a, b = published("vtm", 2), published("av1", 2)
    expected = bjontegaard.bd_rate(a[0], decibels(np.array(a[1])), b[0], decibels(np.array(b[1])), method="pchip", min_overlap=0)
    assert bd_rate(*a, *b, transform="db").percent == pytest.approx(expected, abs=1e-6)
    assert bd_rate(*a, *b).percent != pytest.approx(expected, abs=1)
    assert decibels(np.array([0.9, 0.99])) == pytest.approx([10, 20])


def test_nothing_is_extrapolated() -> None:
    low, high = ([1, 2, 3], [10, 12, 13]), ([1, 2, 3], [20, 22, 23])
    found = bd_rate(*low, *high)
    assert (found.percent, found.overlap, found.reason) == (None, 0.0, "the curves share no interval of quality")
    touching = bd_rate(*low, [1, 2, 3], [13, 14, 15])
    assert touching.percent is None
    assert bd_metric(*low, [10, 20, 30], [10, 11, 12]).reason == "the curves share no interval of rate"
    assert bd_rate([1, 2], [5, 4], *high).reason == "a curve of 1 points, expected 2 or more"


def test_overlap_is_of_what_both_cover() -> None:
    assert bd_rate([1, 2, 3], [10, 15, 20], [1, 2, 3], [15, 20, 30]).overlap == pytest.approx(5 / 20)


def test_the_envelope_leaves_out_points_that_others_beat() -> None:
    rates, values = np.array([4.0, 1, 2, 3, 2, 6]), np.array([0.9, 0.5, 0.7, 0.6, 0.65, 0.9])
    envelope = monotone_envelope(rates, values)
    assert envelope.rates.tolist() == [1, 2, 4]
    assert envelope.values.tolist() == [0.5, 0.7, 0.9]
    assert envelope.dropped == 3
    lower = monotone_envelope(rates, -values, "lower")
    assert lower.values.tolist() == [-0.5, -0.7, -0.9]
    holes = monotone_envelope(np.array([1.0, 2, 3]), np.array([np.nan, 5, np.inf]))
    assert (holes.rates.tolist(), holes.dropped) == ([2], 2)
    found = bd_rate([1, 2, 3, 4], [0.5, 0.7, 0.6, 0.9], [1, 2, 4], [0.5, 0.7, 0.9])
    assert (found.percent, found.points, found.dropped) == (pytest.approx(0, abs=1e-12), (4, 3), (1, 0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bd_rate([1, 2], [1, 2, 3], *TEST), r"found \(2,\) rates and \(3,\) values"),
        (lambda: bd_rate([0, 2], [1, 2], *TEST), "rates must be positive, found 0"),
        (lambda: bd_rate(*ANCHOR, *TEST, interpolation="cubic"), "no interpolation 'cubic'; known: pchip, akima"),
        (lambda: bd_rate(*ANCHOR, *TEST, better="more"), "better is 'higher' or 'lower', found 'more'"),
        (lambda: bd_rate(*ANCHOR, *TEST, transform="log"), "found 'log'"),
        (lambda: Rows(np.ones(3), np.ones(3)), r"rows are \(settings, items\), found \(3,\)"),
        (lambda: Rows(np.ones((2, 3)), np.ones((2, 3)), np.zeros(3)), "units are positive"),
        (lambda: bootstrap_bd(made(0), made(1, items=5)), "rows of different items: 12 and 5"),
        (lambda: paired_ratios(made(0), made(1, items=5)), "rows of different items: 12 and 5"),
        (lambda: spearman_interval(np.ones(3), np.ones(4)), r"found \(3,\) and \(4,\)"),
    ],
)
def test_what_is_no_curve_is_refused(call: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


# --- many curves --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_many_curves_are_interpolated_as_scipy_does_one(count: int) -> None:
    rng = np.random.default_rng(count)
    x, y = (np.cumsum(rng.uniform(1e-3, 2, (20, count)) ** 3, 1) for _ in range(2))
    slopes = pchip_slopes(x, y)
    low = x[:, 0] + 0.3 * (x[:, -1] - x[:, 0])
    curves = Curves(10**y, x)
    starts, ends = curves.ranges
    assert np.array_equal(starts, x[:, 0])
    assert np.array_equal(ends, x[:, -1])
    integrals = curves.integrals(low, ends)
    for i in range(20):
        single = PchipInterpolator(x[i], y[i])
        assert slopes[i] == pytest.approx(single.derivative()(x[i]), rel=1e-9, abs=1e-12)
        assert integrals[i] == pytest.approx(single.integrate(low[i], x[i, -1]), rel=1e-9, abs=1e-9)


def test_curves_of_different_lengths_stand_in_one_batch() -> None:
    rates = np.array([[1.0, 2, 3, 4]] * 3)
    quality = np.array([[1.0, 2, 3, 4], [1, 3, 2, 4], [4, 3, 2, 1]])
    curves = Curves(rates, quality)
    assert curves.counts.tolist() == [4, 3, 1]
    found = curves.integrals(np.full(3, 1.0), np.full(3, 4.0))
    assert found[1] == pytest.approx(PchipInterpolator([1, 3, 4], np.log10([1, 2, 4])).integrate(1, 4))
    assert np.isnan(found[2])


# --- intervals over items -----------------------------------------------------------------------------------------------------------


def test_a_codec_against_itself_has_no_verdict() -> None:
    found = bootstrap_bd(made(0), made(0))
    assert found.percent == pytest.approx(0, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= 0 <= found.high
    assert (found.verdict, found.reason, found.undefined_share) == ("no verdict", "the interval holds 0", 0)


def test_twice_the_bytes_is_worse_on_any_items() -> None:
    rows = made(0)
    found = bootstrap_bd(rows, Rows(2 * rows.rates, rows.values))
    assert [found.percent, found.low, found.high, found.akima_percent] == pytest.approx([100, 100, 100, 100], abs=1e-9)
    assert (found.verdict, found.items, found.points) == ("worse", 12, (5, 5))
    back = bootstrap_bd(Rows(2 * rows.rates, rows.values), rows)
    assert (back.percent, back.verdict) == (pytest.approx(-50, abs=1e-9), "better")


def test_the_order_of_items_changes_nothing() -> None:
    order = np.random.default_rng(5).permutation(12)
    a, b = made(0), made(1, gain=0.2)
    shuffled = bootstrap_bd(a.take(order), b.take(order))
    assert shuffled == bootstrap_bd(a, b)
    assert mean_curve(a.take(order)) == mean_curve(a)
    assert paired_ratios(a.take(order), b.take(order)).median == paired_ratios(a, b).median
    assert spearman_interval(a.rates[:, order], a.values[:, order]) == spearman_interval(a.rates, a.values)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    """Replicates one by one, with the curves of SciPy: other draws, so equal up to what 2000 of them leave open."""
    a, b = made(0, items=8), made(1, items=8, gain=0.3)
    found, rng, plain = bootstrap_bd(a, b), np.random.default_rng(7), []
    for _ in range(400):
        drawn = rng.integers(0, 8, 8)
        sides = [side[:, drawn].mean(1) for side in (a.rates, a.values, b.rates, b.values)]
        plain.append(bd_rate(*sides).percent)
    assert found.percent == pytest.approx(bd_rate(a.rates.mean(1), a.values.mean(1), b.rates.mean(1), b.values.mean(1)).percent)
    width = float(np.quantile(plain, 0.975) - np.quantile(plain, 0.025))
    assert [found.low, found.high] == pytest.approx([np.quantile(plain, 0.025), np.quantile(plain, 0.975)], abs=0.15 * width)


def test_pairing_is_what_makes_differences_visible() -> None:
    """Items differ far more than codecs do: an interval over unpaired items would hold 0."""
    a = made(0, noise=0.02)
    b = Rows(a.rates, a.values + 0.4)
    found = bootstrap_bd(a, b)
    assert found.verdict == "better"
    unpaired = Rows(b.rates, np.roll(b.values, 1, axis=1))
    assert bootstrap_bd(a, unpaired).high > found.high  # type: ignore[operator]


def test_rates_may_be_all_bits_over_all_units() -> None:
    rows, units = made(0), np.linspace(1, 9, 12)
    weighted = mean_curve(Rows(rows.rates, rows.values, units))
    assert [point.rate for point in weighted] == pytest.approx((rows.rates * units).sum(1) / units.sum())
    assert [point.value for point in weighted] == pytest.approx(rows.values.mean(1))
    doubled = bootstrap_bd(Rows(rows.rates, rows.values, units), Rows(2 * rows.rates, rows.values, units))
    assert [doubled.percent, doubled.low, doubled.high] == pytest.approx([100] * 3)


def test_what_a_codec_failed_on_is_left_out_of_both() -> None:
    a, b = made(0), made(1)
    values, rates = b.values.copy(), a.rates.copy()
    values[2, 3], rates[0, 7] = np.nan, np.nan
    kept = np.delete(np.arange(12), [3, 7])
    assert bootstrap_bd(Rows(rates, a.values), Rows(b.rates, values)) == bootstrap_bd(a.take(kept), b.take(kept))
    found = bootstrap_bd(Rows(a.rates, np.full_like(a.values, np.nan)), b)
    assert (found.verdict, found.items, found.percent) == ("undefined", 0, None)
    points = mean_curve(Rows(rates, a.values))
    assert points[0].rate == pytest.approx(np.nanmean(rates[0])), "a setting has the items that it has"


def test_a_setting_without_loss_is_on_no_curve() -> None:
    a, b = made(0), made(1)
    values = a.values.copy()
    values[-1, 4] = np.inf
    found = bootstrap_bd(Rows(a.rates, values), b)
    assert found.percent == pytest.approx(bootstrap_bd(Rows(a.rates[:-1], a.values[:-1]), b).percent)
    assert found.dropped == (1, 0)
    assert mean_curve(Rows(a.rates, values))[-1].value is None


def test_curves_far_apart_are_undefined() -> None:
    found = bootstrap_bd(made(0), made(1, gain=500))
    assert (found.percent, found.verdict, found.undefined_share) == (None, "undefined", 1)
    assert found.reason == "the curves share no interval of quality"


def test_replicates_without_a_common_interval_cost_the_verdict() -> None:
    """Two groups of items; the curves meet where both are drawn about equally, and not where one prevails."""
    easy = np.repeat([0.0, 100.0], 6)
    a = Rows(np.array([[1.0], [2], [3]]) * np.ones(12), np.array([[10.0], [20], [30]]) + easy)
    b = Rows(np.array([[1.0], [2], [3]]) * np.ones(12), np.array([[35.0], [45], [55]]) + 1.2 * (easy - 50) + 40)
    found = bootstrap_bd(a, b)
    assert found.undefined_share > 0.025
    assert found.verdict == "no verdict"
    assert found.reason.endswith("% of the resampled curves share no interval")


def test_few_items_settle_nothing() -> None:
    rows = made(0, items=5)
    found = bootstrap_bd(rows, Rows(2 * rows.rates, rows.values))
    assert (found.verdict, found.reason) == ("no verdict", "5 items, a verdict needs 6")


def test_interpolation_is_no_ground_for_a_verdict() -> None:
    """Two samplings of one curve, all items alike: what difference there is, interpolation made."""
    rng = np.random.default_rng(1)
    sides = [np.sort(rng.uniform(20, 40, 4))[:, None] * np.ones(8) for _ in range(2)]
    found = bootstrap_bd(*(Rows(np.exp((values - 30) / 6) + 0.3, values) for values in sides))
    assert (found.verdict, found.reason) == ("no verdict", "pchip and akima disagree on the sign")
    assert found.low is not None
    assert found.high is not None
    assert found.low > 0 or found.high < 0


def test_intervals_where_lower_is_better() -> None:
    a, b = made(0), made(1, gain=1)
    turned = bootstrap_bd(Rows(a.rates, -a.values), Rows(b.rates, -b.values), "lower")
    expected = bootstrap_bd(a, b)
    # the order of items, hence the draws, are by their numbers
    assert turned.percent == pytest.approx(expected.percent)
    assert [turned.low, turned.high] == pytest.approx([expected.low, expected.high], abs=3)
    assert turned.verdict == "better"
    assert paired_ratios(Rows(a.rates, -a.values), Rows(b.rates, -b.values), "lower") == paired_ratios(a, b)


def test_a_mean_curve_has_the_interval_of_its_means() -> None:
    rows = made(0, settings=1, items=400)
    (point,) = mean_curve(rows)
    error = 1.96 * rows.values.std() / 20
    assert point.value == pytest.approx(rows.values.mean())
    assert [point.low, point.high] == pytest.approx([rows.values.mean() - error, rows.values.mean() + error], abs=0.2 * error)
    shares = Rows(rows.rates, np.random.default_rng(0).uniform(0.8, 0.9, rows.values.shape))
    assert mean_curve(shares, "db")[0].value == pytest.approx(-10 * np.log10(1 - shares.values.mean()))
    assert mean_curve(Rows(rows.rates, np.full_like(rows.values, np.nan)))[0].rate is None


def test_ratios_item_by_item() -> None:
    rows = made(0, noise=0)
    factors = np.linspace(0.5, 2, 12)
    found = paired_ratios(rows, Rows(rows.rates * factors, rows.values))
    assert found.ratios == pytest.approx(factors)
    assert found.median == pytest.approx(np.median(factors))
    assert found.low is not None
    assert found.high is not None
    assert 0.5 < found.low < found.median < found.high < 2
    apart = rows.values.copy()
    apart[:, 0] += 1000
    assert paired_ratios(rows, Rows(rows.rates, apart)).ratios[:2] == (None, pytest.approx(1))
    assert paired_ratios(rows, Rows(rows.rates, rows.values + 1000)).median is None


# --- do two judges agree ------------------------------------------------------------------------------------------------------------


def test_rank_correlation_is_scipys() -> None:
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=30), 1)  # with ties
    y = np.round(x + rng.normal(size=30), 1)
    found = spearman_interval(x, y)
    assert found.spearman == pytest.approx(spearmanr(x, y).statistic)
    assert found.low is not None
    assert found.high is not None
    assert -1 < found.low < found.spearman < found.high < 1
    assert (found.points, found.over) == (30, "points")
    assert spearman_interval(x, y, ("higher", "lower")).spearman == pytest.approx(-found.spearman)
    assert spearman_interval(np.append(x, np.nan), np.append(y, 1.0)).spearman == found.spearman


def test_rank_correlation_over_items() -> None:
    rng = np.random.default_rng(1)
    truth = np.linspace(0, 1, 10)[:, None]
    x, y = (truth + rng.normal(0, 1.5, (10, 40)) for _ in range(2))
    found = spearman_interval(x, y)
    assert found.spearman == pytest.approx(spearmanr(x.mean(1), y.mean(1)).statistic)
    assert found.over == "items"
    more = spearman_interval(np.tile(x, 16), np.tile(y, 16))
    assert found.high - found.low > 1.5 * (more.high - more.low)  # type: ignore[operator]
    holes = np.concatenate([x, np.full((10, 1), np.nan)], 1)
    assert spearman_interval(holes, np.concatenate([y, np.ones((10, 1))], 1)) == found


def test_an_interval_wants_replicates_that_can_be_ranked() -> None:
    """One item of three differs between codecs: a third of the replicates or so lacks it, and says nothing."""
    x = np.ones((5, 3))
    x[:, 0] = np.linspace(0, 1, 5)
    found = spearman_interval(x, np.arange(15.0).reshape(5, 3))
    assert (found.spearman, found.low, found.high) == (pytest.approx(1), None, None)


@pytest.mark.parametrize(
    "pair",
    [
        (np.arange(2.0), np.arange(2.0)),
        (np.ones(5), np.arange(5.0)),
        (np.full(4, np.nan), np.ones(4)),
        (np.full((4, 2), np.nan), np.ones((4, 2))),
    ],
)
def test_what_cannot_be_ranked_is_undefined(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = spearman_interval(*pair)
    assert (found.spearman, found.low, found.high) == (None, None, None)
