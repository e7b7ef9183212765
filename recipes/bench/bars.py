"""Limits that a benchmark holds its numbers to, and how it says which of them are missed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Bar:
    """A number that must be at least or at most some limit."""

    what: str
    found: float
    order: str  # ">=" or "<="
    limit: float

    @property
    def met(self) -> bool:
        return self.found >= self.limit if self.order == ">=" else self.found <= self.limit


def report(rows: Sequence[Any], bars: Sequence[Bar], as_json: bool, **more: Any) -> int:
    """Print the bars, or all as JSON; the exit code, 1 where a bar is missed.

    rows: dataclasses with a field `case`, itself one, whose fields stand beside the row's own. more: further keys of the JSON.
    """
    if as_json:
        lines = [{**asdict(row.case), **{key: value for key, value in asdict(row).items() if key != "case"}} for row in rows]
        print(json.dumps({"rows": lines, **more, "bars": [{**asdict(bar), "met": bar.met} for bar in bars]}, indent=1))
    else:
        for bar in bars:
            print(f"{'met   ' if bar.met else 'MISSED'} {bar.what} {bar.found:.2f} {bar.order} {bar.limit:g}")
    return 0 if all(bar.met for bar in bars) else 1
