"""Who wins where: only what intervals allow is said."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from smalti.compare import results
from smalti.compare.page.facts import Facts
from smalti.compare.page.verdicts import headline, lead_text, leaders, mostly, words
from smalti.compare.page.winners import stretches


def shifted(report: results.Report, codec: str, change: Any) -> results.Report:
    """With psnr of one codec changed: change(setting number, item number) is added."""
    order = {item.id: k for k, item in enumerate(report.items)}
    rows = [
        dataclasses.replace(row, metrics=row.metrics | {"psnr": (row.metrics["psnr"] or 0) + change(int(row.setting[1:]), order[row.item])})
        if row.codec == codec
        else row
        for row in report.rows
    ]
    return dataclasses.replace(report, rows=tuple(rows))


def found(report: results.Report, judge: int = 0) -> Any:
    facts = Facts(report)
    return stretches(facts, facts.judges[judge])


@pytest.mark.parametrize("judge", [0, 1, 2], ids=["higher", "decibels", "lower"])
def test_a_small_lead_that_all_items_share_is_a_lead(make: Any, judge: int) -> None:
    # items differ by up to 21 dB, codecs by a tenth of one
    (all_of_it,) = found(make({"good": 0.1, "plain": 0.0}), judge)
    assert all_of_it.winner == "good"
    assert (all_of_it.low, all_of_it.high) == pytest.approx((0.3375, 5.4), rel=0.02)


def test_equal_codecs_get_no_verdict(make: Any) -> None:
    noise = np.random.default_rng(0).normal(0, 1, (5, 8))
    report = shifted(make({"one": 0.0, "two": 0.0}), "two", lambda s, k: noise[s, k] - noise[s].mean())
    assert [stretch.winner for stretch in found(report)] == [None]
    assert found(report)[0].best in (("one", "two"), ("two", "one"))


def test_curves_that_cross_have_a_winner_on_either_side(make: Any) -> None:
    report = shifted(make({"low": 0.0, "high": 0.0}), "high", lambda s, k: 2.0 * (s - 2) - (k - 3.5))
    winners = [stretch.winner for stretch in found(report)]
    assert winners == ["low", None, "high"]
    assert found(report)[1].low < 0.25 * 4 * 1.35 < found(report)[1].high, "they cross at the third setting"


def test_a_rate_that_one_codec_alone_reaches_is_not_won(make: Any) -> None:
    report = make({"long": 0.0, "short": 1.0})
    rows = tuple(row for row in report.rows if row.codec == "long" or row.setting in ("q1", "q2", "q3"))
    stretch = found(dataclasses.replace(report, rows=rows))
    assert [s.winner for s in stretch] == [None, "short", None]
    assert [s.reached for s in stretch] == [1, 2, 1]
    facts = Facts(report)
    assert words(facts, stretch) == ('<i class="dot" style="--c:var(--c1)"></i><b>SHORT</b> wins from 0.67 to 2.7 bits per pixel.')


def test_too_little_for_any_verdict(make: Any) -> None:
    assert found(make({"alone": 0.0})) == []
    assert found(make({"one": 0.0, "two": 1.0}, names="abcde")) == []
    assert len(found(make({"one": 0.0, "two": 1.0}, names="abcdef"))) == 1
    assert found(make({"one": 0.0, "two": 1.0}, rates=1)) == []


def test_settings_without_values_are_left_out(make: Any) -> None:
    report = make({"lossless": 1.0, "plain": 0.0})
    rows = tuple(
        dataclasses.replace(row, metrics=row.metrics | {"psnr": None}) if (row.codec, row.setting) == ("lossless", "q4") else row
        for row in report.rows
    )
    stretch = found(dataclasses.replace(report, rows=rows))
    assert [s.winner for s in stretch] == ["lossless", None]
    assert stretch[1].reached == 1


def test_an_item_that_failed_is_left_out_for_all(make: Any) -> None:
    # the item that is missing is the easy one: with it, the other codec's mean would be higher
    report = make({"good": 0.1, "plain": 0.0})
    rows = tuple(row for row in report.rows if (row.codec, row.item) != ("good", "h.png"))
    (stretch,) = found(dataclasses.replace(report, rows=rows))
    assert stretch.winner == "good"


def test_outcomes_of_tasks_are_drawn_like_values(make: Any) -> None:
    report = make({"one": 0.0, "two": 0.0})
    better = tuple(
        dataclasses.replace(score, value=score.value + 0.1, per_item=tuple(v + 0.1 for v in score.per_item))
        if score.codec == "two"
        else score
        for score in report.task_scores
    )
    assert [s.winner for s in found(dataclasses.replace(report, task_scores=better), 3)] == ["two"]
    # a score that is no mean of its outcomes has no draws
    other = tuple(dataclasses.replace(score, value=9.0) for score in report.task_scores)
    assert found(dataclasses.replace(report, task_scores=other), 3) == []


def test_who_leads(make: Any) -> None:
    report = make({"plain": 0.0, "good": 6.0, "bad": -6.0})
    facts = Facts(report)
    assert leaders(facts) == {"psnr": "good", "ms-ssim": "good", "lpips-alex": "good"}
    assert headline(facts, {}) == "GOOD takes the fewest bytes by PSNR, MS-SSIM and LPIPS AlexNet"
    lead = "Beside PLAIN, at equal quality, GOOD takes \N{MINUS SIGN}50\u202f% [\N{MINUS SIGN}53, \N{MINUS SIGN}47] by PSNR,"
    assert lead_text(facts).startswith(lead)
    assert lead_text(facts).endswith("No codec leads all others by Classification agreement.")
    first = Facts(make({"good": 6.0, "bad": -6.0, "plain": 0.0}))
    assert lead_text(first).startswith("Beside GOOD, at equal quality, PLAIN takes +100\u202f% [+97, +103] by PSNR,"), "the next one"
    near = Facts(make({"good": 0.1, "plain": 0.0}))
    assert leaders(near) == {}
    assert headline(near, {}) == "No codec leads beyond what intervals allow"


def test_who_wins_at_most_rates(make: Any) -> None:
    # better from the second of five settings on, and no BD rate tells it
    report = shifted(make({"low": 0.0, "high": 0.0}), "high", lambda s, k: 2.0 * (s - 1.5))
    facts = Facts(dataclasses.replace(report, bd=()))
    won = {judge.name: stretches(facts, judge) for judge in facts.judges[:1]}
    assert mostly(facts, won) == {"psnr": "high"}
    assert headline(facts, won) == "HIGH wins at most rates by PSNR"
    even = Facts(shifted(report, "high", lambda s, k: -1.0))
    assert mostly(even, {"psnr": stretches(even, even.judges[0])}) == {}


def test_a_sliver_of_common_quality_makes_no_leader(make: Any) -> None:
    report = make({"good": 6.0, "plain": 0.0})
    for overlap, expected in ((0.25, {"psnr", "ms-ssim", "lpips-alex"}), (0.24, set())):
        bds = tuple(dataclasses.replace(bd, overlap=overlap) for bd in report.bd)
        assert set(leaders(Facts(dataclasses.replace(report, bd=bds)))) == expected


def test_a_leader_is_better_than_all_not_than_some(make: Any) -> None:
    facts = Facts(make({"first": 6.0, "second": 6.05, "last": 0.0}))
    assert leaders(facts) == {}
