"""Training runs of a few steps on tiny pictures: recipes, resuming, bad files, frozen tokens, release."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from smalti.codecs.media.images import read_image
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes.evaluation import evaluate
from smalti.recipes.training import config as recipe
from smalti.recipes.training import data
from smalti.recipes.training.config import DataConfig, LossConfig, OptimizerConfig, TrainingConfig
from smalti.recipes.training.loop import Run, _averager, learning_rate
from smalti.recipes.training.losses import PictureLoss
from smalti.recipes.training.release import release
from smalti.recipes.training.sheet import GAP, sheet
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Image

TINY = ImageGridConfig(ResidualConfig(VQConfig(16, 4), levels=2), (8, 8, 8), (0, 0, 1), (0, 0, 1), 8)
LOSS = LossConfig(lpips_alex=0.0)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures of 40 x 48 pixels."""
    return paint(tmp_path / "pictures", 6)


def paint(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        small = rng.integers(0, 256, (5, 6, 3), np.uint8)
        PIL.Image.fromarray(small).resize((48, 40), PIL.Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def tiny(folder: Path, **changes: Any) -> TrainingConfig:
    base = TrainingConfig(
        "tiny",
        TINY,
        data=DataConfig(str(folder), crop=32, holdout=2, workers=0),
        loss=LOSS,
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


def log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log without its clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def state(tokenizer: ImageGrid, *parts: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in tokenizer.net.state_dict().items() if key.startswith(parts)}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


# --- the loop -----------------------------------------------------------------------------------------------------------------------


def test_a_killed_run_resumes_to_the_same_losses(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(pictures, steps=7)
    whole = train(config, tmp_path / "whole")

    killed, step = Run(config, tmp_path / "killed", device="cpu", quiet=True), Run._step

    def until_five(run: Run, pixels: torch.Tensor) -> Any:
        if run.step == 5:
            raise KeyboardInterrupt
        return step(run, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", until_five)
        with pytest.raises(KeyboardInterrupt):
            killed.train()
    assert [line["step"] for line in log(killed.folder) if "total" in line] == [1, 2, 3, 4, 5]
    with (killed.folder / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "l1": 0.')  # killed while it wrote

    torch.rand(100)  # what another process has drawn does not matter
    resumed = train(config, tmp_path / "killed")
    assert log(resumed.folder) == log(whole.folder)
    assert equal(resumed.tokenizer.net.state_dict(), whole.tokenizer.net.state_dict())


def test_a_finished_run_is_not_run_again(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(pictures, steps=2)
    first = train(config, tmp_path / "runs")
    monkeypatch.setattr(Run, "_step", None)
    again = train(config, tmp_path / "runs")
    assert log(again.folder) == log(first.folder)
    assert equal(again.tokenizer.net.state_dict(), first.tokenizer.net.state_dict())


def test_what_a_run_leaves(pictures: Path, tmp_path: Path) -> None:
    config = tiny(pictures)
    result = train(config, tmp_path / "runs")
    assert result.folder == tmp_path / "runs" / config.run_name
    names = {path.name for path in result.folder.iterdir()}
    assert names == {"config.json", "log.jsonl", "checkpoint.safetensors", "sheet-000003.png", "sheet-000006.png"}
    stored = json.loads((result.folder / "config.json").read_text())
    assert recipe.from_dict(TrainingConfig, stored) == config
    losses = [line for line in log(result.folder) if "total" in line]
    assert [line["step"] for line in losses] == [1, 2, 3, 4, 5, 6]
    assert all(math.isfinite(line["total"]) for line in losses)
    assert {"l1", "color", "commitment", "perplexity0", "usage1"} <= losses[0].keys()
    scores = [line for line in log(result.folder) if "total" not in line]
    assert [set(line) for line in scores] == [{"step", "holdout_psnr_1", "holdout_psnr_2"}] * 2
    assert result.seconds > 0
    assert result.skipped == ()


def test_training_brings_the_loss_down(tmp_path: Path) -> None:
    """Flat pictures, which the decoder's bias alone can learn."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for i in range(3):
        PIL.Image.new("RGB", (32, 32), (200, 60, 20)).save(folder / f"{i}.png")
    optimizer = OptimizerConfig(learning_rate=2e-2, warmup_steps=2)
    config = tiny(folder, steps=30, evaluate_every=30, checkpoint_every=30, optimizer=optimizer)
    losses = [line["l1"] for line in log(train(config, tmp_path / "runs").folder) if "total" in line]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_files_that_cannot_be_read_are_named_and_skipped(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "1.png").write_bytes(b"no picture")
    (pictures / "5.png").write_bytes(b"")  # held out
    result = train(tiny(pictures), tmp_path / "runs")
    assert sorted(line.split(":")[0] for line in result.skipped) == [str(pictures / "1.png"), str(pictures / "5.png")]
    assert [line["step"] for line in log(result.folder) if "total" in line] == [1, 2, 3, 4, 5, 6]
    assert sum("skipped" in line for line in log(result.folder)) == 2
    assert "skipped (2):" in capsys.readouterr().err


def test_a_folder_of_nothing_readable_ends_the_run(pictures: Path, tmp_path: Path) -> None:
    for path in pictures.iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(SignalError, match=r"4 pictures in a row cannot be used, the last: .*\.png"):
        train(tiny(pictures), tmp_path / "runs")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_pictures_are_refused(tmp_path: Path, count: int) -> None:
    folder = paint(tmp_path / "few", count)
    with pytest.raises(UsageError, match=rf"few: {count} pictures, at least 3 are needed: 2 are kept for evaluation"):
        Run(tiny(folder), tmp_path / "runs", device="cpu")


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data=DIR"):
        data.split(DataConfig())
    with pytest.raises(SignalError, match="no such folder"):
        data.split(DataConfig(str(tmp_path / "none")))


def test_a_run_can_start_from_a_model(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    zoo.save(ImageGrid.from_config(TINY), tmp_path / "model", half=False)
    run = Run(tiny(pictures, init=str(tmp_path / "model")), tmp_path / "runs", device="cpu", quiet=True)
    assert equal(run.net.state_dict(), zoo.load(str(tmp_path / "model")).net.state_dict())
    assert all(parameter.requires_grad for parameter in run.net.parameters())
    assert run.train().folder.is_dir()


def test_a_model_of_another_network_is_refused(pictures: Path, tmp_path: Path) -> None:
    zoo.save(ImageGrid.from_config(dataclasses.replace(TINY, head_width=9)), tmp_path / "model")
    with pytest.raises(ModelError, match="model") as caught:
        Run(tiny(pictures, init=str(tmp_path / "model")), tmp_path / "runs", device="cpu")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_network_is_refused(pictures: Path, tmp_path: Path) -> None:
    result = train(tiny(pictures, steps=1), tmp_path / "runs")
    other = Run(tiny(pictures, tokenizer=dataclasses.replace(TINY, head_width=9)), tmp_path / "runs", device="cpu", quiet=True)
    other.folder = result.folder
    with pytest.raises(ModelError, match=r"made by another network .* remove the run folder") as caught:
        other.train()
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_refused(pictures: Path, tmp_path: Path) -> None:
    result = train(tiny(pictures, steps=1), tmp_path / "runs")
    (result.folder / "checkpoint.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors: not readable"):
        train(tiny(pictures, steps=1), tmp_path / "runs")


def test_frozen_tokens_train_the_decoder_alone(pictures: Path, tmp_path: Path) -> None:
    start = train(tiny(pictures), tmp_path / "runs").tokenizer
    zoo.save(start, tmp_path / "model", half=False)
    result = train(tiny(pictures, init=str(tmp_path / "model"), freeze_tokens=True), tmp_path / "runs")
    tokens_by = ("encoder.", "norm.", "quantizer.")
    assert equal(state(result.tokenizer, *tokens_by), state(start, *tokens_by))
    trained = load_file(result.folder / "checkpoint.safetensors")
    assert all(torch.equal(trained[f"net/{key}"], value) for key, value in state(start, *tokens_by).items())
    changed = [key for key, value in state(start, "decoder.").items() if not torch.equal(result.tokenizer.net.state_dict()[key], value)]
    assert len(changed) == len(state(start, "decoder."))
    images = [read_image(path) for path in sorted(pictures.iterdir())]
    assert result.tokenizer.encode(images) == start.encode(images)


def test_the_random_state_before_a_run_does_not_matter(pictures: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = train(tiny(pictures, steps=2), tmp_path / "a")
    torch.manual_seed(2)
    second = train(tiny(pictures, steps=2), tmp_path / "b")
    assert log(first.folder) == log(second.folder)
    other = train(tiny(pictures, steps=2, seed=1), tmp_path / "a")
    assert log(first.folder) != log(other.folder)


# --- parts --------------------------------------------------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_and_falls() -> None:
    config = OptimizerConfig(learning_rate=1.0, final_rate=0.1, warmup_steps=10)
    rates = [learning_rate(config, step, 1000) for step in range(1000)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[505] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1, abs=1e-4)
    short = [learning_rate(config, step, 20) for step in range(20)]
    assert short[:3] == pytest.approx([0.5, 1.0, 1.0]), "a short run warms up over a tenth of it"
    assert learning_rate(config, 0, 1) == 1


def test_averages_follow_the_weights() -> None:
    average = nn.Linear(1, 1, bias=False)
    averaged = torch.optim.swa_utils.AveragedModel(average, multi_avg_fn=_averager(0.9))
    values = []
    for step in range(300):
        nn.init.constant_(average.weight, 1.0 if step < 100 else 2.0)
        averaged.update_parameters(average)
        values.append(float(averaged.module.weight.detach()))
    assert values[:100] == pytest.approx([1.0] * 100)
    assert values[100] < values[110] < values[150]
    assert values[110] == pytest.approx(2 - 0.9**11, abs=0.01), "by then an average over about ten steps"
    assert values[-1] == pytest.approx(2, abs=1e-3)


def test_crops_are_a_function_of_seed_and_number(pictures: Path) -> None:
    config = DataConfig(str(pictures), crop=32, holdout=2, workers=0)
    files, held_out = data.split(config)
    assert [path.name for path in files] == ["0.png", "1.png", "2.png", "3.png"]
    assert [path.name for path in held_out] == ["4.png", "5.png"]
    a, b = data.Crops(files, config, seed=0), data.Crops(files, config, seed=1)
    assert all(np.array_equal(a[n][0], a[n][0]) for n in range(8))
    assert not np.array_equal(a[0][0], a[4][0]), "another epoch, another place"
    assert any(not np.array_equal(a[n][0], b[n][0]) for n in range(4))
    assert all(a[n][0].shape == (32, 32, 3) and a[n][0].dtype == np.uint8 for n in range(8))


def test_an_epoch_shows_every_picture_once(tmp_path: Path) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for i in range(8):
        PIL.Image.new("RGB", (40, 40), (i * 10, 0, 0)).save(folder / f"{i}.png")
    config = DataConfig(str(folder), crop=16, holdout=1)
    crops = data.Crops(data.split(config)[0], config, seed=0)
    for epoch in range(3):
        seen = {int(crops[7 * epoch + n][0][0, 0, 0]) for n in range(7)}
        assert seen == {0, 10, 20, 30, 40, 50, 60}


@pytest.mark.parametrize("shape", [(10, 300), (32, 32), (500, 20), (1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_crops_of_pictures_of_any_size(shape: tuple[int, int], dtype: type) -> None:
    top = np.iinfo(dtype).max
    crop = data.random_crop(np.full((*shape, 3), top, dtype), DataConfig("x", crop=32), np.random.default_rng(0))
    assert crop.shape == (32, 32, 3)
    assert crop.dtype == np.uint8
    assert crop.min() == 255


def test_processes_share_the_samples_of_a_step() -> None:
    together = [data.StepSampler(2, 4, 3, process, 2) for process in range(2)]
    assert [list(sampler) for sampler in together] == [[[12, 13, 14], [18, 19, 20]], [[15, 16, 17], [21, 22, 23]]]
    assert len(together[0]) == 2
    assert len(data.StepSampler(5, 4, 3)) == 0


def test_losses_are_weighted_and_named() -> None:
    picture, other = torch.zeros(2, 3, 32, 32), torch.full((2, 3, 32, 32), 0.5)
    quantized = Quantized(picture, (), {"commitment": torch.tensor(3.0)})
    terms = PictureLoss(LossConfig(l1=2.0, l2=4.0, color=0.0, lpips_alex=0.0, quantizer=0.1))(picture, other, quantized, 0.5)
    assert {key: float(value) for key, value in terms.items()} == pytest.approx(
        {"l1": 0.5, "l2": 0.25, "commitment": 3.0, "total": 2 * 0.5 + 4 * 0.25 + 0.1 * 3}
    )


def test_the_color_loss_sees_hues_and_not_texture() -> None:
    loss = PictureLoss(LossConfig(l1=0.0, color=1.0, lpips_alex=0.0))
    grey = torch.zeros(1, 3, 32, 32)
    quantized = Quantized(grey, ())
    checks = grey.clone()
    checks[..., ::2, ::2] = checks[..., 1::2, 1::2] = 0.5
    checks[..., ::2, 1::2] = checks[..., 1::2, ::2] = -0.5
    tinted = grey + torch.tensor([0.5, 0.0, 0.0])[:, None, None]
    assert float(loss(grey, checks, quantized, 1.0)["color"]) == pytest.approx(0, abs=1e-6)
    assert float(loss(grey, tinted, quantized, 1.0)["color"]) > 0.1


def test_a_sheet_has_a_row_per_picture_and_a_column_per_rate() -> None:
    torch.manual_seed(0)
    images = [Image(np.zeros((20, 30, 3), np.uint8)), Image(np.zeros((40, 10, 3), np.uint16))]
    page = sheet(ImageGrid.from_config(TINY), images).pixels
    assert page.shape == (2 * 40 + GAP, 3 * 30 + 2 * GAP, 3)
    assert page.dtype == np.uint8
    assert np.all(page[:20, :30] == 0)
    assert np.all(page[20:44, :] == 255)


def test_a_run_is_named_by_all_of_its_config(pictures: Path) -> None:
    configs = [
        tiny(pictures),
        tiny(pictures, steps=7),
        tiny(pictures, seed=1),
        tiny(pictures, name="other"),
        tiny(pictures, loss=LossConfig(l2=1.0)),
        tiny(pictures, tokenizer=dataclasses.replace(TINY, head_width=9)),
        tiny(pictures, data=DataConfig(str(pictures), crop=16)),
    ]
    assert len({config.run_name for config in configs}) == len(configs)
    assert tiny(pictures).run_name == configs[0].run_name


# --- release ------------------------------------------------------------------------------------------------------------------------


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
    assert "steps=2" in info.card
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
