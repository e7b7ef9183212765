"""The speed table of codebooks: every contender can be called, and a missed bar is seen. Nothing here looks at a clock."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from smalti.recipes.bench import quantizers
from smalti.recipes.bench.quantizers import PEER, Case, Row, bars, latents, table

CALLS = [(part, contender) for part in ("search", "inference", "training") for contender in quantizers.PARTS[part]]


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")  # FAISS's wrapper, on import
@pytest.mark.parametrize(("part", "contender"), [pytest.param(*call, id=f"{call[0]}-{call[1].name}") for call in CALLS])
def test_every_contender_does_its_work_each_time(part: str, contender: quantizers.Contender, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(part, 40, 3, 16)
    steps: list[None] = []
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: (steps.append(None), backward(self)))
    call = contender.prepare(case)
    for done in (1, 2):
        result = call()
        if part == "training":
            assert len(steps) == done
        elif part == "search":
            nearest = torch.cdist(latents(case), table(case)).argmin(1).tolist()
            assert result is None if contender.name == "product alone" else _indices(result) == nearest
        else:
            assert len(_indices(result)) == case.rows


def _indices(result: Any) -> list[int]:
    """Of what a contender returns: indices, or a tuple or object that has them."""
    found = result.indices[0] if hasattr(result, "z_q") else result[1] if isinstance(result, tuple) else result
    return [int(index) for index in found.flatten()]


def rows(case: Case, seconds: dict[str, float], mebibytes: float = 1.0) -> list[Row]:
    return [Row(case, name, value, mebibytes) for name, value in seconds.items()]


def found(*made: list[Row]) -> list[tuple[float, bool]]:
    return [(bar.found, bar.met) for bar in bars(row for part in made for row in part)]


def test_search_is_held_against_the_faster_rival_that_finds_something() -> None:
    case = Case("search", 16384, 8, 1024)
    rivals = {"FAISS": 0.9, "chunked addmm": 2.0, "product alone": 0.1}
    assert found(rows(case, {"ours": 1.0, **rivals})) == [(0.9, True)]
    assert found(rows(case, {"ours": 1.25, **rivals})) == [(pytest.approx(0.72), False)]


def test_quantizing_and_training_are_held_against_the_library() -> None:
    inference, training = Case("inference", 16384, 8, 1024), Case("training", 16384, 8, 8192)
    assert found(rows(inference, {"ours": 1.0, PEER: 4.0}), rows(training, {"ours": 1.0, PEER: 4.0})) == [(4.0, True), (4.0, False)]
    assert found(rows(Case("training", 16384, 8, 1024), {"ours": 1.0, PEER: 1.0})) == []
    lfq = Case("training LFQ", 4096, 18, 2**18)
    assert found(rows(lfq, {"ours": 1.0, PEER: 9.0}, mebibytes=65)) == [(9.0, False), (65, False)]
    whole = Case(quantizers.ONE_GROUP, 4096, 18, 2**18)
    assert found(rows(whole, {"ours": 1.0, f"{PEER}, 1/16 of the rows, times 16": 9.0}, mebibytes=65)) == [(9.0, False), (65, False)]


def test_one_group_is_the_hard_case_of_lfq() -> None:
    """What is measured there has the entropy of whole codes."""
    assert {case.part for case in quantizers.CASES} == set(quantizers.PARTS)
    for part, group_bits in (("training LFQ", 9), (quantizers.ONE_GROUP, 18)):
        config = quantizers._quantizer(Case(part, 4096, 18, 2**18)).config.codebook
        assert (config.bits, config.group_bits) == (18, group_bits)


def test_what_was_multiplied_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizers, "_alone", lambda case, contender: 1.0)
    shares: list[int] = []
    contender = quantizers.Contender("rival", lambda case: lambda: shares.append(case.rows), share=4)
    monkeypatch.setitem(quantizers.PARTS, "search", (quantizers.Contender("ours", lambda case: lambda: None), contender))
    measured = quantizers.measure(Case("search", 40, 3, 16), runs=1)
    assert [(row.name, row.mebibytes) for row in measured] == [("ours", 1.0), ("rival, 1/4 of the rows, times 4", 4.0)]
    assert set(shares) == {10}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_missed_bar_is_the_exit_code(options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case("inference", 16384, 8, 1024)
    monkeypatch.setattr(quantizers, "CASES", [case])
    monkeypatch.setattr("sys.argv", ["quantizers", *options])
    for times, code in ((4.0, 0), (3.9, 1)):
        monkeypatch.setattr(quantizers, "measure", lambda case, runs, times=times: rows(case, {"ours": 1.0, PEER: times}))
        assert quantizers.main() == code
        text = capsys.readouterr().out
        if options:
            assert [bar["met"] for bar in json.loads(text)["bars"]] == [code == 0]


def test_memory_counts_where_the_matrix_of_distances_would_show() -> None:
    small, large = Case("inference", 4096, 8, 16384), Case("inference", 4096, 8, 65536)
    seconds = {"ours": 1.0, PEER: math.inf}
    assert len(found(rows(small, seconds, 100.0))) == 1
    assert found(rows(large, seconds, 100.0))[1] == (100.0, False)
    assert found(rows(large, seconds, 64.0))[1] == (64.0, True)
