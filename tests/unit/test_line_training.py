"""Training of image-line: from an image-grid, first its latents, then pictures; what recipes refuse, how lengths are drawn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from smalti.recipes.training import config as recipe
from smalti.recipes.training.config import AdversaryConfig, DataConfig, LossConfig, OptimizerConfig, TrainingConfig
from smalti.recipes.training.loop import Run
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.line_network import ImageLineConfig
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import Line, LineConfig, SingleConfig

SMALL = ImageLineConfig(
    LineConfig(VQConfig(256, 4), (1, 2, 3)), 32, (8, 8, 8), (1, 0, 1), (1, 1, 1), 8, 4, channels=16, heads=2, encoder_blocks=1,
    decoder_blocks=1,
)  # fmt: skip
GRID = ImageGridConfig(SingleConfig(VQConfig(16, 4)), (8, 8, 8), (1, 0, 1), (1, 1, 1), 8)


def run_of(folder: Path, runs: Path, **changes: Any) -> Run:
    base = TrainingConfig(
        "line",
        SMALL,
        data=DataConfig(str(folder), crop=64, holdout=2, workers=0),
        loss=LossConfig(lpips_alex=0.0, l1=0.0, color=0.0, latent=1.0),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2, ema=0.5),
        steps=4,
        batch=2,
        freeze_front=True,
        evaluate_every=100,
        checkpoint_every=2,
        log_every=1,
    )
    return Run(dataclasses.replace(base, **changes), runs, "cpu", quiet=True)


def losses(folder: Path, name: str) -> list[float]:
    lines = [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines()]
    return [item[name] for item in lines if "total" in item]


@pytest.fixture
def grid_model(tmp_path: Path) -> str:
    torch.manual_seed(1)
    zoo.save(ImageGrid.from_config(GRID), tmp_path / "grid", half=False)
    return str(tmp_path / "grid")


def test_a_grid_starts_the_convolutions(pictures: Path, tmp_path: Path, grid_model: str) -> None:
    run = run_of(pictures, tmp_path, init=grid_model)
    start, own = zoo.load(grid_model).net.state_dict(), run.net.state_dict()
    shared = [key for key in start if key.startswith(("encoder.", "norm.", "decoder."))]
    assert shared
    assert all(torch.equal(own[key], start[key]) for key in shared)


def test_the_first_leg_holds_the_convolutions_and_learns_their_latents(pictures: Path, tmp_path: Path, grid_model: str) -> None:
    """Overfits four small pictures: a loss of 1 knows nothing of latents of variance 1."""
    run = run_of(pictures, tmp_path / "runs", init=grid_model, steps=24, data=DataConfig(str(pictures), crop=32, holdout=2, workers=0))
    before = {key: value.clone() for key, value in run.net.state_dict().items()}
    result = run.train()
    after = run.net.state_dict()
    changed = {key.partition(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert changed.isdisjoint({"encoder", "norm", "decoder"})
    assert {"queries", "readers", "writers", "latent", "analysis", "synthesis", "quantizer", "centring"} <= changed
    found = losses(result.folder, "latent")
    assert sum(found[-6:]) < 0.9 * sum(found[:6])


def test_a_fitted_line_starts_below_what_queries_from_scratch_know(pictures: Path, tmp_path: Path, grid_model: str) -> None:
    scratch = run_of(pictures, tmp_path / "scratch", init=grid_model, steps=1, tokenizer=dataclasses.replace(SMALL, linear=False)).train()
    fitted = run_of(pictures, tmp_path / "fitted", init=grid_model, steps=1).train()
    assert losses(fitted.folder, "latent")[0] < 0.8 * losses(scratch.folder, "latent")[0]


def test_what_is_fitted_learns_slowly(pictures: Path, tmp_path: Path, grid_model: str) -> None:
    run = run_of(pictures, tmp_path, init=grid_model)
    slow = [group for group in run.optimizer.param_groups if "lr_scale" in group]
    assert [id(p) for p in slow[0]["params"]] == [id(p) for p in run.net.fitted()]
    run.train()
    rates = [group["lr"] for group in run.optimizer.param_groups]
    assert rates[2] == pytest.approx(0.1 * rates[0])


def test_the_second_leg_learns_pictures_from_the_first(pictures: Path, tmp_path: Path, grid_model: str) -> None:
    first = run_of(pictures, tmp_path / "runs", init=grid_model).train()
    zoo.save(first.tokenizer, tmp_path / "first", half=False)
    run = run_of(pictures, tmp_path / "runs", init=str(tmp_path / "first"), loss=LossConfig(lpips_alex=0.0, latent=0.1))
    assert torch.equal(run.net.queries, first.tokenizer.net.queries)
    result = run.train()
    assert len(losses(result.folder, "l1")) == len(losses(result.folder, "latent")) == 4
    assert not torch.equal(result.tokenizer.net.decoder[0].weight, first.tokenizer.net.decoder[0].weight)


def test_a_killed_run_of_a_line_resumes(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run_of(pictures, tmp_path / "whole").train()
    step = Run._step

    def until_three(run: Run, pixels: torch.Tensor) -> Any:
        if run.step == 3:
            raise KeyboardInterrupt
        return step(run, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", until_three)
        with pytest.raises(KeyboardInterrupt):
            run_of(pictures, tmp_path / "killed").train()
    resumed = run_of(pictures, tmp_path / "killed").train()
    assert losses(resumed.folder, "total") == losses(whole.folder, "total")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze_front": False}, "freeze_front = true with loss.latent"),
        ({"data": DataConfig("x", crop=48)}, "multiples of 32, the tokenizer's region"),
        ({"tokenizer": GRID, "loss": LossConfig(lpips_alex=0.0)}, "freeze_front = false"),
        ({"adversary": AdversaryConfig(weight=1.0)}, "a loss on pictures beside the adversary"),
    ],
)
def test_runs_that_make_no_sense_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_of(tmp_path, tmp_path, **changes)


def test_lengths_by_doubling_are_drawn_alike() -> None:
    quantizer = Line(LineConfig(VQConfig(8, 2), (1,) * 6, drop="doubling"))
    kept = quantizer._kept(torch.zeros(400, 2, 6))[:, 0].sum(1)
    shares = [float((kept == length).float().mean()) for length in range(1, 7)]
    assert shares == pytest.approx([0.25, 0.25, 0, 0.25, 0, 0.25], abs=0.09)  # 4 standard deviations
    with pytest.raises(UsageError, match="drop is one of uniform, doubling, batch"):
        LineConfig(VQConfig(8, 2), (1,), drop="pow2")


def test_samples_of_a_step_have_lengths_of_their_own_or_one() -> None:
    z = torch.zeros(60, 2, 6)
    own, shared = (Line(LineConfig(VQConfig(8, 2), (1,) * 6, drop=drop)) for drop in ("uniform", "batch"))
    assert len(own._kept(z)[:, 0].sum(1).unique()) == 6
    lengths = [shared._kept(z)[:, 0].sum(1).unique().tolist() for _ in range(60)]
    assert all(len(found) == 1 for found in lengths)
    assert {found[0] for found in lengths} == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("change", ["tail_drop=0", "drop=doubling", "drop=batch"])
def test_the_recipe_names_its_ablations(change: str) -> None:
    changed = f"tokenizer.quantizer.{change}"
    assert changed in (recipe.RECIPES / "image-line-distil.toml").read_text()
    assert recipe.load("image-line-distil", [changed]).run_name != recipe.load("image-line-distil").run_name
