"""Bytes at equal quality (BD rates): the summary and its intervals for every anchor, and the matrix of all pairs for every judge.

All anchors are made here, and the page shows one of them: so numbers are written in one place, and the page prints as it stands.
"""

from __future__ import annotations

import math

from smalti.compare.page.axes import Axis
from smalti.compare.page.facts import Facts, Judge
from smalti.compare.page.looks import marker
from smalti.compare.page.markup import Html, join, tag, text
from smalti.compare.page.numbers import NONE, SPACE, counted, interval, percent, share, significant
from smalti.compare.page.plots import swatch
from smalti.compare.results import BD, CodecInfo, Paired

SIGNS = {
    "better": "\N{BLACK DOWN-POINTING SMALL TRIANGLE}",
    "worse": "\N{BLACK UP-POINTING SMALL TRIANGLE}",
    "no verdict": "\N{ALMOST EQUAL TO}",
}
WORDS = {"better": "fewer bytes", "worse": "more bytes", "no verdict": "no verdict", "undefined": "cannot be compared"}
TICKS = (-93.75, -87.5, -75, -50, 0, 100, 300, 700, 1500, 3100)
WIDTH, ROW = 300, 24
LITTLE = 0.5  # overlap below which a number speaks of a small part of both curves


def named(facts: Facts, name: str) -> Html:
    """A codec's swatch and title, in one piece."""
    return tag("span", swatch(facts, name), tag("span", facts.title_of[name]), class_="codec")


def chosen(facts: Facts, name: str) -> bool:
    return name == (facts.anchor or facts.names[0])


def summary(facts: Facts) -> Html:
    """A table for each anchor: each codec's rates and, by judge, its bytes at equal quality."""
    anchors = facts.with_bd or facts.names[:1]
    return join(*(_summary(facts, anchor) for anchor in anchors))


def _summary(facts: Facts, anchor: str) -> Html:
    heads = [
        tag("th", judge.title, tag("small", judge.direction), scope="col", data_judge=k, class_="num")
        for k, judge in enumerate(facts.judges)
    ]
    rows = []
    for codec in facts.report.codecs:
        rates = sorted(p.rate for judge in facts.judges[:1] for p in facts.points(codec.name, judge.name))
        span = (
            f"{significant(rates[0], 2)} \N{EN DASH} {significant(rates[-1], 2)}"
            if len(rates) > 1
            else significant(rates[0])
            if rates
            else NONE
        )
        cells = [tag("td", _cell(facts, judge, anchor, codec.name), data_judge=k, class_="num") for k, judge in enumerate(facts.judges)]
        name = tag("th", named(facts, codec.name), tag("small", _kind(codec)), scope="row")
        rows.append(tag("tr", name, tag("td", span, class_="num"), *cells, data_codec=facts.index[codec.name]))
    head = tag(
        "tr", tag("th", "Codec", scope="col"), tag("th", "Rates", tag("small", facts.report.rate.unit), scope="col", class_="num"), *heads
    )
    said = f"Bytes for equal quality beside {facts.title_of[anchor]}, with 95{SPACE}% intervals; fewer is better"
    caption = tag(
        "caption", said if facts.with_bd else "No codec has rates enough for bytes at equal quality; curves below have what there is"
    )
    table = tag("table", caption, tag("thead", head), tag("tbody", *rows), class_="summary")
    return tag("div", table, class_="wide", data_anchor=facts.index[anchor], hidden=not chosen(facts, anchor))


def _kind(codec: CodecInfo) -> str:
    """Packers of tokens lose nothing of the tokens, and all that these have lost already."""
    return "the same tokens, packed" if codec.kind == "lossless" and ("+" in codec.name or codec.name.startswith("tokens-")) else codec.kind


