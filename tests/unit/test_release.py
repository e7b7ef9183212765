"""From a finished run to a model folder, and what is measured on the way."""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any

import pytest
import torch

from smalti.codecs.media.images import read_image
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.static import StaticPrior
from smalti.metrics.registry import resolve
from smalti.recipes.evaluation import evaluate
from smalti.recipes.training import data
from smalti.recipes.training import release as releasing
from smalti.recipes.training.config import DataConfig, LossConfig, OptimizerConfig, TrainingConfig
from smalti.recipes.training.loop import Run
from smalti.recipes.training.release import release
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig

TINY = ImageGridConfig(ResidualConfig(VQConfig(16, 4), levels=2), (8, 8, 8), (0, 0, 1), (0, 0, 1), 8)


def tiny(folder: Path, **changes: Any) -> TrainingConfig:
    base = TrainingConfig(
        "tiny",
        TINY,
        data=DataConfig(str(folder), crop=32, holdout=2, workers=0),
        loss=LossConfig(lpips_alex=0.0),
        optimizer=OptimizerConfig(warmup_steps=2),
        steps=6,
        batch=3,
        evaluate_every=3,
        checkpoint_every=3,
        log_every=1,
    )
    return dataclasses.replace(base, **changes)


def train(config: TrainingConfig, runs: Path) -> Any:
    return Run(config, runs, device="cpu", quiet=True).train()


def test_a_release_is_a_whole_model(pictures: Path, tmp_path: Path) -> None:
    config = tiny(pictures, steps=2)
    result = train(config, tmp_path / "runs")
    files, held_out = data.split(config.data)
    info = release(result, config, files, held_out)
    assert info.folder == result.folder / "model"
    assert sorted(path.name for path in info.folder.iterdir()) == ["card.md", "config.json", "model.safetensors", "prior.safetensors"]
    prior = StaticPrior.load(info.folder / "prior.safetensors")
    assert info.prior == prior.id.hex()
    assert info.summary.startswith("pictures, 16 x 16 pixels a token, ")
    assert "its own, see config.json of the run: 2 steps, seed 0" in info.card
    assert f"cores of {platform.machine()}, torch {torch.__version__}" in info.card
    assert "4 pictures" in info.card
    loaded = zoo.load(str(info.folder))
    assert loaded.fingerprint == zoo.fingerprint_of(info)
    picture = read_image(held_out[0])
    codec = NeuralCodec(loaded, prior, default_prior=True)
    assert codec.decompress(codec.compress(picture)).pixels.shape == picture.pixels.shape
    measured = evaluate(codec, held_out)
    assert measured["pictures"] == 2
    for rate in measured["rates"]:
        assert f"| {rate['stages']} | {rate['bits_per_pixel']:.4f} | {rate['scores']['psnr']:.3f} |" in info.card


def test_a_card_says_how_to_make_the_run_again(pictures: Path, tmp_path: Path) -> None:
    config = tiny(pictures, steps=1)
    info = release(train(config, tmp_path / "runs"), config, *data.split(config.data), made_by="smalti train mine.toml data=DIR steps=1")
    assert "- Recipe: `smalti train mine.toml data=DIR steps=1`: 1 steps" in info.card


@pytest.mark.parametrize(("most", "chosen"), [(1000, [0, 1, 2, 3]), (4, [0, 1, 2, 3]), (3, [0, 2]), (2, [0, 2]), (1, [0])])
def test_the_prior_sees_pictures_from_all_over(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, chosen: list[int]
) -> None:
    config = tiny(pictures, steps=1)
    seen: list[Path] = []
    fit = releasing.fit_prior
    monkeypatch.setattr(releasing, "PRIOR_PICTURES", most)
    monkeypatch.setattr(releasing, "fit_prior", lambda tokenizer, files: seen.extend(files) or fit(tokenizer, files))
    files, held_out = data.split(config.data)
    release(train(config, tmp_path / "runs"), config, files, held_out)
    assert seen == [files[i] for i in chosen]


def test_an_evaluation_says_what_its_scores_mean(pictures: Path) -> None:
    torch.manual_seed(0)
    tokenizer = ImageGrid.from_config(TINY)
    prior = StaticPrior.fit(tokenizer.encode([read_image(pictures / "0.png")]))
    found = evaluate(NeuralCodec(tokenizer, prior), [pictures / "0.png"], ["psnr"])
    assert found["metrics"] == {"psnr": {"unit": "dB", "better": "higher", "convention": "RGB, 8 bits, per picture"}}
    with pytest.raises(UsageError, match="no metric 'lpips-alx'; did you mean 'lpips-alex'"):
        evaluate(NeuralCodec(tokenizer, prior), [pictures / "0.png"], ["lpips-alx"])


def test_an_evaluation_of_nothing_readable_is_refused(pictures: Path) -> None:
    torch.manual_seed(0)
    tokenizer = ImageGrid.from_config(TINY)
    prior = StaticPrior.fit(tokenizer.encode([read_image(pictures / "0.png")]))
    (pictures / "1.png").write_bytes(b"no picture")
    found = evaluate(NeuralCodec(tokenizer, prior), sorted(pictures.iterdir())[:3])
    assert found["pictures"] == 2
    assert [line.split(":")[0] for line in found["skipped"]] == [str(pictures / "1.png")]
    with pytest.raises(SignalError, match=r"no picture to evaluate on among 1 files; .*1\.png"):
        evaluate(NeuralCodec(tokenizer, prior), [pictures / "1.png"])


def test_evaluate_takes_metrics_by_name(cli: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo.save(ImageGrid.from_config(TINY), tmp_path / "model")
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr("smalti.recipes.evaluation.resolve", lambda name, device: asked.append((name, device)) or resolve("psnr"))
    names = ("--lpips", "vgg", "--metric", "mine", "--metric", "lpips-vgg", "--device", "cpu")
    found = cli("evaluate", tmp_path / "model", pictures / "0.png", "--json", *names).json
    assert asked == [("psnr", "cpu"), ("lpips-vgg", "cpu"), ("mine", "cpu")]
    assert list(found["rates"][0]["scores"]) == list(found["metrics"]) == ["psnr", "lpips-vgg", "mine"]
