"""Training the masked prior: it learns, goes on from its own checkpoint alone, becomes integers, and refuses before it works."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from smalti.codecs.priors import stored
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_config import MaskedConfig
from smalti.codecs.restore import restore
from smalti.recipes.train_prior import __main__ as recipe
from smalti.recipes.train_prior import data, learning
from smalti.recipes.train_prior.data import Grids
from smalti.recipes.train_prior.learning import Budget, draw, train
from smalti.recipes.train_prior.network import FloatNetwork
from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import ProjectedConfig, VQConfig
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.quantizers import LineConfig, ResidualConfig
from smalti.tokenizers.tokens import Layout, Stage, Tokens

MODEL = str(Path(__file__).parents[1] / "golden" / "model")
CONFIG = MaskedConfig(12, ((2, 8, 16), (8, 16)), side=6, margin=1, entry=4, channels=16, heads=2, blocks=2, wide=16)
LAYOUT = Layout(tuple(Stage(f"level{i}", (("row", 10), ("col", 10)), 12) for i in range(2)), (2,))


def waves(count: int) -> Grids:
    """Grids in which neighbours are nearly equal and level 1 follows level 0."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:10, 0:10]
    found = []
    for _ in range(count):
        level = (rows // 3 + columns // 3 + rng.integers(12)) % 12
        found.append(np.stack([level, (level + rng.integers(2, size=level.shape)) % 12]).astype(np.int16))
    return Grids(tuple(found), 12)


def network() -> FloatNetwork:
    torch.manual_seed(0)
    return FloatNetwork(CONFIG, [torch.randn(12, 3) for _ in range(2)], [torch.ones(12)] * 2)


def test_training_learns_goes_on_and_becomes_integers(tmp_path: Path) -> None:
    grids, checkpoint, said = waves(30), tmp_path / "checkpoint", [""]
    assert train(network(), grids, Budget(30, batch=4, rate=1e-2), checkpoint, said.append) == 30
    net = network()
    assert train(net, grids, Budget(120, batch=4, rate=1e-2), checkpoint, said.append) == 120
    tokens = Tokens(LAYOUT, tuple(level.astype(np.int32) for level in waves(40).items[-1]))
    floats = sum(recipe.float_price(net, tokens))
    assert floats < 0.8 * tokens.uniform_bits
    whole = net.integers()
    assert whole.clipped == 0
    prior = MaskedPrior(CONFIG, whole.tensors)
    assert sum(prior.price(tokens)) == pytest.approx(floats, rel=0.01)
    lost = np.random.default_rng(0).random((2, 10, 10)) < 0.2
    torn = Tokens(LAYOUT, tuple(np.where(gone, 0, array).astype(np.int32) for gone, array in zip(lost, tokens.arrays, strict=True)))
    mended = restore(prior, torn, [~gone for gone in lost], [np.eye(12)] * 2)
    assert (mended.arrays[0] == tokens.arrays[0])[lost[0]].mean() > 0.4
    checkpoint.write_bytes(b"torn")
    with pytest.raises(ModelError, match="remove it"):
        train(net, grids, Budget(130), checkpoint, said.append)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: Any) -> None:
    through, stopped, budget = network(), network(), Budget(8, batch=2)
    train(through, waves(5), budget, tmp_path / "a", print)

    def stop(line: str) -> None:
        if line.startswith("step 5 "):
            raise KeyboardInterrupt

    monkeypatch.setattr(learning, "EVERY_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, waves(5), budget, tmp_path / "b", stop)
    again = network()
    assert train(again, waves(5), budget, tmp_path / "b", print) == 8
    for name, tensor in through.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_numbers_that_do_not_fit_are_counted_or_refused() -> None:
    net = network()
    with torch.no_grad():
        net.bias[0, 0] = 300
    assert net.integers().clipped == 1
    with torch.no_grad():
        net.bias[0, 0] = float("nan")
    with pytest.raises(ModelError, match="no numbers"):
        net.integers()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (40, 40)])