def _cell(facts: Facts, judge: Judge, anchor: str, name: str) -> Html:
    if name == anchor and facts.with_bd:
        return tag("span", "anchor", class_="soft")
    bd = facts.bd_of.get((judge.name, anchor, name))
    if bd is None or bd.percent is None:
        codec = facts.report.codecs[facts.index[name]]
        why = (bd.reason if bd is not None else "") or codec.reason or "no BD rate"
        return tag("span", NONE, tag("small", "one rate" if len(codec.settings) == 1 else why, title=why), class_="soft")
    # an interval without zero that is no verdict all the same: for too few items, say
    undecided = bd.verdict == "no verdict" and bd.low is not None and bd.high is not None and not bd.low <= 0 <= bd.high
    sign = "" if undecided else SIGNS.get(bd.verdict, "")
    told = tag("b", sign, " ", percent(bd.percent), class_=f"v-{bd.verdict.replace(' ', '-')}", title=WORDS.get(bd.verdict))
    points = tag(
        "small",
        tag("span", f"overlap {share(bd.overlap)}", class_="little" if bd.overlap < LITTLE else None),
        f", {bd.points[1]} points",
        title=_details(bd),
    )
    why = tag("small", bd.reason, class_="little") if undecided and bd.reason else ""
    return join(told, tag("small", interval(bd.low, bd.high) or "no interval"), points, why)


def _details(bd: BD) -> str:
    parts = [
        f"{bd.points[0]} points of the anchor, {bd.points[1]} of the codec",
        f"{sum(bd.envelope)} dropped to make the curves monotone" if any(bd.envelope) else "",
        f"akima {percent(bd.akima_percent)}" if bd.akima_percent is not None else "",
        f"{share(bd.undefined_share)} of draws undefined" if bd.undefined_share else "",
        bd.reason,
    ]
    return "; ".join(filter(None, parts))


def forests(facts: Facts) -> Html:
    """For each anchor and judge the intervals on a line, equal bytes in its middle."""
    parts = []
    for anchor in facts.with_bd if len(facts.with_bd) > 1 else ():
        figures = [found for k, judge in enumerate(facts.judges) if (found := _forest(facts, judge, k, anchor))]
        parts.append(tag("div", *figures, class_="plots", data_anchor=facts.index[anchor], hidden=not chosen(facts, anchor)))
    return join(*parts)


def pairs(facts: Facts) -> Html:
    """For each anchor: bytes beside it at equal quality, item by item, the median and its interval."""
    found = {(p.metric, p.anchor, p.codec): p for p in facts.report.paired if p.median is not None and p.anchor != p.codec}
    judges = [(k, judge) for k, judge in enumerate(facts.judges) if any(metric == judge.name for metric, _, _ in found)]
    parts = []
    for anchor in facts.with_bd if found else ():
        rows = []
        for name in facts.names:
            own = [found.get((judge.name, anchor, name)) for _, judge in judges]
            if any(own):
                cells = [tag("td", _ratio(pair), class_="num", data_judge=k) for (k, _), pair in zip(judges, own, strict=True)]
                rows.append(tag("tr", tag("th", named(facts, name), scope="row"), *cells, data_codec=facts.index[name]))
        heads = [tag("th", judge.title, scope="col", class_="num", data_judge=k) for k, judge in judges]
        caption = tag("caption", f"Item by item: bytes over those of {facts.title_of[anchor]} at equal quality, the median over items")
        table = tag("table", caption, tag("thead", tag("tr", tag("th", "Codec", scope="col"), *heads)), tag("tbody", *rows))
        parts.append(tag("div", table, class_="wide", data_anchor=facts.index[anchor], hidden=not chosen(facts, anchor)))
    return join(*parts)


def _ratio(pair: Paired | None) -> Html:
    if pair is None:
        return text(NONE)
    sign = "\N{MULTIPLICATION SIGN}"
    span = f"[{significant(pair.low)}, {significant(pair.high)}]" if pair.low is not None and pair.high is not None else "no interval"
    return join(tag("b", f"{sign}{significant(pair.median)}"), tag("small", f"{span}, {counted(pair.items, 'item')}"))


def _forest(facts: Facts, judge: Judge, index: int, anchor: str) -> Html:
    found = [
        bd
        for name in facts.names
        if (bd := facts.bd_of.get((judge.name, anchor, name))) is not None and bd.percent is not None and name != anchor
    ]
    if not found:
        return Html("")
    numbers = [v for bd in found for v in (bd.percent, bd.low, bd.high) if v is not None]
    reach = max(1.0, *(abs(_log(v)) for v in numbers))
    places = Axis(-min(reach, 5.0) * 1.08, min(reach, 5.0) * 1.08, 0, WIDTH)
    rows = [_line(facts, bd, places) for bd in sorted(found, key=lambda bd: bd.percent or 0.0)]
    head = tag("figcaption", tag("b", judge.title), " ", tag("span", f"beside {facts.title_of[anchor]}", class_="soft"))
    spots = [(v, places.at(_log(v))) for v in TICKS if abs(_log(v)) <= places.high]
    step = next(step for step in (1, 2, 4) if places.high < 2.05 * step or step == 4)
    spots = [(v, x) for v, x in spots if round(_log(v)) % step == 0]
    scale = tag(
        "div",
        tag("span"),
        tag("div", *(tag("span", percent(v) if v else "equal", style=f"left:{100 * x / WIDTH:.1f}%") for v, x in spots), class_="scale"),
        tag("span"),
        class_="line-row scale-row",
        aria_hidden="true",
    )
    return tag("figure", head, *rows, scale, class_="card forest", data_judge=index)


