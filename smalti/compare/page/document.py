"""The whole page: its sections in order, the style sheet and scripts within it, and a policy that forbids the network.

Scripts run only where their text has the hash that the policy names, so that nothing that a report says can become one.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from smalti.compare.page import costs, gallery, notes, plots, previews, rates, verdicts, winners
from smalti.compare.page.facts import Facts
from smalti.compare.page.markup import Html, data, join, tag
from smalti.compare.page.numbers import counted, size
from smalti.compare.page.payload import payload
from smalti.compare.results import Report

SCRIPTS = ("base.js", "plots.js", "gallery.js", "table.js", "filters.js")
STYLE = "page.css"
SWITCH = "Show or hide; click twice for this one alone"
NO_SCRIPT = "Scripts are off: everything stands here but the table of files, and nothing can be switched, enlarged or slid."
POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
    "base-uri 'none'; form-action 'none'"
)


def render(report: Report, folder: Path, limit: int = previews.LIMIT) -> str:
    """The page of a report whose media lie in `folder`, as HTML that needs no other file and no network.

    limit: bytes of media within it. What cannot be shown is named in the page.
    """
    facts = Facts(report)
    won = {judge.name: winners.stretches(facts, judge) for judge in facts.judges}
    shown, store = gallery.exhibits(facts, folder, limit)
    sections = [
        ("verdict", "Who wins", verdict(facts, won)),
        ("curves", "Quality over rate", tag("div", plots.plots(facts), class_="plots")),
        ("bytes", "Bytes for equal quality", join(rates.forests(facts), rates.pairs(facts), rates.matrices(facts))),
        ("gallery", "Gallery", gallery.section(facts, shown, store)),
        ("parts", "What bytes are for", costs.bits(facts)),
        ("speed", "Time", costs.speeds(facts)),
        ("tasks", "Machines and metrics", notes.correlations(facts) if report.correlations else Html("")),
        ("files", "Every file", files_table(facts)),
        ("missing", "What is missing", notes.missing(facts)),
        ("method", "Method", join(notes.method(facts), notes.codecs(facts))),
        ("manifest", "Manifest", notes.manifest(facts)),
    ]
    sections = [(name, title, body) for name, title, body in sections if body]
    links = [tag("a", title, href=f"#{name}") for name, title, _ in sections]
    before = join(
        header(facts, won),
        tag("nav", *links, aria_label="Sections", class_="contents"),
        controls(facts),
        tag("noscript", tag("p", NO_SCRIPT, class_="soft")),
        tag("main", *(tag("section", tag("h2", title), body, id=name) for name, title, body in sections)),
    )
    after = data(payload(facts, shown, store), "report-data")
    title = verdicts.headline(facts, won)
    page = _document(join(before, footer(0), after), title)
    return _document(join(before, footer(len(page.encode())), after), title)


def footer(count: int) -> Html:
    """count: bytes of the page."""
    made = ("Made by ", tag("b", "smalti compare"), f" from report.json and media/. This page has {size(count)} and fetches nothing.")
    return tag("footer", tag("p", *made))


def header(facts: Facts, won: verdicts.Stretches) -> Html:
    """What was compared, and the outcome in a sentence."""
    report = facts.report
    made = report.created.replace("T", " ").split("+")[0].removesuffix("Z")
    about = f"{counted(len(report.codecs), 'codec')}, {facts.things}, {counted(len(report.rows), 'file')}, {made[:16]}"
    lost = len(report.failures)
    lead = verdicts.lead_text(facts)
    return tag(
        "header",
        tag("p", tag("b", "Smalti"), f" compared {about}", class_="about"),
        tag("h1", verdicts.headline(facts, won)),
        tag("p", lead, class_="lead") if lead else "",
        tag("p", tag("a", f"{counted(lost, 'failure')}", href="#missing"), class_="warn") if lost else "",
        class_="top",
    )


def verdict(facts: Facts, won: verdicts.Stretches) -> Html:
    return join(verdicts.ribbons(facts, won), rates.summary(facts))


def controls(facts: Facts) -> Html:
    """Codecs as switches (the legend of all plots), the anchor, measures and items."""
    chips = [
        tag("button", rates.named(facts, name), type="button", class_="chip", data_chip=k, aria_pressed="true", title=SWITCH)
        for k, name in enumerate(facts.names)
    ]
    measures = [
        tag("button", judge.title, type="button", class_="chip", data_measure=k, aria_pressed="true", title=SWITCH)
        for k, judge in enumerate(facts.judges)
    ]
    anchors = [tag("option", facts.title_of[name], value=facts.index[name], selected=name == facts.anchor) for name in facts.with_bd]
    items = [tag("option", "all", value="")] + [tag("option", item.id, value=k) for k, item in enumerate(facts.report.items)]
    return tag(
        "div",
        tag("div", *chips, class_="chips", role="group", aria_label="Codecs"),
        tag(
            "div",
            tag("div", *measures, class_="chips", role="group", aria_label="Measures"),
            tag("label", "Anchor ", tag("select", *anchors, id="anchor")) if len(anchors) > 1 else "",
            tag("label", "Item ", tag("select", *items, id="item")),
            tag("button", "All again", type="button", id="reset", class_="chip"),
            class_="more",
        ),
        class_="controls",
    )


def files_table(facts: Facts) -> Html:
    """The head of the table of files; scripts fill in its rows, which a sort or filter changes."""
    unit = facts.report.rate.unit
    columns = [("codec", "Codec"), ("setting", "Setting"), ("item", "Item"), ("bytes", "Bytes"), ("rate", unit.capitalize())]
    heads = [
        tag("th", tag("button", title, type="button", data_sort=key), scope="col", class_="num" if k > 2 else None)
        for k, (key, title) in enumerate(columns)
    ]
    heads += [
        tag("th", tag("button", judge.title, type="button", data_sort=f"m{k}"), scope="col", class_="num", data_judge=k)
        for k, judge in enumerate(facts.judges)
        if not judge.is_task
    ]
    heads += [
        tag("th", tag("button", title, type="button", data_sort=key), scope="col", class_="num")
        for key, title in (("encode", "Encode, s"), ("decode", "Decode, s"))
    ]
    table = tag("table", tag("thead", tag("tr", *heads)), tag("tbody"), id="files-table")
    note = "Numbers of each file, as far as filters let them through; rows.csv beside report.json has all of them."
    return join(
        tag("p", note, class_="soft"),
        tag("div", table, class_="wide"),
        tag("button", "Show more", type="button", id="more", class_="chip", hidden=True),
    )


def _document(body: Html, title: str) -> Html:
    assets = files("smalti.compare.page") / "assets"
    style = (assets / STYLE).read_text(encoding="utf-8")
    script = "".join((assets / name).read_text(encoding="utf-8") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = POLICY.format(digest=digest)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} \N{EN DASH} smalti compare"),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(style)),
    )
    return join(Html("<!doctype html>\n"), tag("html", head, tag("body", body, tag("script", Html(script))), lang="en"), Html("\n"))
