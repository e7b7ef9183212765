"""Priming: which trees a model's codebooks give, and that no work is done for a result that has no place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_config import MaskedConfig, kind
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes import prime_prior
from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import ProjectedConfig, VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import DualConfig, GroupedConfig, LineConfig, ResidualConfig, SingleConfig

TABLE = VQConfig(16, 3)
PROJECTED = ProjectedConfig(TABLE, 5)


@pytest.mark.parametrize(
    ("config", "grid"),
    [
        (ResidualConfig(TABLE, levels=3), (4, 4)),
        (ResidualConfig(PROJECTED, levels=2), (4, 4)),
        (SingleConfig(GroupedConfig((TABLE, PROJECTED))), (4, 4)),
        (SingleConfig(DualConfig(VQConfig(16, 4), semantic_dim=2)), (4, 4)),
        (LineConfig(PROJECTED, (1, 2, 4)), (7,)),
    ],
)
def test_each_stage_has_the_tree_of_its_codebook(config: Any, grid: tuple[int, ...]) -> None:
    quantizer = quantizers.build(config)
    stages = quantizer.layout(grid, ("row", "col")[: len(grid)]).stages
    trees = prime_prior.trees(quantizer, stages)
    assert len(trees) == len(stages)
    assert all(np.array_equal(np.sort(tree), np.arange(16)) for tree in trees)


def test_a_table_too_large_for_a_tree_leaves_the_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.codecs.priors.adaptive_tree.LARGEST", 16)
    quantizer = quantizers.build(ResidualConfig((VQConfig(32, 3), TABLE), levels=2))
    assert [len(tree) for tree in prime_prior.trees(quantizer, quantizer.layout((2, 2), ("row", "col")).stages)] == [0, 16]


def test_a_result_without_a_place_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(prime_prior.zoo, "load", None)
    assert prime_prior.main(["model", str(tmp_path), "-o", str(tmp_path / "missing" / "x")]) == 2
    assert "its folder does not exist" in capsys.readouterr().err


SMALL = MaskedConfig(2, ((16,),), side=4, margin=1, entry=1, channels=1, heads=1, blocks=0, wide=1)
MASKED = MaskedPrior(SMALL, {name: np.zeros(shape, kind(name)) for name, shape in SMALL.shapes().items()})


@pytest.mark.parametrize("prior", [StaticPrior((np.full(2, 1 << 15),)), AdaptivePrior(), MASKED], ids=["static", "adaptive", "masked"])
def test_priors_are_written_whole_or_refused(prior: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prior.save(tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    assert type(prior).load(tmp_path / "x").id == prior.id or prior.id == AdaptivePrior().id

    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(UsageError, match="No space left on device"):
        prior.save(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
