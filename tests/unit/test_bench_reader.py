"""The reader's benchmark: contenders give what they should, and a missed bar is seen. Nothing here looks at a clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.prepare.reader import open_pack
from smalti.recipes.bench import reader
from smalti.recipes.bench.reader import BATCH, LENGTH, OURS, Case, Row, bars


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reader.make_pack(tmp_path_factory.mktemp("bench") / "pack", 1)


def test_every_contender_gives_windows_of_the_file(folder: Path) -> None:
    data = np.fromfile(folder / "tokens.bin", np.uint16).astype(np.int64)
    assert len(data) == BATCH * LENGTH == len(open_pack(folder, deep=True).ids)
    found = {tuple(data[i : i + LENGTH - 1].tolist()) for i in range(len(data) - LENGTH + 2)}
    for make in reader.CONTENDERS.values():
        given = make(folder)()
        inputs, targets = given if isinstance(given, tuple) else (given[:, :-1], given[:, 1:])
        assert inputs.shape == targets.shape == (BATCH, LENGTH - 1)
        assert inputs.dtype == targets.dtype == torch.int64
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        assert all(tuple(row) in found for row in inputs[:4].tolist())


def test_a_missed_bar_is_seen(folder: Path) -> None:
    rows = reader.measure(folder, rounds=1, batches=1)
    assert [row.case.reader for row in rows] == list(reader.CONTENDERS)
    fast, slow = Row(Case(OURS), 100, 600, 1.0), Row(Case("other"), 149, 400, 1.49)
    assert [bar.met for bar in bars([fast, slow], 49.0)] == [False, True]
    assert [bar.met for bar in bars([fast, Row(Case("other"), 150, 400, 1.5)], 51.0)] == [True, False]
    assert reader.resume(folder, times=1) > 0
