"""What the report says in plain words: who leads, who wins at which rate, and the ribbons that show it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from smalti.compare.page.axes import Axis, axis, tick_text
from smalti.compare.page.facts import THINGS, Facts
from smalti.compare.page.markup import Html, join, tag
from smalti.compare.page.numbers import interval, listed, percent, significant
from smalti.compare.page.winners import Stretch
from smalti.compare.results import BD
from smalti.metrics.rate_distortion.bootstrap import LEAST_ITEMS

WIDTH, HEIGHT = 420, 18
Stretches = Mapping[str, Sequence[Stretch]]  # by judge
ENOUGH = 0.25  # overlap from which on a comparison counts for who leads


def leaders(facts: Facts) -> dict[str, str]:
    """By judge the codec whose bytes at equal quality are fewer, beyond intervals, than those of all that it can be compared with."""
    found = {}
    for judge in facts.judges:
        for name in facts.with_bd:
            others = [facts.bd_of.get((judge.name, other, name)) for other in facts.with_bd if other != name]
            beside = [bd for bd in others if bd is not None]
            told = [bd for bd in beside if bd.verdict != "undefined"]
            if told and all(bd.verdict == "better" and bd.overlap >= ENOUGH for bd in told) and 2 * len(told) >= len(beside):
                found[judge.name] = name
    return found


def mostly(facts: Facts, found: Stretches) -> dict[str, str]:
    """By judge the codec that wins on more than half of the rates (on a logarithmic scale) that two codecs reach."""
    most = {}
    for judge in facts.judges:
        compared = [s for s in found.get(judge.name, ()) if s.reached > 1]
        whole = sum(math.log(s.high / s.low) for s in compared)
        for name in {s.winner for s in compared} - {None}:
            if 2 * sum(math.log(s.high / s.low) for s in compared if s.winner == name) > whole:
                most[judge.name] = str(name)
    return most


def headline(facts: Facts, found: Stretches) -> str:
    """One sentence: who leads, else who wins at most rates, else that nobody does."""
    if not facts.report.rows:
        return "Nothing could be compared"
    for by_judge, verb, several in (
        (leaders(facts), "takes the fewest bytes", "Fewest bytes"),
        (mostly(facts, found), "wins at most rates", "Most rates"),
    ):
        by_codec: dict[str, list[str]] = {}
        for judge in facts.judges:
            if judge.name in by_judge:
                by_codec.setdefault(by_judge[judge.name], []).append(judge.title)
        if len(by_codec) == 1:
            ((name, titles),) = by_codec.items()
            by = "every measure" if len(titles) == len(facts.judges) > 1 else listed(titles)
            return f"{facts.title_of[name]} {verb} by {by}"
        if by_codec:
            return f"{several}: {'; '.join(f'{facts.title_of[name]} by {listed(titles)}' for name, titles in by_codec.items())}"
    return "No codec leads beyond what intervals allow" if len(facts.with_bd) > 1 else f"{listed(_titles(facts))} on {facts.things}"


def _titles(facts: Facts) -> list[str]:
    titles = [facts.title_of[name] for name in facts.names]
    return titles if len(titles) <= 4 else [*titles[:3], f"{len(titles) - 3} more"]


def lead_text(facts: Facts) -> str:
    """How far the leaders are ahead of the anchor, or the next one behind an anchor that leads; by what nobody leads."""
    found, anchor = leaders(facts), facts.anchor
    ahead: dict[str, list[str]] = {}
    for judge in facts.judges:
        name = found.get(judge.name)
        bd = _next_to(facts, judge.name, anchor) if name == anchor else facts.bd_of.get((judge.name, anchor or "", name or ""))
        if bd is not None and bd.percent is not None:
            ahead.setdefault(bd.codec, []).append(f"{percent(bd.percent)} {interval(bd.low, bd.high)} by {judge.title}")
    lines = [
        f"Beside {facts.title_of[anchor]}, at equal quality, {facts.title_of[name]} takes {listed(parts)}."
        for name, parts in ahead.items()
        if anchor is not None
    ]
    missing = [judge.title for judge in facts.judges if judge.name not in found]
    if found and missing:
        lines.append(f"No codec leads all others by {listed(missing, 'or')}.")
    return " ".join(lines)


def _next_to(facts: Facts, judge: str, leader: str | None) -> BD | None:
    """The codec that takes the fewest bytes more than a leader."""
    others = [facts.bd_of.get((judge, leader or "", name)) for name in facts.with_bd if name != leader]
    told = [bd for bd in others if bd is not None and bd.percent is not None and bd.verdict != "undefined"]
    return min(told, key=lambda bd: bd.percent or 0.0, default=None)


def ribbons(facts: Facts, found: Stretches) -> Html:
    """For each judge a strip over the rate, coloured where one codec wins, hatched where intervals do not decide, and the same in words."""
    shown = [(judge, found[judge.name]) for judge in facts.judges if found.get(judge.name)]
    if not shown:
        things = THINGS[facts.report.kind][1]
        why = f"Too few for verdicts: they need two codecs of two rates each, and {LEAST_ITEMS} {things} that all codecs have."
        return tag("p", why, class_="soft")
    ends = [rate for _, stretches in shown for stretch in stretches for rate in (stretch.low, stretch.high)]
    rates = axis(ends, 0, WIDTH, True, 0)
    rows = [
        tag("div", tag("b", judge.title), _strip(facts, stretches, rates), tag("p", words(facts, stretches)), class_="ribbon", data_judge=k)
        for k, judge in enumerate(facts.judges)
        for stretches in [found.get(judge.name)]
        if stretches
    ]
    ticks = [tag("span", tick_text(v), style=f"left:{100 * rates.at(v) / WIDTH:.2f}%") for v in rates.ticks(6)]
    scale = tag(
        "div", tag("b", ""), tag("div", *ticks, class_="scale", aria_hidden="true"), tag("p", facts.report.rate.unit), class_="ribbon"
    )
    return tag("div", *rows, scale, class_="ribbons")


def words(facts: Facts, stretches: Sequence[Stretch]) -> Html:
    """As in "AVIF from 0.3 to 1.4; no verdict from 0.1 to 0.3 (AVIF, WebP)"."""
    unit = facts.report.rate.unit
    won: dict[str, list[str]] = {}
    for s in stretches:
        if s.winner is not None:
            won.setdefault(s.winner, []).append(_span(s))
    open_ = [s for s in stretches if s.winner is None and s.reached > 1]
    parts: list[object] = []
    for name, spans in won.items():
        parts += [
            "; " if parts else "",
            _dot(facts, name),
            tag("b", facts.title_of[name]),
            f" wins from {listed(spans)} {unit}" if not parts else f" from {listed(spans)}",
        ]
    if open_:
        names = list(dict.fromkeys(name for s in open_ for name in s.best))
        some = [facts.title_of[name] for name in names[:4]] + ([f"{len(names) - 4} more"] if len(names) > 4 else [])
        parts += [
            "; " if won else "",
            f"{'no' if won else 'No'} verdict from {listed([_span(s) for s in _joined(open_)])} ({', '.join(some)})",
        ]
    return join(*parts, "." if parts else "Nowhere do two codecs reach the same rate.")


def _dot(facts: Facts, name: str) -> Html:
    return tag("i", class_="dot", style=f"--c:{facts.look_of[name].stroke}")


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Neighbours as one."""
    found: list[Stretch] = []
    for s in stretches:
        if found and abs(found[-1].high / s.low - 1) < 1e-9:
            found[-1] = Stretch(found[-1].low, s.high, (), 2)
        else:
            found.append(s)
    return found


def _span(stretch: Stretch) -> str:
    return f"{significant(stretch.low, 2)} to {significant(stretch.high, 2)}"


def _strip(facts: Facts, stretches: Sequence[Stretch], rates: Axis) -> Html:
    parts = []
    for s in stretches:
        x, end = rates.at(s.low), rates.at(s.high)
        name = s.winner
        said = f"{_span(s)} {facts.report.rate.unit}: " + (
            f"{facts.title_of[name]} wins"
            if name
            else f"only {facts.title_of[s.best[0]]} reaches"
            if s.reached < 2
            else f"no verdict between {listed([facts.title_of[n] for n in s.best])}"
        )
        kind = "won" if name else "alone" if s.reached < 2 else "open"
        colour = f"--c:{facts.look_of[name].stroke}" if name else None
        parts.append(
            tag("rect", tag("title", said), x=f"{x:.2f}", y=0, width=f"{max(end - x, 0.5):.2f}", height=HEIGHT, class_=kind, style=colour)
        )
    return tag(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", preserveAspectRatio="none", class_="strip", role="img", aria_label="where who wins"
    )
