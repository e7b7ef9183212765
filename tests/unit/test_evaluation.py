"""`smalti evaluate` with tasks: scores of the whole set per rate, their ceilings, labels, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from smalti.metrics import classifier
from smalti.metrics.classifier import Classifier

TASKS = ("--task", "classification-agreement", "--task", "classification-accuracy", "--task", "frechet-distance")


def four_quarters(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which quarter is the brightest."""
    features = torch.nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), 130).flatten(1)
    return features, features


@pytest.fixture
def quarters(monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """A stand-in for the classifier."""
    made = Classifier(four_quarters)
    monkeypatch.setattr(classifier, "load", lambda device: made)
    return made


@pytest.fixture
def labels(pictures: Path, quarters: Classifier, tmp_path: Path) -> Path:
    """What the stand-in says of the pictures, but wrong of the last of the six."""
    from smalti.codecs.media.images import read_image

    files = sorted(pictures.iterdir())
    classes = quarters([read_image(file) for file in files]).classes.tolist()
    classes[-1] = (classes[-1] + 1) % 4
    (tmp_path / "labels.json").write_text(json.dumps(dict(zip([file.name for file in files], classes, strict=True))))
    return tmp_path / "labels.json"


def test_tasks_are_scored_per_rate_with_their_ceiling(cli: Any, samples: Any, pictures: Path, labels: Path) -> None:
    found = cli("evaluate", samples.tiny, pictures, *TASKS, "--labels", labels, "--json", "--batch", "4").json
    assert {name: task["ceiling"] for name, task in found["tasks"].items()} == {
        "classification-agreement": 1.0,
        "classification-accuracy": pytest.approx(5 / 6),
        "frechet-distance": pytest.approx(0, abs=1e-9),
    }
    assert [list(rate["tasks"]) for rate in found["rates"]] == [list(found["tasks"])] * 2
    assert all(rate["tasks"]["frechet-distance"] > 0 for rate in found["rates"])
    assert all(task["convention"] for task in found["tasks"].values())
    text = cli("evaluate", samples.tiny, pictures, *TASKS, "--labels", labels).out
    assert "classification-accuracy: 0.8333 on the pictures as they are; higher is better" in text


def test_labels_stay_with_their_pictures(cli: Any, samples: Any, pictures: Path, labels: Path) -> None:
    (pictures / "0.png").write_bytes(b"no picture")
    ran = cli("evaluate", samples.tiny, pictures, "--task", "classification-accuracy", "--labels", labels, "--json")
    assert ran.code == 1
    assert ran.json["tasks"]["classification-accuracy"]["ceiling"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("content", ["[1, 2]", '{"0.png": "cat"}', '{"0.png": -1}', '{"0.png": true}', "{", "\0"])
def test_what_are_no_labels(cli: Any, samples: Any, pictures: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "labels.json").write_text(content)
    ran = cli("evaluate", samples.tiny, pictures, "--task", "classification-accuracy", "--labels", tmp_path / "labels.json")
    assert "labels.json: no labels, expected a JSON object" in ran.refusal()


def test_what_is_missing_is_said_before_work_begins(
    cli: Any, samples: Any, pictures: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smalti.tokenizers.image.grid.ImageGrid.encode", lambda *arguments: pytest.fail("pictures are encoded"))
    call = ("evaluate", samples.tiny, pictures, "--task")
    assert "task 'classification-accuracy' needs labels" in cli(*call, "classification-accuracy").refusal()
    assert "did you mean 'kernel-distance'?" in cli(*call, "kernel-distanse").refusal()
    (pictures / "stranger.png").write_bytes((pictures / "0.png").read_bytes())
    assert f"{pictures / 'stranger.png'}: no label" in cli(*call, "classification-accuracy", "--labels", labels).refusal()
    monkeypatch.undo()
    monkeypatch.setenv("SMALTI_JUDGES", str(tmp_path / "none"))
    classifier.load.cache_clear()
    assert "smalti fetch-judges classifier" in cli(*call, "frechet-distance").refusal()


def test_a_picture_that_a_metric_refuses_is_named(cli: Any, samples: Any, pictures: Path) -> None:
    line = cli("evaluate", samples.tiny, pictures, "--metric", "ms-ssim").refusal()
    assert line == f"{pictures / '0.png'}: ms-ssim needs sides of 161 pixels or more, found 48 x 40; ssim takes smaller ones"