def _line(facts: Facts, bd: BD, places: Axis) -> Html:
    def at(value: float) -> float:
        return min(max(places.at(_log(value)), 0), WIDTH)

    x = at(bd.percent or 0.0)
    whisk = f"M{at(bd.low):.1f} {ROW / 2}H{at(bd.high):.1f}" if bd.low is not None and bd.high is not None else ""
    picture = tag(
        "svg",
        tag("line", x1=WIDTH / 2, x2=WIDTH / 2, y1=0, y2=ROW, class_="zero"),
        tag("path", d=whisk, class_="whisk") if whisk else "",
        tag("path", d=marker(facts.look_of[bd.codec].marker, 4.5), class_="mark", transform=f"translate({x:.1f} {ROW / 2})"),
        viewBox=f"0 0 {WIDTH} {ROW}",
        style=f"--c:{facts.look_of[bd.codec].stroke}",
        role="img",
        aria_label=f"{percent(bd.percent)} {interval(bd.low, bd.high)}",
    )
    value = tag(
        "span", percent(bd.percent), class_=f"num v-{bd.verdict.replace(' ', '-')}", title=f"{interval(bd.low, bd.high)}; {_details(bd)}"
    )
    return tag("div", tag("span", facts.title_of[bd.codec]), picture, value, class_="line-row", data_codec=facts.index[bd.codec])


def _log(value: float) -> float:
    """Doublings of bytes."""
    return math.log2(max(1 + value / 100, 1e-6))


def matrices(facts: Facts) -> Html:
    """For each judge: row codec, column anchor."""
    if len(facts.with_bd) < 2:
        return Html("")
    tables = [_matrix(facts, judge, k) for k, judge in enumerate(facts.judges)]
    options = [tag("option", judge.title, value=k) for k, judge in enumerate(facts.judges)]
    select = tag("label", "Measure ", tag("select", *options, id="matrix-judge"), class_="pick")
    return join(select, *tables)


def _matrix(facts: Facts, judge: Judge, index: int) -> Html:
    head = [
        tag("th", tag("span", facts.title_of[name]), scope="col", class_="num", data_versus=facts.index[name]) for name in facts.with_bd
    ]
    rows = []
    for name in facts.with_bd:
        cells = [_square(facts, judge, anchor, name) for anchor in facts.with_bd]
        rows.append(tag("tr", tag("th", named(facts, name), scope="row"), *cells, data_codec=facts.index[name]))
    caption = tag("caption", f"Bytes of the row's codec beside the column's, at equal {judge.title}; faint where the interval holds zero")
    table = tag("table", caption, tag("thead", tag("tr", tag("td", "beside", class_="soft"), *head)), tag("tbody", *rows), class_="matrix")
    return tag("div", table, class_="wide", data_matrix=index, hidden=index > 0)


def _square(facts: Facts, judge: Judge, anchor: str, name: str) -> Html:
    bd = facts.bd_of.get((judge.name, anchor, name))
    if name == anchor:
        return tag("td", "\N{MIDDLE DOT}", class_="num soft", data_versus=facts.index[anchor])
    if bd is None or bd.percent is None:
        return tag("td", NONE, class_="num soft", title=bd.reason if bd else None, data_versus=facts.index[anchor])
    strength = min(abs(_log(bd.percent)) / 1.5, 1) * 45 + 8 if bd.verdict in ("better", "worse") else 0
    kind = "v-" + bd.verdict.replace(" ", "-")
    details = f"{interval(bd.low, bd.high)}; overlap {share(bd.overlap)}; {_details(bd)}"
    return tag(
        "td", percent(bd.percent), class_=f"num {kind}", style=f"--s:{strength:.0f}%", title=details, data_versus=facts.index[anchor]
    )
