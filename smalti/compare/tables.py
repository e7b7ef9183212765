"""Rows, curves and BD rates as CSV, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smalti.codecs.media.files import write_atomically
from smalti.compare import results
from smalti.compare.results import Report


def write(report: Report, folder: Path) -> None:
    """rows.csv, curves.csv and bd.csv; UsageError where the folder cannot be written."""
    names = [metric.name for metric in report.metrics]
    units = {item.id: item.units for item in report.items}
    plain = [name for name in results.Row.__dataclass_fields__ if name != "metrics"]
    rows = (
        [getattr(row, n) for n in plain] + [results.rate_of(report, row, units)] + [row.metrics.get(n) for n in names]
        for row in report.rows
    )
    _write(folder / "rows.csv", [*plain, "rate", *names], rows)
    points = ([curve.codec, curve.metric, *asdict(point).values()] for curve in report.curves for point in curve.points)
    _write(folder / "curves.csv", ["codec", "metric", *results.Point.__dataclass_fields__], points)
    _write(folder / "bd.csv", list(results.BD.__dataclass_fields__), (_flat(bd) for bd in report.bd))


def _flat(bd: results.BD) -> list[Any]:
    return ["/".join(map(str, value)) if isinstance(value, tuple) else value for value in asdict(bd).values()]


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode(errors="backslashreplace"))
