"""Discriminators of sounds: what they see, the balance of their pull, and runs with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from smalti.codecs.media.audio import write_audio
from smalti.recipes.training.config import (
    AdversaryConfig,
    OptimizerConfig,
    SoundAdversaryConfig,
    SoundDataConfig,
    SoundLossConfig,
    TrainingConfig,
    load,
)
from smalti.recipes.training.loop import Run
from smalti.recipes.training.sound_adversary import SoundAdversary
from smalti.recipes.training.sound_discriminators import PeriodDiscriminator, SoundDiscriminators, SpectrumDiscriminator
from smalti.tokenizers.audio.residual_network import AudioResidualConfig
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Audio

SMALL = SoundAdversaryConfig(weight=0.5, features=2.0, counts_from=0.5, periods=(2, 5), windows=(256, 64), width=2, learning_rate=2e-3)
NET = AudioResidualConfig(ResidualConfig(VQConfig(16, 8, cosine=True), levels=2), 8000, (8, 5), (8, 16), 0, 0)


@pytest.fixture
def adversary() -> SoundAdversary:
    torch.manual_seed(0)
    return SoundAdversary(SMALL, Accelerator(cpu=True))


def hum(count: int = 3) -> Tensor:
    """Tones of several pitches (count, 1, 800)."""
    t = torch.arange(800.0)
    return torch.stack([0.3 * torch.sin(t * (0.05 + 0.03 * i)) for i in range(count)])[:, None]


@pytest.mark.parametrize("samples", [64, 799, 800])
def test_all_samples_are_seen(samples: int) -> None:
    torch.manual_seed(0)
    for network in (PeriodDiscriminator(3, 4), SpectrumDiscriminator(64, 4)):
        wave = torch.randn(2, 1, samples, requires_grad=True)
        seen = network(wave)
        assert seen[-1].shape[:2] == (2, 1)
        seen[-1].square().sum().backward()
        assert wave.grad is not None
        assert (wave.grad[0] != 0).float().mean() > 0.95
        assert torch.allclose(network(wave[:1])[-1], seen[-1][:1], atol=1e-5), "batched equals single"


def test_bands_of_a_spectrum_are_apart() -> None:
    torch.manual_seed(0)
    network, t = SpectrumDiscriminator(256, 4), torch.arange(2048)
    low = 0.1 * torch.sin(t * np.pi * 0.02)[None, None]
    both = low + 0.1 * torch.sin(t * np.pi * 0.9)[None, None]
    changes = [(a - b).abs().amax((0, 1, 3))[12:-12].max() for a, b in zip(network(low)[:-1], network(both)[:-1], strict=True)]
    assert max(changes[:5]) < 0.05 * min(changes[20:]), "treble does not reach the layers of the bass"


def test_they_tell_hums_from_noise(adversary: SoundAdversary) -> None:
    wave, noise = hum(), 0.1 * torch.randn(3, 1, 800)
    first = adversary.learn(wave, noise)
    for _ in range(40):
        last = adversary.learn(wave, noise)
    assert last["discriminator"] < 0.5 * first["discriminator"]
    assert last["margin"] > 1
    total = torch.zeros(())
    heard = [adversary.terms(wave, sound.requires_grad_(), total + sound.square().mean(), 1.0) for sound in (hum().clone(), noise.clone())]
    assert heard[0]["adversarial"] < heard[1]["adversarial"]
    assert heard[0]["features"] < 1e-6 < heard[1]["features"]


@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_terms_pull_as_strongly_as_the_recipe_says(adversary: SoundAdversary, size: float) -> None:
    with torch.no_grad():
        for network in adversary.bare.discriminators.networks:
            network.last.bias.zero_()  # type: ignore[union-attr]
            network.last.parametrizations.weight.original0.mul_(size)  # type: ignore[union-attr]
    wave, decoded = hum(), (hum() + 0.1 * torch.randn(3, 1, 800)).requires_grad_()
    base = 7 * (decoded - wave).abs().mean()
    terms = adversary.terms(wave, decoded, base, progress=1.0)

    def pull(term: Tensor) -> Tensor:
        return torch.autograd.grad(term, decoded, retain_graph=True)[0]

    def norm(gradient: Tensor) -> float:
        return float(gradient.flatten(1).norm(dim=1).mean())

    verdict, features, whole = pull(terms["adversarial"]), pull(terms["features"]), pull(terms["total"])
    expected = pull(base) + 0.5 * norm(pull(base)) * (verdict / norm(verdict) + 2 * features / norm(features))
    assert torch.allclose(whole, expected, rtol=1e-3, atol=1e-7)


def test_what_has_nearly_vanished_is_not_blown_up(adversary: SoundAdversary) -> None:
    wave = torch.ones(1, 1, requires_grad=True)

    def scales(size: float) -> list[float]:
        return adversary._scales(wave, [wave.sum(), size * wave.sum(), 4 * wave.sum()]).tolist()

    assert scales(2.0) == pytest.approx([1, 0.5, 0.25])
    for _ in range(1200):
        found = scales(1e-9)
    assert found == pytest.approx([1, 500, 0.25], rel=0.01), "a thousandth of its highest norm is the least that counts"


def test_the_tokenizer_alone_learns_from_the_verdict(adversary: SoundAdversary) -> None:
    before = {key: value.clone() for key, value in adversary.bare.discriminators.state_dict().items()}
    decoded = hum().requires_grad_()
    adversary.terms(hum() * 0.5, decoded, decoded.abs().mean(), 1.0)["total"].backward()
    assert all(parameter.grad is None for parameter in adversary.bare.parameters())
    assert all(torch.equal(value, before[key]) for key, value in adversary.bare.discriminators.state_dict().items())
    assert all(parameter.requires_grad for parameter in adversary.bare.parameters())


def test_they_count_from_a_part_of_the_run_on(adversary: SoundAdversary) -> None:
    assert [adversary.weight(progress) for progress in (0.0, 0.5, 0.525, 0.55, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert adversary.learns_from == pytest.approx(0.45)


def tiny(folder: Path, adversary: Any) -> TrainingConfig:
    folder = folder / "sounds"
    folder.mkdir(exist_ok=True)
    for i in range(3):
        t = np.arange(1600) / 8000
        write_audio(Audio((0.3 * np.sin(2 * np.pi * (300 + 100 * i) * t)).astype(np.float32)[None], 8000), folder / f"{i}.wav")
    data = SoundDataConfig(str(folder), crop=800, holdout=1, workers=0)
    config = TrainingConfig("tiny", NET, data, SoundLossConfig(mel_windows=(64, 256)), OptimizerConfig(ema=0.9), adversary)
    return replace(config, steps=8, batch=2, evaluate_every=8, checkpoint_every=1, log_every=1)


def losses(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_killed_run_resumes_to_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(tmp_path, SMALL)
    whole = losses(Run(config, tmp_path / "whole", "cpu", quiet=True).train().folder)
    step = Run._step

    def until_six(run: Run, signals: Tensor) -> Any:
        if run.step == 6:
            raise KeyboardInterrupt
        return step(run, signals)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", until_six)
        with pytest.raises(KeyboardInterrupt):
            Run(config, tmp_path / "killed", "cpu", quiet=True).train()
    assert losses(Run(config, tmp_path / "killed", "cpu", quiet=True).train().folder) == whole
    judged = [line["step"] for line in whole if "adversarial" in line]
    taught = [line["step"] for line in whole if "discriminator" in line]
    assert (judged, taught) == ([6, 7, 8], [5, 6, 7, 8])
    plain = losses(Run(tiny(tmp_path, AdversaryConfig()), tmp_path / "plain", "cpu", quiet=True).train().folder)
    assert [line["total"] for line in plain[:5]] == [line["total"] for line in whole[:5]], "until they count, nothing changes"
    assert plain[7]["total"] != whole[7]["total"]


def test_recipes_may_ask_for_them() -> None:
    config = load("audio-residual-16k", ["data=DIR", "adversary.weight=0.5", "adversary.windows=[512]"])
    assert isinstance(config.adversary, SoundAdversaryConfig)
    assert (config.adversary.weight, config.adversary.windows) == (0.5, (512,))
    count = sum(p.numel() for p in SoundDiscriminators((2, 3, 5, 7, 11), (2048, 1024, 512), 16).parameters())
    assert count < 11e6


@pytest.mark.parametrize(
    "changes",
    [
        ["adversary.weight=-1"],
        ["adversary.layers=2"],
        ["adversary.periods=[0]"],
        ["adversary.windows=[62]"],
        ["adversary.periods=[]", "adversary.windows=[]"],
        ["adversary.weight=1", "adversary.windows=[65536]"],
        ["adversary.weight=1", "adversary.kind=pictures"],
    ],
)
def test_impossible_ones_are_refused(changes: list[str]) -> None:
    with pytest.raises(UsageError, match="adversary"):
        load("audio-residual-16k", changes)
