"""The classifier's view of pictures, tasks by it, and distances of sets, on numbers worked out by hand or another way."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch

from smalti.codecs.media.images import read_image
from smalti.metrics import classifier, judges, registry
from smalti.metrics.classifier import Classifier
from smalti.metrics.distributions import FrechetDistance, frechet_distance, kernel_distance
from smalti.metrics.machine.classification import ClassificationAccuracy, ClassificationAgreement
from smalti.metrics.registry import resolve_task
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Audio, Image


def flat(value: int) -> Image:
    return Image(np.full((30, 40, 3), value, np.uint8))


class Brightness:
    """Class 0 for dark pictures, 1 for bright ones; counts what it looked at."""

    def __init__(self) -> None:
        self.looked = 0

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.looked += len(pixels)
        mean = pixels.mean((1, 2, 3))[:, None]
        return mean, torch.cat([-mean, mean], 1)


# --- the classifier -----------------------------------------------------------------------------------------------------------------


def test_it_sees_the_centre_of_a_picture() -> None:
    pixels = np.full((292, 400, 3), 255, np.uint8)
    pixels[16:276, 70:330] = (127, 0, 255)
    seen: list[torch.Tensor] = []
    network = Brightness()
    Classifier(lambda x: (seen.append(x), network(x))[1])([Image(pixels)])  # type: ignore[func-returns-value]
    assert seen[0].shape == (1, 3, 260, 260)
    assert [seen[0][0, c].unique().tolist() for c in range(3)] == [[0.0], [-127 / 128], [1.0]]


def test_a_picture_is_looked_at_once_while_it_lives() -> None:
    network = Brightness()
    look = Classifier(network)
    pictures = [flat(i) for i in range(40)]
    first = look(pictures)
    assert network.looked == 40
    again = look(pictures[::-1])
    assert network.looked == 40
    assert np.array_equal(again.features, first.features[::-1])
    del pictures
    gc.collect()
    assert len(look._seen) == 0


def test_it_looks_at_pictures_alone() -> None:
    with pytest.raises(SignalError, match="looks at pictures, found Audio"):
        Classifier(Brightness())([Audio(np.zeros((1, 10), np.float32), 8000)])


def test_what_it_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALTI_JUDGES", str(tmp_path))
    classifier.load.cache_clear()
    with pytest.raises(ModelError, match=r"efficientnet_lite2\.safetensors: not found; .*smalti fetch-judges classifier"):
        resolve_task("frechet-distance")
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ModelError, match=r"pip install 'smalti\[metrics\]'"):
        resolve_task("frechet-distance")


def test_the_real_one_knows_its_classes(data_folder: Path) -> None:
    if not judges.JUDGES["classifier"].path.is_file():
        pytest.skip(f"needs the judge {judges.JUDGES['classifier'].path}; smalti fetch-judges classifier brings it")
    files = [path for path in sorted((data_folder / "images" / "classify").glob("*.webp")) if path.name[2:4] == "01"]
    labels = [int(path.name[:4]) for path in files]
    score = resolve_task("classification-accuracy", "cpu", labels).ceiling([read_image(path) for path in files])
    assert score.value >= 0.6, f"{score.value} of {len(files)}"  # by chance: 0.001


# --- classification -----------------------------------------------------------------------------------------------------------------


def test_agreement_and_accuracy_by_hand() -> None:
    look = Classifier(Brightness())
    originals, decoded = [flat(v) for v in (10, 20, 200, 250)], [flat(v) for v in (10, 220, 200, 20)]
    agreement = ClassificationAgreement(look)
    assert agreement(originals, decoded).value == 0.5
    assert agreement.ceiling(originals).value == 1
    accuracy = ClassificationAccuracy(look, [0, 1, 1, 0])  # the classifier is wrong of the second and the fourth
    assert accuracy.ceiling(originals).value == 0.5
    assert accuracy(originals, decoded).value == 1
    with pytest.raises(SignalError, match="3 pictures for 4 labels"):
        accuracy(originals[:3], decoded[:3])
    with pytest.raises(SignalError, match="4 originals and 3 decoded"):
        agreement(originals, decoded[:3])


# --- distances of sets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m", "dimensions"), [(200, 150, 5), (6, 9, 5), (4, 6, 12)])
def test_frechet_distance_is_the_formula(n: int, m: int, dimensions: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, dimensions)), 2 * rng.normal(size=(m, dimensions)) + 1
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * root)
    # a root of a singular matrix is good to about 1e-6
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10 if min(n, m) > dimensions else 1e-5)


def test_frechet_distance_by_hand() -> None:
    a = np.array([[0.0], [2.0]])  # mean 1, variance 2
    b = np.array([[0.0], [4.0]])  # mean 2, variance 8
    assert frechet_distance(a, b) == pytest.approx(1 + (np.sqrt(8) - np.sqrt(2)) ** 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_kernel_distance_by_hand() -> None:
    a, b = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    within_a, within_b = 1.0, 3.0**3  # of the one pair in each
    across = (1 + 1 + 2**3 + 3**3) / 4
    assert kernel_distance(a, b) == pytest.approx(within_a + within_b - 2 * across)


def test_kernel_distance_is_unbiased() -> None:
    rng = np.random.default_rng(0)
    values = [kernel_distance(rng.normal(size=(8, 3)), rng.normal(size=(10, 3))) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20


def test_one_picture_has_no_spread() -> None:
    with pytest.raises(SignalError, match="a set of 1, expected 2 or more"):
        FrechetDistance(Classifier(Brightness()))([flat(1)], [flat(2)])


# --- by name ------------------------------------------------------------------------------------------------------------------------


def test_tasks_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "load", lambda device: Classifier(Brightness(), device))
    task = resolve_task("classification-agreement", "meta")
    assert isinstance(task, ClassificationAgreement)
    assert task.network.device == "meta"
    with pytest.raises(UsageError, match=r"no task 'frechet'; did you mean 'frechet-distance'\?"):
        resolve_task("frechet")
    with pytest.raises(UsageError, match="task 'classification-accuracy' needs labels"):
        resolve_task("classification-accuracy")
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    assert set(registry.known_tasks()) == set(registry.TASKS)
