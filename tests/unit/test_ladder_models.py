"""Model folders with smaller tables: made, used by commands, and refused where there is nothing to cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.codecs.media.images import read_image
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes import ladder
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import FSQConfig, IBQConfig, LearnedVQConfig, LFQConfig, ProjectedConfig, SimVQConfig, VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import DualConfig, FactorizedConfig, GroupedConfig, ResidualConfig, SingleConfig

ALL = GroupedConfig((LearnedVQConfig(40, 2), SimVQConfig(24, 2), IBQConfig(32, 2), FSQConfig((5, 5)), ProjectedConfig(VQConfig(8, 2), 3)))
DUAL = SingleConfig(DualConfig(VQConfig(64, 6), semantic_dim=4, pixel_weight=0.5))
FACTORS = FactorizedConfig((VQConfig(64, 3, cosine=True), VQConfig(12, 3)), adapter_width=8)


def saved(quantizer: Any, folder: Path, pictures: Any = None) -> str:
    """A tiny model that has seen pictures: by default noise."""
    torch.manual_seed(0)
    made = ImageGrid.from_config(ImageGridConfig(quantizer, (4, 4), (0, 0), (0, 0), 4))
    made.net.train()
    made.net.norm.momentum = 0.5
    for _ in range(8):
        made.net(torch.rand(4, 3, 40, 48) * 2 - 1 if pictures is None else pictures)
    made.net.eval()
    zoo.save(made, folder, about={"licence": "as told"})
    return str(folder)


def pixels_of(folder: Path) -> torch.Tensor:
    pixels = np.stack([read_image(path).pixels for path in sorted(folder.iterdir())])
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


@torch.no_grad()
def error(tokenizer: Any, pixels: torch.Tensor) -> float:
    """Mean squared distance of latents to their entries."""
    z = tokenizer.net.encode(pixels)
    return float((tokenizer.net.quantizer(z).z_q - z).square().mean())


def test_rungs_are_models_that_commands_use(cli: Any, pictures: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pixels_of(pictures)
    model = saved(SingleConfig(VQConfig(64, 2)), tmp_path / "small", pixels)
    out = tmp_path / "ladder"
    assert ladder.main([model, "4", "32", "-o", str(out), "--data", str(pictures), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(rung["size"], rung["tables"]) for rung in found] == [(4, [4]), (32, [32])]
    names = ["small-4", "small-32"]
    assert [Path(rung["folder"]) for rung in found] == [out / name / "1" for name in names]
    loaded = [zoo.load(rung["folder"]) for rung in found]
    assert [rung.fingerprint for rung in loaded] == [rung["fingerprint"] for rung in found]
    distances = [error(tokenizer, pixels) for tokenizer in (*loaded, zoo.load(model))]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 2 * distances[1]
    whole = zoo.load(model).net.state_dict()
    for name, value in loaded[0].net.state_dict().items():
        assert name.startswith("quantizer.") or torch.equal(value, whole[name]), f"{name}: encoder and decoder stay"

    monkeypatch.setenv("SMALTI_MODELS", str(out))
    photo, coded, back = next(iter(sorted(pictures.iterdir()))), tmp_path / "a.smt", tmp_path / "a.png"
    assert cli("tokenize", photo, "-m", "small-4", "-o", coded).code == 0
    assert cli("detokenize", coded, "-o", back).code == 0, "the file finds its model"
    assert read_image(back).pixels.shape == (40, 48, 3)
    report = cli("evaluate", "small-4", pictures, "--json").json
    assert report["codebooks"][0]["size"] == 4
    assert report["codebooks"][0]["coded_bits"] < 2.1
    listed = {item["name"]: item for item in cli("models", "--json").json}
    assert {f"{name}@1" for name in names} <= set(listed)
    assert listed["small-4@1"]["licence"] == "as told"

    before = (out / "small-4" / "1" / "model.safetensors").read_bytes()
    assert ladder.main([model, "4", "-o", str(out)]) == 2
    assert "small-4/1 exists; --force writes over it, -o names another place" in capsys.readouterr().err
    assert ladder.main([model, "4", "-o", str(out), "--force"]) == 0
    assert zoo.find("small-4").prior == "", "without pictures there are no probabilities"
    assert not (out / "small-4" / "1" / "prior.safetensors").exists()
    assert (out / "small-4" / "1" / "model.safetensors").read_bytes() != before, "entries weigh as training used them"


@pytest.mark.parametrize(
    ("quantizer", "tables"),
    [(SingleConfig(ALL), [16, 16, 16, 25, 8]), (DUAL, [16]), (FACTORS, [16, 12]), (ResidualConfig(VQConfig(64, 3), levels=3), [16] * 3)],
)
def test_tables_at_any_depth_are_reduced(quantizer: Any, tables: list[int], pictures: Path, tmp_path: Path) -> None:
    model = saved(quantizer, tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    for data in (None, pictures):
        (rung,), missed = ladder.make(model, [16], tmp_path / f"out-{data is None}", data)
        assert (list(rung.tables), missed) == (tables, 0)
        made = zoo.load(rung.folder)
        (tokens,) = made.encode([read_image(pictures / "0.png")])
        assert [stage.vocab for stage in tokens.layout.stages] == tables
        assert made.decode([tokens])[0].pixels.shape == (40, 48, 3)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


def test_pictures_that_cannot_be_read_are_named(pictures: Path, tmp_path: Path, capsys: Any) -> None:
    model = saved(SingleConfig(VQConfig(64, 2)), tmp_path / "small")
    (pictures / "bad.png").write_text("no picture")
    assert ladder.main([model, "8", "-o", str(tmp_path / "out"), "--data", str(pictures)]) == 1
    assert "left out: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("quantizer", "size", "message"),
    [
        (SingleConfig(FSQConfig((5, 5))), 4, r"its codebooks \(fsq\) have no table to cluster"),
        (ResidualConfig((FSQConfig((5, 5)), LFQConfig(2)), levels=2), 4, r"its codebooks \(fsq, lfq\) have no table"),
        (SingleConfig(VQConfig(16, 2)), 16, "tables of 16 entries can be brought to 2 to 15, asked for 16"),
        (SingleConfig(VQConfig(16, 2)), 1, "asked for 1"),
    ],
)
def test_what_cannot_be_is_refused(quantizer: Any, size: int, message: str, tmp_path: Path) -> None:
    model = saved(quantizer, tmp_path / "model")
    with pytest.raises(UsageError, match=message):
        ladder.make(model, [size], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert ladder.main(["nothing", "4", "-o", str(tmp_path / "out")]) == 2


def test_a_model_that_is_there_stays_whole_until_the_new_one_is(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = saved(SingleConfig(VQConfig(64, 2)), tmp_path / "small")
    (rung,), _ = ladder.make(model, [8], tmp_path / "out", pictures)
    before = {path.name: path.read_bytes() for path in Path(rung.folder).iterdir()}
    assert "prior.safetensors" in before

    def stop(_: Any) -> StaticPrior:
        raise KeyboardInterrupt

    monkeypatch.setattr(StaticPrior, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        ladder.make(model, [8], tmp_path / "out", pictures, force=True)
    assert {path.name: path.read_bytes() for path in Path(rung.folder).iterdir()} == before
