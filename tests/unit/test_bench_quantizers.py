"""The speed table of codebooks: every contender can be called, and a missed bar is seen. Nothing here looks at a clock."""

from __future__ import annotations

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


def test_memory_counts_where_the_matrix_of_distances_would_show() -> None:
    small, large = Case("inference", 4096, 8, 16384), Case("inference", 4096, 8, 65536)
    seconds = {"ours": 1.0, PEER: math.inf}
    assert len(found(rows(small, seconds, 100.0))) == 1
    assert found(rows(large, seconds, 100.0))[1] == (100.0, False)
    assert found(rows(large, seconds, 64.0))[1] == (64.0, True)
