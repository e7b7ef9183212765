"""Curves of quality over rate as SVG that needs no script; `plots.js` draws the same again for zoom, single items and other sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smalti.compare.page.axes import Axis, axis, tick_text
from smalti.compare.page.facts import Facts, Judge
from smalti.compare.page.looks import marker
from smalti.compare.page.markup import Html, join, tag
from smalti.compare.page.numbers import significant
from smalti.compare.results import Point

# units of the drawing; plots.js has the same
WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 12, 42
ENLARGE = tag("svg", tag("path", d="M7 1h4v4M11 1L7 5M5 11H1V7M1 11L5 7"), viewBox="0 0 12 12", class_="icon", aria_hidden="true")


@dataclass(frozen=True)
class Frame:
    """The two axes of a plot: the rate, logarithmic, and the quality."""

    rate: Axis
    quality: Axis


def frame_of(facts: Facts, judge: Judge) -> Frame:
    """Axes that hold all curves, their intervals and the ceiling."""
    points = [p for name in facts.names for p in facts.points(name, judge.name)]
    values = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    if judge.ceiling is not None:
        values.append(judge.ceiling)
    return Frame(axis([p.rate for p in points], LEFT, WIDTH - RIGHT, True), axis(values, HEIGHT - BOTTOM, TOP))


def plots(facts: Facts) -> Html:
    """A figure for each metric, then for each task."""
    return join(*(figure(facts, judge, k) for k, judge in enumerate(facts.judges)))


def figure(facts: Facts, judge: Judge, index: int) -> Html:
    buttons = tag(
        "span",
        *(
            tag("button", sign, type="button", data_act=act, aria_label=f"{does} the plot of {judge.title}", title=does)
            for sign, act, does in (("+", "in", "Zoom into"), ("\N{MINUS SIGN}", "out", "Zoom out of"), (ENLARGE, "wide", "Enlarge"))
        ),
        class_="tools",
    )
    caption = tag(
        "figcaption",
        tag("b", judge.title),
        " ",
        tag("span", ", ".join(filter(None, [judge.unit, judge.direction])), class_="soft"),
        buttons,
    )
    note = f"Uncompressed: {significant(judge.ceiling)}. {judge.protocol}".strip() if judge.ceiling is not None else None
    return tag(
        "figure",
        caption,
        tag("div", drawing(facts, judge), tag("div", class_="tip", role="status", hidden=True), class_="canvas"),
        tag("p", note, class_="soft small") if note else "",
        class_="plot card",
        data_judge=index,
        id=f"plot-{index}",
    )


def drawing(facts: Facts, judge: Judge) -> Html:
    """The SVG."""
    frame = frame_of(facts, judge)
    curves = {name: facts.points(name, judge.name) for name in facts.names}
    shown = [facts.title_of[name] for name, points in curves.items() if points]
    label = f"{judge.label} over {facts.report.rate.unit}, {judge.better} is better; curves of {', '.join(shown) or 'no codec'}"
    clip = f"clip-{facts.judges.index(judge)}"
    inside = tag("rect", x=LEFT, y=TOP, width=WIDTH - LEFT - RIGHT, height=HEIGHT - TOP - BOTTOM)
    return tag(
        "svg",
        tag("defs", tag("clipPath", inside, id=clip)),
        tag("g", grid(frame, f"{facts.report.rate.unit}, logarithmic"), class_="grid"),
        tag(
            "g",
            ceiling(frame, judge.ceiling) if judge.ceiling is not None else "",
            *(curve(facts, name, points, frame) for name, points in curves.items() if points),
            class_="curves",
            clip_path=f"url(#{clip})",
        ),
        tag("text", "no values", x=WIDTH / 2, y=HEIGHT / 2, text_anchor="middle") if not shown else "",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=label,
        tabindex=0,
    )


def grid(frame: Frame, title: str) -> Html:
    """Lines and numbers of both axes, and what the lower one shows."""
    parts = []
    for value in frame.quality.ticks(5):
        y = round(frame.quality.at(value), 2)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        parts.append(tag("text", tick_text(value), x=LEFT - 6, y=y + 4, text_anchor="end"))
    for value in frame.rate.ticks(6):
        x = round(frame.rate.at(value), 2)
        parts.append(tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM))
        parts.append(tag("text", tick_text(value), x=x, y=HEIGHT - BOTTOM + 16, text_anchor="middle"))
    parts.append(tag("text", title, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle", class_="axis"))
    return join(*parts)


def ceiling(frame: Frame, value: float) -> Html:
    y = round(frame.quality.at(value), 2)
    return tag(
        "g",
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y),
        tag("text", "uncompressed", x=LEFT + 6, y=y + 13 if y < TOP + 20 else y - 5),
        class_="ceiling",
    )


def curve(facts: Facts, name: str, points: Sequence[Point], frame: Frame) -> Html:
    """Whiskers, the line and its markers."""
    look = facts.look_of[name]
    places = [(round(frame.rate.at(p.rate), 2), round(frame.quality.at(p.value or 0.0), 2)) for p in points]
    whiskers = "".join(
        f"M{x:g} {frame.quality.at(p.low):.2f}V{frame.quality.at(p.high):.2f}"
        for p, (x, _) in zip(points, places, strict=True)
        if p.low is not None and p.high is not None
    )
    line = "L".join(f"{x:g} {y:g}" for x, y in places)
    return tag(
        "g",
        tag("path", d=whiskers, class_="whisk") if whiskers else "",
        tag("path", d=f"M{line}", class_="line", stroke_dasharray=look.dash or None) if len(points) > 1 else "",
        *(tag("path", d=marker(look.marker), class_="mark", transform=f"translate({x:g} {y:g})") for x, y in places),
        class_="curve",
        data_codec=facts.index[name],
        style=f"--c:{look.stroke}",
    )


def swatch(facts: Facts, name: str) -> Html:
    """How a codec is drawn, small enough to stand in a line of text."""
    look = facts.look_of[name]
    return tag(
        "svg",
        tag("path", d="M1 6H25", class_="line", stroke_dasharray=look.dash or None),
        tag("path", d=marker(look.marker, 3.6), class_="mark", transform="translate(13 6)"),
        viewBox="0 0 26 12",
        class_="swatch",
        aria_hidden="true",
        style=f"--c:{look.stroke}",
    )
