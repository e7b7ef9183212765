"""What stands at the end of a report: rank correlations, what failed or is absent, conventions, method, and the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from smalti.compare.page.facts import Facts
from smalti.compare.page.markup import Html, join, tag
from smalti.compare.page.numbers import NONE, SPACE, counted, signed, significant
from smalti.compare.page.rates import named
from smalti.compare.page.winners import DRAWS
from smalti.metrics.rate_distortion.bootstrap import LEAST_ITEMS

MOST = 200  # failures that are listed


def correlations(facts: Facts) -> Html:
    """Tasks by row, metrics by column; strong where the interval keeps away from zero."""
    found = {(c.task, c.metric): c for c in facts.report.correlations}
    tasks = [judge for judge in facts.judges if judge.is_task]
    metrics = [(k, judge) for k, judge in enumerate(facts.judges) if not judge.is_task]
    rows = []
    for task in tasks:
        cells = []
        for k, metric in metrics:
            c = found.get((task.name, metric.name))
            if c is None or c.spearman is None:
                cells.append(tag("td", NONE, class_="num soft", data_judge=k))
                continue
            told = c.low is not None and c.high is not None and c.low * c.high > 0
            span = f"[{_two(c.low)}, {_two(c.high)}]" if c.low is not None and c.high is not None else "no interval"
            cells.append(
                tag(
                    "td",
                    tag("b", _two(c.spearman)) if told else _two(c.spearman),
                    tag("small", f"{span}, {c.points} points"),
                    class_="num heat",
                    style=f"--s:{abs(c.spearman) * 40 if told else 0:.0f}%",
                    data_judge=k,
                )
            )
        rows.append(tag("tr", tag("th", task.title, scope="row"), *cells))
    heads = [tag("th", metric.title, scope="col", class_="num", data_judge=k) for k, metric in metrics]
    caption = tag("caption", "Spearman's rank correlation of a task's scores with a metric's means, over all codecs and settings")
    table = tag("table", caption, tag("thead", tag("tr", tag("th", "Task", scope="col"), *heads)), tag("tbody", *rows))
    return tag("div", table, class_="wide")


def _two(value: float | None) -> str:
    return NONE if value is None else signed(f"{value:.2f}")


def missing(facts: Facts) -> Html:
    """Failures and what is not at hand, or that there is none."""
    absent, failures = facts.report.absent, facts.report.failures
    parts: list[object] = []
    if not absent and not failures:
        return tag("p", "Nothing failed, and everything that was asked for was at hand.")
    if absent:
        lines = [tag("tr", tag("th", a.name, scope="row"), tag("td", a.reason), tag("td", tag("code", a.remedy))) for a in absent]
        parts.append(_table("Not at hand, and not in this comparison", ("What", "Why", "What helps"), lines))
    if failures:
        lines = [
            tag(
                "tr",
                tag("th", named(facts, f.codec) if f.codec in facts.index else f.codec or NONE, scope="row"),
                *(tag("td", value or NONE) for value in (f.setting, f.item or "all", f.stage, f.error)),
                data_codec=facts.index.get(f.codec or ""),
            )
            for f in failures[:MOST]
        ]
        parts.append(_table(f"Failed: {counted(len(failures), 'time')}", ("Codec", "Setting", "Item", "Stage", "Error"), lines))
        if len(failures) > MOST:
            parts.append(tag("p", f"The first {MOST} of {len(failures)}; report.json has all.", class_="soft"))
    return join(*parts)


def _table(caption: str, heads: tuple[str, ...], rows: list[Html]) -> Html:
    head = tag("tr", *(tag("th", word, scope="col") for word in heads))
    return tag("div", tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *rows), class_="prose"), class_="wide")


def method(facts: Facts) -> Html:
    """How numbers were made, and each judge's convention."""
    words = tag("dl", *(part for name, text in _notes(facts) for part in (tag("dt", name), tag("dd", text))), class_="notes")
    rows = [
        tag(
            "tr",
            tag("th", judge.title, tag("small", judge.name), scope="row"),
            tag("td", f"{judge.unit or 'no unit'}, {judge.better} is better"),
            tag(
                "td",
                " ".join(filter(None, [judge.convention, _transform(judge.transform), judge.protocol and f"Protocol: {judge.protocol}"])),
            ),
            tag("td", significant(judge.ceiling) if judge.is_task else "", class_="num"),
        )
        for judge in facts.judges
    ]
    return join(words, _table("Conventions", ("Measure", "Unit", "Convention", "Ceiling"), rows))