def test_each_window_asks_for_something(shape: tuple[int, int]) -> None:
    grids, rng = Grids((np.zeros((2, *shape), np.int16),), 12), np.random.default_rng(0)
    for stage in (0, 1):
        batch = draw(grids, CONFIG, stage, 100, np.ones(1), rng)
        assert batch.chosen.any((1, 2)).all()
        assert (batch.grids[:, stage][batch.chosen] == CONFIG.unknown).all()
        assert (batch.whole[:, stage][batch.chosen] == 0).all()


def pictures(folder: Path) -> Path:
    folder.mkdir()
    for i in range(3):
        Pillow.fromarray(np.random.default_rng(i).integers(0, 256, (40, 24, 3), np.uint8)).save(folder / f"{i}.png")
    Pillow.fromarray(np.arange(40 * 24, dtype=np.uint16).reshape(40, 24) * 60).save(folder / "deep.png")
    (folder / "torn.png").write_bytes(b"torn")
    return folder


def test_the_recipe_makes_a_prior_and_goes_on(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    folder, out = pictures(tmp_path / "pictures"), tmp_path / "prior"
    call = [MODEL, str(folder), "-o", str(out)]
    assert recipe.main([*call, "--steps", "1"]) == 0
    assert "torn.png" in capsys.readouterr().err
    held = {path: path.read_bytes() for path in (tmp_path / "prior.work").iterdir()}
    assert recipe.main([*call, "--steps", "2", "--judge", str(folder), "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {"H0", "static", "adaptive, unprimed", "adaptive, primed", "masked", "masked, float32"}
    # some bits each: the tokens of noise are all alike, and what is nearly sure costs no less than log2(128 / 127) bits
    assert sum(rows["masked"]["bits"]) == pytest.approx(sum(rows["masked, float32"]["bits"]), abs=2)
    assert isinstance(stored.load(out), MaskedPrior)
    assert set((tmp_path / "prior.work").iterdir()) == set(held)
    # another picture, other tokens: nothing goes on from the old checkpoint
    Pillow.fromarray(np.zeros((40, 24, 3), np.uint8)).save(folder / "0.png")
    assert recipe.main([*call, "--steps", "1", "--blocks", "0"]) == 0
    assert len(list((tmp_path / "prior.work").glob("*.checkpoint"))) == 2
    for path in (tmp_path / "prior.work").glob("*.safetensors"):
        path.write_bytes(b"torn")
    assert recipe.main([*call, "--steps", "1"]) == 2
    assert "remove it, it is made again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-o", "{}/missing/x"], "its folder does not exist"),
        (["-o", "{}/x", "--steps", "0"], "at least one step"),
        (["-o", "{}/x", "--blocks", "99"], "not for this model"),
        (["-o", "{}/taken"], "cannot be made"),
    ],
)
def test_what_cannot_be_is_refused_first(arguments: list[str], says: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(data, "_tokenize", None)
    (tmp_path / "taken.work").write_bytes(b"")
    assert recipe.main([MODEL, str(tmp_path), *(argument.format(tmp_path) for argument in arguments)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        (ResidualConfig(ProjectedConfig(VQConfig(16, 3), 5), levels=2), True),
        (ResidualConfig((VQConfig(16, 3), VQConfig(32, 3)), levels=2), False),
        (LineConfig(ProjectedConfig(VQConfig(16, 3), 5), (1, 2, 4)), False),
    ],
)
def test_which_models_it_is_for(config: Any, fits: bool, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    class Stand:
        net = type("Net", (), {"quantizer": quantizers.build(config)})
        grid = (4, 4) if isinstance(config, ResidualConfig) else (7,)

        def layout(self, _: Any) -> Layout:
            return self.net.quantizer.layout(self.grid, ("row", "col")[: len(self.grid)])

    monkeypatch.setattr(recipe.zoo, "load", lambda *_: Stand())
    monkeypatch.setattr(data, "load", None)
    if fits:
        with pytest.raises(TypeError):  # goes on to the pictures
            recipe.main(["model", str(tmp_path), "-o", str(tmp_path / "x")])
    else:
        assert recipe.main(["model", str(tmp_path), "-o", str(tmp_path / "x")]) == 2
        assert "wants a model whose levels" in capsys.readouterr().err
