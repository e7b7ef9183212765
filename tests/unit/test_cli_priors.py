"""Files coded with tables of one's own: written by `tokenize --prior FILE`, read back wherever the same FILE is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from smalti.codecs.priors.static import StaticPrior


@dataclass(frozen=True)
class Fitted:
    tables: Path  # fitted to the sample's tokens alone
    other: Path
    file: Path  # coded with `tables`


@pytest.fixture
def fitted(cli: Any, samples: Any, tmp_path: Path) -> Fitted:
    made = Fitted(tmp_path / "tables.safetensors", tmp_path / "other.safetensors", tmp_path / "own.smt")
    tokens = smalti.open(samples.solo)
    StaticPrior.fit([tokens]).save(made.tables)
    StaticPrior.fit([tokens, tokens]).save(made.other)
    assert cli("tokenize", samples.photo, "-o", made.file, "--prior", made.tables).code == 0
    return made


def test_read_back_with_its_tables(cli: Any, samples: Any, fitted: Fitted, tmp_path: Path) -> None:
    prior = ("--prior", fitted.tables)
    assert smalti.open(fitted.file, prior=fitted.tables) == smalti.open(samples.solo)
    same = smalti.decompress(samples.solo)
    assert np.array_equal(smalti.decompress(fitted.file, prior=str(fitted.tables)).pixels, same.pixels)
    assert cli("detokenize", fitted.file, *prior, "-o", tmp_path / "a.png").code == 0
    assert np.array_equal(smalti.read(tmp_path / "a.png").pixels, same.pixels)
    assert cli("cut", fitted.file, *prior, "--stages", "1", "-o", tmp_path / "cut.smt").code == 0
    assert smalti.open(tmp_path / "cut.smt", prior=fitted.tables) == smalti.open(samples.solo, stages=1)
    shorter = ("--bytes", fitted.file.stat().st_size - 1)
    assert cli("detokenize", fitted.file, *prior, *shorter, "-o", tmp_path / "b.png", "--json").json[0]["stages"] == 1
    assert cli("verify", fitted.file, *prior).out == f"{fitted.file}: whole\n"


def test_not_without_them(cli: Any, fitted: Fitted, tmp_path: Path) -> None:
    id = StaticPrior.load(fitted.tables).id.hex()
    calls = (["detokenize", "-o", tmp_path / "x.png"], ["cut", "--stages", "1", "-o", tmp_path / "x.smt"])
    for arguments in calls:
        assert f"coded with prior {id}, which image-grid-16" in cli(*arguments, fitted.file).refusal()
    for wrong in (fitted.other, "uniform"):
        for arguments in (*calls, ["verify"]):
            assert f"{fitted.file}: coded with prior {id}, but {wrong} is " in cli(*arguments, fitted.file, "--prior", wrong).refusal()
        with pytest.raises(smalti.ModelError, match=id):
            smalti.open(fitted.file, prior=wrong)
    with pytest.raises(smalti.UsageError, match="no prior 'nothing'"):
        smalti.decompress(fitted.file, prior="nothing")
    assert "only checksums" in cli("verify", fitted.file).out


def test_the_models_own_by_name(cli: Any, samples: Any, fitted: Fitted) -> None:
    uniform = cli("tokenize", samples.photo, "-o", "-", "--prior", "uniform").stdout
    assert smalti.open(uniform, prior="uniform") == smalti.open(samples.solo)
    with pytest.raises(smalti.ModelError, match="leave it out"):
        smalti.open(samples.solo, prior=fitted.tables)
    array = cli("tokenize", samples.photo, "-o", "-", "--format", "json").stdout
    assert "leave it out" in cli("detokenize", "-", "--prior", "uniform", stdin=array).refusal()
