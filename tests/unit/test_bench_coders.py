"""The speed table of entropy coders: all give back what they were given, and a missed bar is seen. Nothing here looks at a clock."""

from __future__ import annotations

import pytest

from smalti.recipes.bench import coders
from smalti.recipes.bench.coder_rivals import Calls, Case
from smalti.recipes.bench.coders import CONSTRICTION, Contender, Row, bars, measure

TABLE, FEW = Case("static table", 2**22, 1024), Case("static table", 256, 1024)


def row(case: Case, name: str, encode: float, decode: float, size: int = 1000) -> Row:
    return Row(case, name, encode, decode, size, 1000.0)


@pytest.mark.parametrize("part", coders.PARTS)
def test_every_contender_gives_back_what_it_was_given(part: str) -> None:
    size = 2 if part == "adaptive bits" else 16
    rows = measure(Case(part, 300, size), runs=1)
    there = [contender.name for contender in coders.PARTS[part] if not contender.absent]
    assert [row.name for row in rows] == there
    assert rows[0].name == "ours"
    assert rows[0].ideal - 1 < rows[0].bytes <= 1.005 * rows[0].ideal + 8


def test_a_contender_that_forgets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Contender("wrong", lambda case: Calls(lambda: b"", lambda data: b"other"))
    monkeypatch.setitem(coders.PARTS, "packed indices", (wrong,))
    with pytest.raises(AssertionError, match="wrong"):
        measure(Case("packed indices", 9, 4), runs=1)


def test_absent_rivals_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Contender("gone", lambda case: Calls(lambda: 1 / 0, lambda data: data), "no_such_module")
    monkeypatch.setitem(coders.PARTS, "static table", (coders.PARTS["static table"][0], gone))
    assert [row.name for row in measure(Case("static table", 9, 4), runs=1)] == ["ours"]


def test_speed_is_held_against_the_bar_and_the_rival() -> None:
    million = TABLE.count / 1e6
    slow = bars([row(TABLE, "ours", million / 39, million / 41), row(TABLE, CONSTRICTION, 1.0, million / 42)])
    assert [(round(bar.found, 2), bar.met) for bar in slow] == [(-5.0, True), (39.0, False), (41.0, True), (0.98, False)]
    assert len(bars([row(TABLE, "ours", 1.0, 1.0)])) == 3


def test_few_symbols_are_held_against_milliseconds_and_all_against_bytes() -> None:
    found = bars([row(FEW, "ours", 0.0001, 0.0003, 1014)])
    assert [(round(bar.found, 2), bar.met) for bar in found] == [(9.0, False), (0.1, True), (0.3, False)]
