"""What the page says and how it is drawn, without a browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from smalti.compare import results
from smalti.compare.page import NAME, write_page
from smalti.compare.page.document import render
from smalti.compare.page.facts import Facts
from smalti.compare.page.plots import drawing, frame_of
from smalti.compare.page.rates import _kind
from smalti.tokenizers.errors import UsageError

SECTIONS = ["verdict", "curves", "bytes", "gallery", "parts", "speed", "tasks", "files", "missing", "method", "manifest"]
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\x00\x1b\u202e&amp;"
SEEN = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\ufffd\ufffd\ufffd&amp;"


class Page(HTMLParser):
    """Tags with their attributes, text outside of scripts, and the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "input", "meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.open[-1:] != ["style"]:
            self.words += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.tags if name == tag and attributes.items() <= found.items()]

    @property
    def data(self) -> Any:
        return json.loads(self.scripts[0])


def page_of(report: results.Report, folder: Path) -> Page:
    page = Page(render(report, folder))
    assert not page.open, "every element is closed"
    identities = [found["id"] for _, found in page.tags if "id" in found]
    assert len(identities) == len(set(identities))
    return page


def test_all_of_it_in_one_file(make: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    results.save(report, tmp_path / results.FILE)
    path = write_page(tmp_path)
    assert path == tmp_path / NAME
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert [found["id"] for found in page.all("section")] == SECTIONS
    assert not [
        link for _, found in page.tags for key in ("src", "href") if (link := found.get(key)) and not link.startswith(("data:", "#"))
    ]
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    (policy,) = [found["content"] or "" for found in page.all("meta", **{"http-equiv": "Content-Security-Policy"})]
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    said = re.search(r"This page has ([\d.]+)\u202fkB and fetches nothing", text)
    assert said is not None
    assert float(said[1]) * 1000 == pytest.approx(path.stat().st_size, rel=0.005)


def test_nothing_that_a_report_says_becomes_markup(make: Any, tmp_path: Path) -> None:
    plain = make({"ours": 3.0, "classic": 0.0})
    names = {"ours": HOSTILE, "classic": "classic" + HOSTILE, "q0": HOSTILE, "a.png": HOSTILE, "psnr": HOSTILE}
    hostile = lambda value: (  # noqa: E731
        names.get(value, value)
        if isinstance(value, str) and value in names
        else tuple(map(hostile, value))
        if isinstance(value, tuple)
        else {hostile(key): hostile(item) for key, item in value.items()}
        if isinstance(value, dict)
        else dataclasses.replace(value, **{f.name: hostile(getattr(value, f.name)) for f in dataclasses.fields(value)})
        if dataclasses.is_dataclass(value)
        else value
    )
    report = hostile(plain)
    manifest = dataclasses.replace(report.manifest, smalti=HOSTILE, packages={HOSTILE: HOSTILE}, arguments={HOSTILE: [HOSTILE]})
    report = dataclasses.replace(
        report,
        created=HOSTILE,
        manifest=manifest,
        rate=dataclasses.replace(report.rate, unit=HOSTILE, formula=HOSTILE),
        absent=(results.Absent(HOSTILE, HOSTILE, HOSTILE),),
        failures=(results.Failure(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        codecs=tuple(dataclasses.replace(codec, title=HOSTILE, version=HOSTILE, kind=HOSTILE) for codec in report.codecs),
        metrics=tuple(dataclasses.replace(metric, convention=HOSTILE, unit=HOSTILE) for metric in report.metrics),
    )
    page, before = page_of(report, tmp_path), page_of(plain, tmp_path)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in before.tags]
    assert {key for _, found in page.tags for key in found} == {key for _, found in before.tags for key in found}
    assert len(page.scripts) == 2
    assert page.scripts[1] == before.scripts[1]
    assert "<" not in page.scripts[0]
    assert page.data["items"][0] == HOSTILE
    assert page.words.count(SEEN) > 20


def test_curves_stand_where_their_numbers_say(make: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    facts = Facts(report)
    judge = facts.judges[0]
    frame = frame_of(facts, judge)
    paths = re.findall(r'<path d="M([^"]*)" class="line"', drawing(facts, judge))
    assert len(paths) == 2
    for name, path in zip(facts.names, paths, strict=True):
        points = facts.curve_of[name, "psnr"].points
        for place, point in zip(path.split("L"), points, strict=True):
            x, y = map(float, place.split())
            share = (x - 50) / (420 - 12 - 50)
            rate = frame.rate.low * (frame.rate.high / frame.rate.low) ** share
            assert rate == pytest.approx(point.rate, rel=1e-3), "the axis is logarithmic"
            value = frame.quality.low + (300 - 42 - y) / (300 - 42 - 12) * (frame.quality.high - frame.quality.low)
            assert value == pytest.approx(point.value, rel=1e-3)
    (bars,) = re.findall(r'<path d="([^"]*)" class="whisk"', drawing(facts, judge).partition('data-codec="1"')[0])
    assert bars.count("V") == 5
    low, high = map(float, re.findall(r"M\S+ (\S+)V([^M]+)", bars)[0])
    assert low == pytest.approx(frame.quality.at(points_of(facts, "ours")[0].low), abs=0.01)
    assert high == pytest.approx(frame.quality.at(points_of(facts, "ours")[0].high), abs=0.01)


def points_of(facts: Facts, name: str) -> Any:
    return facts.curve_of[name, "psnr"].points


def test_the_ceiling_of_a_task_is_drawn(make: Any) -> None:
    facts = Facts(make({"ours": 3.0, "classic": 0.0}))
    task = facts.judges[-1]
    found = drawing(facts, task)
    y = float(re.search(r'class="ceiling"><line x1="50" x2="408" y1="([\d.]+)"', found)[1])  # type: ignore[index]
    assert y == pytest.approx(frame_of(facts, task).quality.at(0.95), abs=0.01)
    assert "uncompressed" in found
    assert "uncompressed" not in drawing(facts, facts.judges[0])


def test_the_summary_beside_each_anchor(make: Any, tmp_path: Path) -> None:
    page = page_of(make({"ours": 3.0, "classic": 0.0, "other": 0.1}), tmp_path)
    shown = [found for found in page.all("div") if "data-anchor" in found and "hidden" not in found]
    assert {found["data-anchor"] for found in shown} == {"0"}, "the first"
    assert len([found for found in page.all("div") if "data-anchor" in found]) == 2 * 3
    assert "+41\u202f%[+38, +44]overlap 80\u202f%, 5 points" in page.words
    assert "\N{MINUS SIGN}29\u202f%[\N{MINUS SIGN}32, \N{MINUS SIGN}26]overlap 80\u202f%, 5 points" in page.words
    assert "\N{ALMOST EQUAL TO} \N{MINUS SIGN}1.1\u202f%" in page.words, "no verdict where the interval holds zero"


def test_why_there_is_no_verdict(make: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    bds = tuple(dataclasses.replace(bd, verdict="no verdict", reason="5 items, a verdict needs 6") for bd in report.bd)
    page = page_of(dataclasses.replace(report, bd=bds), tmp_path)
    assert " +41\u202f%[+38, +44]overlap 80\u202f%, 5 points5 items, a verdict needs 6" in page.words
    assert "\N{ALMOST EQUAL TO}" not in page.words, "the interval holds no zero"


def test_the_anchor_that_was_asked_for(make: Any) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    manifest = dataclasses.replace(report.manifest, arguments={"anchor": "classic"})
    assert Facts(report).anchor == "ours"
    assert Facts(dataclasses.replace(report, manifest=manifest)).anchor == "classic"


@pytest.mark.parametrize("count", [0, 1, 30])
def test_any_number_of_codecs(make: Any, tmp_path: Path, count: int) -> None:
    report = make({f"codec-{k}": 2.0 * k for k in range(count)}, rates=3)
    page = page_of(report, tmp_path)
    assert len(page.all("button")) >= count
    drawn = {(look["colour"], look["dash"], look["marker"]) for look in page.data["codecs"]}
    assert len(drawn) == count, "all can be told apart"
    assert len({(colour, marker) for colour, _, marker in drawn}) == count, "where a single point has no line too"
    assert ("bytes" in [found["id"] for found in page.all("section")]) == (count > 1), "no section is empty"
    if count == 30:
        assert "CODEC-29 takes the fewest bytes" in page.words


def test_values_that_are_none(make: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    empty = [dataclasses.replace(row, metrics=dict.fromkeys(row.metrics), encode_seconds=0.0) for row in report.rows]
    curves = [
        dataclasses.replace(
            c, points=tuple(dataclasses.replace(p, value=None if k else math.nan, low=None, high=None) for k, p in enumerate(c.points[1:]))
        )
        for c in report.curves
    ]
    bds = [dataclasses.replace(bd, percent=None, low=None, high=None, verdict="undefined", reason="no common quality") for bd in report.bd]
    tasks = [dataclasses.replace(task, ceiling=None) for task in report.tasks]
    blank = dataclasses.replace(
        report,
        rows=tuple(empty),
        curves=tuple(curves),
        bd=tuple(bds),
        tasks=tuple(tasks),
        correlations=(),
        crops=(),
        failures=(),
        absent=(),
    )
    page = page_of(blank, tmp_path)
    assert [found["id"] for found in page.all("section")] == [name for name in SECTIONS if name != "tasks"]
    assert page.words.count("no values") == 4
    assert "Nothing failed" in page.words
    assert "nan" not in page.words
    assert page.data["rows"]["metrics"][0] == [None] * len(report.rows)
    assert "No codec leads beyond what intervals allow" in page.words


def test_nothing_came_out(make: Any, tmp_path: Path) -> None:
    report = dataclasses.replace(make({"ours": 3.0, "classic": 0.0}), rows=(), curves=(), bd=(), task_scores=(), crops=(), correlations=())
    page = page_of(report, tmp_path)
    assert "Nothing could be compared" in page.words
    assert "No times were measured" in page.words
    assert "those intervals are too narrow" in page.words


def test_what_failed_and_what_is_absent(make: Any, tmp_path: Path) -> None:
    page = page_of(make({"ours": 3.0, "classic": 0.0}), tmp_path)
    missing = page.words.partition("What is missing")[2].partition("Conventions")[0]
    for word in ("jxl", "imagecodecs is not installed", "pip install imagecodecs", "h.png", "compress", "no bytes came"):
        assert word in page.words
        assert word in missing or word in page.words.rpartition("What is missing")[2]
    assert "1 failure" in page.words


def test_one_rate_is_no_curve(make: Any, tmp_path: Path) -> None:
    report = make({"ours": 3.0, "classic": 0.0})
    fixed = dataclasses.replace(report.codecs[0], settings=("q0",), fixed_rate=True, bd=False, reason="one rate only")
    rows = tuple(row for row in report.rows if row.codec != "ours" or row.setting == "q0")
    curves = tuple(dataclasses.replace(c, points=c.points[:1]) if c.codec == "ours" else c for c in report.curves)
    bds = tuple(dataclasses.replace(bd, percent=None, low=None, high=None, verdict="undefined", reason="one rate only") for bd in report.bd)
    report = dataclasses.replace(report, codecs=(fixed, report.codecs[1]), rows=rows, curves=curves, bd=bds)
    page = page_of(report, tmp_path)
    assert "one rate" in page.words
    assert len(page.all("path", **{"class": "mark"})) >= 6
    assert Facts(report).with_bd == ("classic",)


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(UsageError, match="schema None"):
        write_page(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("grid+zlib", "lossless", "the same tokens, packed"),
        ("tokens-lzma", "lossless", "the same tokens, packed"),
        ("flac", "lossless", "lossless"),
    ],
)
def test_packed_tokens_are_not_called_lossless(name: str, kind: str, said: str) -> None:
    assert _kind(results.CodecInfo(name, name, kind, ("1",), False, "1", True, "")) == said
