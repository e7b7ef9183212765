"""Every registered task runs the conformance list, by a stand-in for the classifier and by the real one where that is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.codecs.media.images import read_image
from smalti.metrics import classifier, judges
from smalti.metrics.classifier import Classifier
from smalti.metrics.machine import detection, reading, recognition, sound_events
from smalti.metrics.machine.boxes import Detections
from smalti.metrics.pairs import check_sets
from smalti.metrics.registry import TASKS, resolve_task
from smalti.testing import check_task
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.signals import Audio, Image, Shape, Signal

OF_SOUNDS = [*(name for name in TASKS if name.startswith("word-error-rate")), "sound-event-agreement"]
OF_WORDS = ["spoken-digits", "spoken-digits-from-decoded"]
OF_SHAPES = ["shape-classes", "shape-classes-from-decoded"]
OF_THINGS = ["object-detection-agreement", "face-detection-agreement", "character-error-rate"]
OF_KINDS = [name for name in TASKS if name.startswith("linear-probe")]
OF_FILMS = ["frechet-video-distance"]  # tests/unit/test_video_distributions.py
OF_PICTURES = [name for name in TASKS if name not in (*OF_SOUNDS, *OF_WORDS, *OF_SHAPES, *OF_THINGS, *OF_KINDS, *OF_FILMS)]


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


@pytest.mark.parametrize("name", OF_KINDS)
def test_probes_of_pictures_conform(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "load", lambda device: stand_in())
    rng = np.random.default_rng(0)
    signals = [Image(np.clip(rng.normal(60 + 120 * (i % 2), 20, (20, 24, 3)), 0, 255).astype(np.uint8)) for i in range(9)]
    task = resolve_task(name, "cpu", [5 + 500 * (i % 2) for i in range(9)])
    assert task.name == name
    check_task(task, signals)


def bright(pixels: np.ndarray) -> Detections:
    """A detector of the one bright area."""
    rows, columns = np.nonzero(pixels.mean(2) > 128)
    if not len(rows):
        return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    box = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]
    return Detections(np.array(box, np.float64), np.ones(1), np.zeros(1, np.int64))


@pytest.mark.parametrize("name", OF_THINGS)
def test_of_things_in_pictures_conforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "ObjectDetector", lambda session: bright)
    monkeypatch.setattr(detection, "FaceDetector", lambda session: bright)
    monkeypatch.setattr(detection, "_network", lambda name: None)
    monkeypatch.setattr(reading, "load", lambda: lambda pixels: "light" if pixels[2, 2, 0] > 128 else "darkness")
    monkeypatch.setattr(reading, "_version", lambda: "0")
    signals = []
    for i in range(4):
        pixels = np.full((30, 40, 3), 20, np.uint8)
        pixels[2 : 12 + i, 2:20] = 230
        signals.append(Image(pixels))
    task = resolve_task(name)
    assert task.name == name
    check_task(task, signals)


def ascending(seed: int, up: bool) -> Audio:
    """A tone that rises, or one that falls."""
    pitch = np.linspace(300, 1500 + 50 * seed, 4000)[:: 1 if up else -1]
    return Audio(np.sin(2 * np.pi * np.cumsum(pitch) / 8000).astype(np.float32)[None] / 2, 8000)


@pytest.mark.parametrize("name", OF_WORDS)
def test_of_words_conforms(name: str) -> None:
    task = resolve_task(name, labels=[i % 2 for i in range(8)], groups=[f"speaker {i // 2}" for i in range(8)])
    assert task.name == name
    check_task(task, [ascending(i, bool(i % 2)) for i in range(8)])


def box_of(rng: np.random.Generator, narrow: bool) -> Shape:
    """A narrow or a wide box, of 12 faces."""
    sides = [1.0, 0.5, 0.4] if narrow else [1.0, 0.7, 0.4]
    corners = (np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) - 0.5) * sides * rng.uniform(0.97, 1.03, 3)
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Shape(corners, np.array([t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))], np.int64))


@pytest.mark.parametrize("name", OF_SHAPES)
def test_of_shapes_conforms(name: str) -> None:
    rng = np.random.default_rng(0)
    task = resolve_task(name, labels=[0] * 4 + [1] * 4)
    assert task.name == name
    check_task(task, [box_of(rng, i >= 4) for i in range(8)])


def louder_half(wave: np.ndarray) -> str:
    """A recognizer of two words."""
    half = len(wave) // 2
    return "end" if np.abs(wave[half:]).sum() > np.abs(wave[:half]).sum() else "start"


@pytest.mark.parametrize("name", OF_SOUNDS)
def test_of_sounds_conforms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "load", lambda: louder_half)
    monkeypatch.setattr(sound_events, "load", lambda: lambda wave: np.eye(2)[int(louder_half(wave) == "end")])
    ramp = np.linspace(0, 1, 8000, dtype=np.float32)
    sounds = [
        Audio((ramp * np.sin(np.arange(8000) * k / 20)).astype(np.float32)[None], rate) for k, rate in ((1, 8000), (2, 16000), (3, 24000))
    ]
    task = resolve_task(name)
    assert task.name == name
    check_task(task, sounds)


def test_every_registered_task_is_tried() -> None:
    assert {*OF_SOUNDS, *OF_WORDS, *OF_SHAPES, *OF_THINGS, *OF_KINDS, *OF_PICTURES, *OF_FILMS} == set(TASKS)


@pytest.mark.parametrize("name", OF_PICTURES)
def test_conforms_with_the_classifier(name: str, data_folder: Path) -> None:
    if not judges.JUDGES["classifier"].path.is_file():
        pytest.skip(f"needs the judge {judges.JUDGES['classifier'].path}; smalti fetch-judges classifier brings it")
    folder = data_folder / "images" / "classify"
    files = [sorted(folder.glob("*.webp"))[i] for i in (3, 5, 13)]  # of most it says the same when they are inverted
    check_task(resolve_task(name, "cpu", [int(file.name[:4]) for file in files]), [read_image(file) for file in files])


class Constant:
    """A task that sees nothing."""

    name = "constant"

    def __call__(self, references: object, decoded: object) -> Score:
        return Score(1.0, "", "higher", "nothing")

    def ceiling(self, references: object) -> Score:
        return Score(1.0, "", "higher", "nothing")


class Unequal:
    """A task whose items tell another story than its score."""

    name = "unequal"

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        check_sets(references, decoded)
        same = np.mean([np.array_equal(a.pixels, b.pixels) for a, b in zip(references, decoded, strict=True)])  # type: ignore[union-attr]
        return Score(float(same), "", "higher", "equal pixels")

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> np.ndarray:
        check_sets(references, decoded)
        return np.full(len(references), 0.5)


def test_the_list_finds_items_that_are_not_the_score() -> None:
    with pytest.raises(AssertionError, match=r"the score is the mean over items, found 0\.0 and 0\.5"):
        check_task(Unequal(), pictures())


def test_the_list_finds_a_task_that_sees_nothing() -> None:
    with pytest.raises(AssertionError, match="inverted signals stay behind the ceiling"):
        check_task(Constant(), pictures())