def _notes(facts: Facts) -> tuple[tuple[str, str], ...]:
    rate = facts.report.rate
    return (
        (
            "Rate",
            f"{rate.unit.capitalize()}: {rate.formula}. All bytes of whole files count, headers and containers included; a curve's rate is "
            "the mean over items.",
        ),
        (
            "Curves",
            f"Means over items at each setting. Bars are 95{SPACE}% intervals by bootstrap over items: how far the mean would move with "
            "other items of this kind.",
        ),
        (
            "Bytes for equal quality",
            "BD rate: the mean difference of the logarithms of the rates over the qualities that both curves reach, between points by "
            "pchip, with akima as a check. Points at which more bytes gave less quality are dropped first (monotone envelope). Overlap is "
            "the share of both curves' qualities that they have in common: below half, the number speaks of a small part of both, and "
            "below a quarter it makes no leader.",
        ),
        (
            "Intervals and verdicts",
            f"In each of the bootstrap's draws all codecs see the same items (seed {facts.report.seed}). Where a 95{SPACE}% interval holds "
            "zero there is no verdict. Intervals are of one comparison each: of twenty verdicts about codecs that are alike, one may be "
            "wrong.",
        ),
        (
            "Who wins at which rate",
            "Curves are read between their points along straight lines over the logarithm of the rate. A codec wins where its "
            f"difference from every other that reaches the rate keeps its sign in 95{SPACE}% of {DRAWS} draws over the items that all of "
            f"them have; with fewer than {LEAST_ITEMS} of those nobody does.",
        ),
        ("Times", "Processor seconds after a warm-up, on the machine below; the median where it was cheap to repeat."),
    )


def _transform(name: str | None) -> str:
    return "Curves and BD rates use \N{MINUS SIGN}10 log10(1 \N{MINUS SIGN} mean)." if name == "db" else ""


def codecs(facts: Facts) -> Html:
    """Their settings and versions."""
    rows = [
        tag(
            "tr",
            tag("th", named(facts, codec.name), tag("small", codec.name), scope="row"),
            tag("td", codec.kind),
            tag("td", ", ".join(codec.settings)),
            tag("td", codec.version),
            tag("td", "" if codec.bd else f"No BD rates: {codec.reason or 'too few rates'}"),
            data_codec=facts.index[codec.name],
        )
        for codec in facts.report.codecs
    ]
    return _table("Codecs", ("Codec", "Kind", "Settings", "Version", ""), rows)


def manifest(facts: Facts) -> Html:
    """Versions, machine, models, arguments."""
    found = facts.report.manifest
    machine = f"{found.machine.cpu}, {counted(found.machine.cores, 'core')}, {found.machine.system}"
    lines: list[tuple[str, object]] = [
        ("Made", facts.report.created),
        ("Smalti", found.smalti),
        ("Python", found.python),
        ("Machine", machine),
        ("Seed", facts.report.seed),
        ("Packages", _pairs(found.packages)),
        ("Models", _pairs(found.models) if found.models else "none"),
        ("Arguments", tag("pre", json.dumps(found.arguments, ensure_ascii=False, indent=1, default=str))),
    ]
    return tag("dl", *(part for name, value in lines for part in (tag("dt", name), tag("dd", value))), class_="notes")


def _pairs(found: Mapping[str, Any]) -> Html:
    return join(*(part for name, value in found.items() for part in (tag("code", f"{name} {value}"), " ")))
