"""What a training run is made of: rates, averages, crops, losses, and how held-out pictures are judged and shown."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from smalti.recipes.training import data, holdout
from smalti.recipes.training.adversary import Adversary
from smalti.recipes.training.config import AdversaryConfig, DataConfig, LossConfig, OptimizerConfig
from smalti.recipes.training.loop import _averager, learning_rate
from smalti.recipes.training.losses import PictureLoss
from smalti.recipes.training.sheet import GAP, sheet, side_by_side
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.contracts import Quantized, Score
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Image

TINY = ImageGridConfig(ResidualConfig(VQConfig(16, 4), levels=2), (8, 8, 8), (0, 0, 1), (0, 0, 1), 8)


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
    a, b = data.picture_crops(files, config, seed=0), data.picture_crops(files, config, seed=1)
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
    crops = data.picture_crops(data.split(config)[0], config, seed=0)
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


def test_crops_at_any_scale_have_a_pixel() -> None:
    config = DataConfig("x", crop=32, smallest_scale=999.0, largest_scale=1000.0)
    assert data.random_crop(np.full((50, 50, 3), 7, np.uint8), config, np.random.default_rng(0)).max() == 7


def test_sixteen_bits_are_rounded_as_metrics_round_them() -> None:
    pixels = np.full((32, 32, 3), 100 * 257 + 129, np.uint16)
    config = DataConfig("x", crop=32, smallest_scale=1.0, largest_scale=1.0)
    assert data.random_crop(pixels, config, np.random.default_rng(0)).min() == 101
    assert side_by_side([[Image(pixels)]]).pixels.min() == 101


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


def test_the_color_loss_sees_the_tone_of_whole_areas_twice() -> None:
    loss, quantized = PictureLoss(LossConfig(l1=0.0, color=1.0, lpips_alex=0.0)), Quantized(torch.zeros(1), ())
    grey = torch.zeros(1, 3, 128, 128)
    blocks = torch.ones(1, 1, 16, 16)
    blocks[..., ::2, ::2] = blocks[..., 1::2, 1::2] = -1
    mottled = (0.1 * blocks).repeat_interleave(8, -1).repeat_interleave(8, -2).expand(1, 3, 128, 128)
    assert float(loss(grey, mottled, quantized, 1.0)["color"]) == pytest.approx(0.1 / 3)  # brightness is one of three
    assert float(loss(grey, grey + 0.1, quantized, 1.0)["color"]) == pytest.approx(0.2 / 3, rel=1e-4)


def test_a_sheet_has_a_row_per_picture_and_a_column_per_rate() -> None:
    torch.manual_seed(0)
    images = [Image(np.zeros((20, 30, 3), np.uint8)), Image(np.zeros((40, 10, 3), np.uint16))]
    page = sheet(ImageGrid.from_config(TINY), images).pixels
    assert page.shape == (2 * 40 + GAP, 3 * 30 + 2 * GAP, 3)
    assert page.dtype == np.uint8
    assert np.all(page[:20, :30] == 0)
    assert np.all(page[20:44, :] == 255)


def test_held_out_pictures_are_judged_in_their_middle(tmp_path: Path) -> None:
    image = Image(np.arange(40 * 50 * 3, dtype=np.uint16).reshape(40, 50, 3), ("alpha",))
    assert np.array_equal(holdout.middle(image, 10).pixels, image.pixels[15:25, 20:30])
    assert holdout.middle(image, 45).pixels.shape == (40, 45, 3)
    assert holdout.middle(image, 50).notes == ("alpha",)
    PIL.Image.new("RGB", (1300, 20)).save(tmp_path / "wide.png")
    PIL.Image.new("RGB", (20, 1300)).save(tmp_path / "high.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    seen: list[tuple[int, ...]] = []

    class Judge:
        name = "judge"

        def __call__(self, reference: Any, decoded: Any) -> Score:
            seen.append(reference.pixels.shape)
            return Score(float(len(seen)), "", "lower", "")

    found = holdout.measure(ImageGrid.from_config(TINY), sorted(tmp_path.iterdir()), [Judge()])
    assert seen == [(1024, 20, 3)] * 2 + [(20, 1024, 3)] * 2
    assert found.scores == {"judge_1": 2.0, "judge_2": 3.0}
    assert [line.split(":")[0] for line in found.skipped] == [str(tmp_path / "bad.png")]
    assert found.sheet is not None
    assert found.sheet.pixels.shape == (2 * 512 + GAP, 3 * 512 + 2 * GAP, 3)
    assert holdout.measure(ImageGrid.from_config(TINY), [tmp_path / "bad.png"], [Judge()]).sheet is None


def test_a_discriminator_tells_two_textures_apart() -> None:
    torch.manual_seed(0)
    adversary = Adversary(AdversaryConfig(weight=1.0, width=8, layers=2, learning_rate=2e-3), Accelerator(cpu=True))
    noise = torch.rand(4, 3, 32, 32) * 2 - 1
    flat = torch.nn.functional.avg_pool2d(noise, 8).repeat_interleave(8, -1).repeat_interleave(8, -2)
    first = adversary.learn(noise, flat)
    for _ in range(60):
        last = adversary.learn(noise, flat)
    assert last["discriminator"] < 0.5 * first["discriminator"]
    assert last["margin"] > 1
    assert adversary.judge(noise) < adversary.judge(flat)


def test_the_tokenizer_alone_learns_from_the_verdict() -> None:
    adversary = Adversary(AdversaryConfig(weight=1.0, width=4, layers=1), Accelerator(cpu=True))
    before = {key: value.clone() for key, value in adversary.bare.state_dict().items()}
    pixels = torch.zeros(1, 3, 16, 16, requires_grad=True)
    adversary.judge(pixels).backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in adversary.bare.parameters())
    assert all(torch.equal(value, before[key]) for key, value in adversary.bare.state_dict().items())


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.2, 0.0), (0.25, 0.4), (0.3, 0.8), (1.0, 0.8)])
def test_the_adversary_is_brought_in(progress: float, weight: float) -> None:
    adversary = Adversary(AdversaryConfig(weight=0.8, counts_from=0.2, width=4, layers=1), Accelerator(cpu=True))
    assert adversary.weight(progress) == pytest.approx(weight)
