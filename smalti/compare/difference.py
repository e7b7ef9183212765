"""What changed between two reports: versions, items, bytes of files, curves beyond their intervals, verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smalti.compare.results import Report
from smalti.tokenizers.errors import UsageError

MOST_LINES = 10  # of changed files; the rest is counted


def difference(before: Report, after: Report) -> list[str]:
    """A line on each thing that changed; none where the reports say the same. Times, dates and the machine do not count.

    A point of a curve changed where its value left the interval of the other's; where a side has none, where they differ at all.
    UsageError for reports of different kinds.
    """
    if before.kind != after.kind:
        raise UsageError(f"reports of {before.kind} and {after.kind}, expected two of one kind")
    lines = list(_versions(before, after))
    lines += _named("item", {i.id: i.sha256 for i in before.items}, {i.id: i.sha256 for i in after.items}, "other content")
    lines += _named("codec", {c.name: c.version for c in before.codecs}, {c.name: c.version for c in after.codecs}, "")
    lines += _named("metric", {m.name: m.convention for m in before.metrics}, {m.name: m.convention for m in after.metrics}, "")
    lines += _named("task", {t.name: t.convention for t in before.tasks}, {t.name: t.convention for t in after.tasks}, "")
    lines += _bytes(before, after)
    lines += _curves(before, after)
    lines += _verdicts(before, after)
    failed = [{(f.codec, f.setting, f.item, f.stage) for f in report.failures} for report in (before, after)]
    if failed[0] != failed[1]:
        lines.append(f"failures: {len(failed[1] - failed[0])} new, {len(failed[0] - failed[1])} gone")
    return lines


def _versions(before: Report, after: Report) -> Iterator[str]:
    a, b = before.manifest, after.manifest
    yield from _named("program", {"smalti": a.smalti, "python": a.python}, {"smalti": b.smalti, "python": b.python}, "")
    yield from _named("package", a.packages, b.packages, "")
    yield from _named("model", a.models, b.models, "")


def _named(what: str, before: Mapping[str, str], after: Mapping[str, str], changed: str) -> Iterator[str]:
    """Things by name that went, came, or say something else. changed: is said in the place of what they say."""
    for name in sorted(before.keys() - after.keys()):
        yield f"{what} {name}: gone"
    for name in sorted(after.keys() - before.keys()):
        yield f"{what} {name}: new"
    for name, value in before.items():
        if name in after and after[name] != value:
            yield f"{what} {name}: {changed or f'{value} -> {after[name]}'}"


def _bytes(before: Report, after: Report) -> Iterator[str]:
    old = {(row.codec, row.setting, row.item): row.bytes for row in before.rows}
    new = {(row.codec, row.setting, row.item): row.bytes for row in after.rows}
    common = old.keys() & new.keys()
    changed = sorted((key for key in common if old[key] != new[key]), key=lambda key: (-abs(new[key] / max(1, old[key]) - 1), key))
    for codec, setting, item in changed[:MOST_LINES]:
        a, b = old[codec, setting, item], new[codec, setting, item]
        yield f"bytes of {item} by {codec} {setting}: {a} -> {b} ({100 * (b / max(1, a) - 1):+.1f} %)"
    if len(changed) > MOST_LINES:
        yield f"bytes of {len(changed) - MOST_LINES} more files of {len(common)}"
    if gone := len(old.keys() - common):
        yield f"{_files(gone)} only in the first report"
    if come := len(new.keys() - common):
        yield f"{_files(come)} only in the second report"


def _files(count: int) -> str:
    return "1 file that a codec wrote is" if count == 1 else f"{count} files that codecs wrote are"


def _curves(before: Report, after: Report) -> Iterator[str]:
    old, new = _points(before), _points(after)
    for key in sorted(old.keys() & new.keys()):
        a, b = old[key], new[key]
        if a.value is None or b.value is None:
            if (a.value is None) != (b.value is None):
                yield f"{key[1]} of {key[0]} at {key[2]}: {_text(a.value)} -> {_text(b.value)}"
        elif not (_within(b.value, a) and _within(a.value, b)):
            yield f"{key[1]} of {key[0]} at {key[2]}: {a.value:.5g} -> {b.value:.5g}, beyond the interval"


def _points(report: Report) -> dict[tuple[str, str, str], Any]:
    return {(curve.codec, curve.metric, point.setting): point for curve in report.curves for point in curve.points}


def _within(value: float, point: Any) -> bool:
    low = point.value if point.low is None else point.low
    high = point.value if point.high is None else point.high
    slack = 1e-6 * max(abs(low), abs(high))  # sums of another order
    return bool(low - slack <= value <= high + slack)


def _verdicts(before: Report, after: Report) -> Iterable[str]:
    old = {(bd.metric, bd.anchor, bd.codec): bd for bd in before.bd}
    for bd in after.bd:
        was = old.get((bd.metric, bd.anchor, bd.codec))
        if was is not None and was.verdict != bd.verdict:
            ends = f"{_text(was.percent)} % -> {_text(bd.percent)} %"
            yield f"{bd.codec} against {bd.anchor} by {bd.metric}: {was.verdict} -> {bd.verdict} ({ends})"


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
