"""Priming: which trees a model's codebooks give, and that no work is done for a result that has no place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.codecs.media.audio import write_audio
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_config import MaskedConfig, kind
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes import prime_prior
from smalti.tokenizers import quantizers, zoo
from smalti.tokenizers.audio.single import AudioSingle
from smalti.tokenizers.audio.single_network import AudioSingleConfig, AudioSingleNet
from smalti.tokenizers.codebooks import ProjectedConfig, VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import DualConfig, GroupedConfig, LineConfig, ResidualConfig, SingleConfig
from smalti.tokenizers.signals import Audio
from smalti.tokenizers.tokens import Layout, Stage, Tokens

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


def test_sounds_are_learnt_as_they_are(tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    t = np.arange(1600) / 8000
    for i in range(3):
        write_audio(Audio(np.float32(0.3) * np.sin(2000 * (i + 1) * t)[None].astype(np.float32), 8000), folder / f"{i}.wav")
    (folder / "broken.wav").write_bytes(b"RIFF")
    torch.manual_seed(0)
    network = AudioSingleConfig(SingleConfig(VQConfig(16, 4)), 8000, 40, 8, 8, 0, 0, 0, 1, 4, fine_width=8, fine_blocks=0)
    net = AudioSingleNet(network)
    for _ in range(3):
        net(torch.randn(4, 1, 1600) * 0.1)
    zoo.save(AudioSingle(net), tmp_path / "model")
    primed = tmp_path / "prior.safetensors"
    assert prime_prior.main([str(tmp_path / "model"), str(folder), "-o", str(primed), "--judge", str(folder)]) == 0
    found = capsys.readouterr()
    assert "left out: " in found.err
    assert "broken.wav" in found.err
    assert "primed 3/3" in found.err, "no sound backwards beside each"
    bits = {row.split(" | ")[0].strip("| "): float(row.split(" | ")[-2]) for row in found.out.splitlines()}
    assert bits["adaptive, primed"] < bits["adaptive, unprimed"]
    assert AdaptivePrior.load(primed).orders[0].shape == (16,)


def test_tokens_that_are_all_alike_have_no_share_of_their_entropy() -> None:
    layout = Layout((Stage("level0", (("time", 5),), 16),), (1,))
    rows = prime_prior.judge([Tokens(layout, (np.zeros(5, np.int32),))], {"adaptive": AdaptivePrior()})
    assert rows[0].relative == 1
    assert np.isinf(rows[1].relative)
