"""What scripts draw from, as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from smalti.compare.page.facts import Facts
from smalti.compare.page.gallery import Exhibit, as_data, short_unit
from smalti.compare.page.looks import Look, marker
from smalti.compare.page.previews import Store
from smalti.compare.results import Point

DIGITS = 6  # of numbers


def payload(facts: Facts, shown: Sequence[Exhibit], store: Store) -> dict[str, Any]:
    """What scripts draw from: short names, since it may hold many rows."""
    report = facts.report
    rows = report.rows
    metrics = [judge for judge in facts.judges if not judge.is_task]
    settings = list(dict.fromkeys(row.setting for row in rows))
    at = {setting: k for k, setting in enumerate(settings)}
    return {
        "unit": report.rate.unit,
        "short": short_unit(facts),
        "codecs": [{"title": facts.title_of[name], **_look(facts.look_of[name])} for name in facts.names],
        "items": [item.id for item in report.items],
        "judges": [
            {"title": j.title, "unit": j.unit, "db": j.transform == "db", "task": j.is_task, "ceiling": j.ceiling} for j in facts.judges
        ],
        "curves": [[_points(facts.points(name, judge.name)) for name in facts.names] for judge in facts.judges],
        "settings": settings,
        "rows": {
            "codec": [facts.index[row.codec] for row in rows],
            "setting": [at[row.setting] for row in rows],
            "item": [facts.item_index[row.item] for row in rows],
            "bytes": [row.bytes for row in rows],
            "rate": [_short(facts.rate(row)) for row in rows],
            "encode": [_short(row.encode_seconds) for row in rows],
            "decode": [_short(row.decode_seconds) for row in rows],
            "metrics": [[_short(row.metrics.get(judge.name)) for row in rows] for judge in metrics],
        },
        "exhibits": as_data(facts, list(shown)),
        "media": [None if k in store.shown else uri for k, uri in enumerate(store.media)],
    }


def _look(look: Look) -> dict[str, Any]:
    return {"colour": look.colour, "dash": look.dash, "marker": marker(look.marker)}


def _points(points: Sequence[Point]) -> list[list[Any]]:
    return [[_short(p.rate), _short(p.value), _short(p.low), _short(p.high), p.setting] for p in points]


def _short(value: float | None) -> float | None:
    """With as many digits as a picture can show; None of what is no finite number."""
    return float(f"{value:.{DIGITS}g}") if value is not None and math.isfinite(value) else None
