"""Every registered task runs the conformance list, by a stand-in for the classifier and by the real one where that is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.codecs.media.images import read_image
from smalti.metrics import classifier, judges
from smalti.metrics.classifier import Classifier
from smalti.metrics.machine import recognition
from smalti.metrics.registry import TASKS, resolve_task
from smalti.testing import check_task
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.signals import Audio, Image

OF_SOUNDS = [name for name in TASKS if name.startswith("word-error-rate")]
OF_FILMS = ["frechet-video-distance"]  # tests/unit/test_video_distributions.py
OF_PICTURES = [name for name in TASKS if name not in (*OF_SOUNDS, *OF_FILMS)]


def stand_in() -> Classifier:
    """Seeded linear maps of the picture at 13 x 13 pixels."""
    random = torch.Generator().manual_seed(0)
    to_features, to_logits = torch.randn(3 * 13 * 13, 24, generator=random) / 20, torch.randn(24, 10, generator=random)

    def look(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.nn.functional.avg_pool2d(pixels, 20).flatten(1) @ to_features
        return features, features @ to_logits

    return Classifier(look)


def pictures() -> list[Image]:
    """Ten pictures of two sizes, each with two large areas of colour."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(10):
        pixels = np.empty((40 + i % 2, 52, 3), np.uint8)
        pixels[:, :26], pixels[:, 26:] = rng.integers(0, 256, (2, 3))
        made.append(Image(pixels))
    return made


@pytest.mark.parametrize("name", OF_PICTURES)
def test_conforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "load", lambda device: stand_in())
    signals = pictures()
    task = resolve_task(name, "cpu", stand_in()(signals).classes.tolist())
    assert task.name == name
    check_task(task, signals)


def louder_half(wave: np.ndarray) -> str:
    """A recognizer of two words."""
    half = len(wave) // 2
    return "end" if np.abs(wave[half:]).sum() > np.abs(wave[:half]).sum() else "start"


@pytest.mark.parametrize("name", OF_SOUNDS)
def test_of_sounds_conforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "load", lambda: louder_half)
    ramp = np.linspace(0, 1, 8000, dtype=np.float32)
    sounds = [
        Audio((ramp * np.sin(np.arange(8000) * k / 20)).astype(np.float32)[None], rate) for k, rate in ((1, 8000), (2, 16000), (3, 24000))
    ]
    task = resolve_task(name)
    assert task.name == name
    check_task(task, sounds)


@pytest.mark.parametrize("name", OF_PICTURES)
def test_conforms_with_the_classifier(name: str, data_folder: Path) -> None:
    if not judges.JUDGES["classifier"].path.is_file():
        pytest.skip(f"needs the judge {judges.JUDGES['classifier'].path}; smalti fetch-judges classifier brings it")
    folder = data_folder / "images" / "classify"
    files = sorted(folder.glob("*.webp"))[:4]
    check_task(resolve_task(name, "cpu", [int(file.name[:4]) for file in files]), [read_image(file) for file in files])


class Constant:
    """A task that sees nothing."""

    name = "constant"

    def __call__(self, references: object, decoded: object) -> Score:
        return Score(1.0, "", "higher", "nothing")

    def ceiling(self, references: object) -> Score:
        return Score(1.0, "", "higher", "nothing")


def test_the_list_finds_a_task_that_sees_nothing() -> None:
    with pytest.raises(AssertionError, match="inverted signals stay behind the ceiling"):
        check_task(Constant(), pictures())
