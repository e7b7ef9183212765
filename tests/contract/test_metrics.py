"""Every registered metric whose judge is at hand runs the conformance list: a new one needs a line here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from smalti.metrics import judges
from smalti.metrics.registry import METRICS
from smalti.testing import check_metric
from smalti.tokenizers.signals import Audio, Image, Shape, Video

ANY_SIZE = ((1, 1), (17, 70), (80, 96))
SECONDS = 2.5  # the shortest in which all of them find enough to score


@dataclass(frozen=True)
class Case:
    """sizes: of pictures that it takes, the smallest first. judge: its networks in `judges.JUDGES`, if it has any. package: what else
    it needs, beyond what tests are installed with. sound: it takes sounds. film: films.
    shape: shapes; cloud: clouds of points too. patches: of pictures, those of one colour each: inverted noise is the same texture."""

    sizes: tuple[tuple[int, int], ...] = ANY_SIZE
    judge: str | None = None
    package: str | None = None
    sound: bool = False
    film: bool = False
    shape: bool = False
    cloud: bool = False
    patches: bool = False


CASES = {
    "psnr": Case(),
    "psnr-y": Case(),
    "ssim": Case(((11, 11), (17, 70))),
    "ms-ssim": Case(((161, 161), (176, 200))),
    "ms-ssim-db": Case(((161, 161), (176, 200))),
    "lpips-alex": Case(judge="alex"),
    "lpips-vgg": Case(judge="vgg"),
    "dists": Case(((32, 32), (48, 70)), judge="vgg dists", patches=True),
    "mel-distance": Case(sound=True),
    "mel-distance-4k": Case(sound=True),
    "stft-distance": Case(sound=True),
    "stft-distance-4k": Case(sound=True),
    "si-sdr": Case(sound=True),
    "si-sdr-4k": Case(sound=True),
    "pesq-wb": Case(sound=True, package="pesq"),
    "pesq-nb": Case(sound=True, package="pesq"),
    "stoi": Case(sound=True),
    "stoi-4k": Case(sound=True),
    "zimtohrli": Case(sound=True),
    "zimtohrli-4k": Case(sound=True),
    "visqol": Case(sound=True, package="visqol"),
    "visqol-4k": Case(sound=True, package="visqol"),
    "visqol-speech": Case(sound=True, package="visqol"),
    "visqol-speech-4k": Case(sound=True, package="visqol"),
    "speaker-similarity": Case(sound=True, judge="speaker"),
    "speaker-similarity-4k": Case(sound=True, judge="speaker"),
    "f-score-1": Case(shape=True, cloud=True, package="igl"),
    "f-score-2": Case(shape=True, cloud=True, package="igl"),
    "chamfer": Case(shape=True, cloud=True, package="igl"),
    "normal-consistency": Case(shape=True, package="igl"),
    "volume-iou": Case(shape=True, package="igl"),
    "surface-iou": Case(shape=True, package="igl"),
    "d1-psnr": Case(shape=True, cloud=True, package="igl"),
    "video-psnr": Case(film=True),
    "video-psnr-y": Case(film=True),
    "video-ssim": Case(film=True),
    "video-ms-ssim": Case(film=True),
    "video-lpips-alex": Case(film=True, judge="alex"),
    "temporal-difference": Case(film=True),
    "temporal-lpips": Case(film=True, judge="alex"),
}


def test_every_registered_metric_is_tried() -> None:
    assert set(CASES) == set(METRICS)


@pytest.mark.parametrize("name", CASES)
def test_conforms(name: str) -> None:
    case = CASES[name]
    for judge in case.judge.split() if case.judge else ():
        if not judges.JUDGES[judge].path.is_file():
            pytest.skip(f"needs the judge {judges.JUDGES[judge].path}; smalti fetch-judges {judge} brings it")
    if case.package:
        pytest.importorskip(case.package)
    module, _, factory = METRICS[name].partition(":")
    metric = getattr(importlib.import_module(module), factory)()
    assert metric.name == name
    rng = np.random.default_rng(0)
    if case.sound:
        check_metric(metric, [speech_like(rng, 1, 16000), speech_like(rng, 2, 24000)])
        return
    if case.film:
        check_metric(metric, [wandering(rng, 3, 161, 176), wandering(rng, 4, 176, 161)])
        return
    if case.shape:
        check_metric(metric, [ball(rng), *([Shape(rng.normal(1, 2, (5000, 3)))] if case.cloud else [])])
        return
    if case.patches:
        colours = rng.integers(0, 256, (9, 12, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        check_metric(metric, [Image(np.ascontiguousarray(colours[:height, :width])) for height, width in case.sizes])
        return
    pictures = [Image(rng.integers(0, 256, (*size, 3), np.uint8)) for size in case.sizes]
    check_metric(metric, [*pictures, Image(rng.integers(0, 65536, (*case.sizes[-1], 3), np.uint16))])


def wandering(rng: np.random.Generator, count: int, height: int, width: int) -> Video:
    """Colours that move a little from frame to frame."""
    small = rng.integers(0, 256, (9, 12, 3), np.uint8)
    large = np.kron(small, np.ones((24, 24, 1), np.uint8))
    return Video([np.ascontiguousarray(large[i : i + height, i : i + width]) for i in range(count)], Fraction(25))


def ball(rng: np.random.Generator) -> Shape:
    """A dented ball of 980 faces, not in the middle."""
    rows, columns = 15, 35
    height, round = np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, columns, endpoint=False)
    inner = [(np.sin(h) * np.cos(r), np.sin(h) * np.sin(r), np.cos(h)) for h in height[1:-1] for r in round]
    vertices = np.array([(0, 0, 1.0), *inner, (0, 0, -1.0)]) * rng.uniform(0.95, 1.05, (len(inner) + 2, 1)) * [3, 2, 1] + [5, 0, -1]
    faces = []
    for i in range(columns):
        j, last = (i + 1) % columns, len(vertices) - 1
        faces += [(0, 1 + i, 1 + j), (last, last - columns + j, last - columns + i)]
        for row in range(rows - 3):
            a, b = 1 + row * columns, 1 + (row + 1) * columns
            faces += [(a + i, b + i, b + j), (a + i, b + j, a + j)]
    return Shape(vertices, np.array(faces, np.int64))


def speech_like(rng: np.random.Generator, channels: int, rate: int) -> Audio:
    """Buzzing of falling pitch behind wandering resonances, in syllables with pauses between them."""
    t = np.arange(round(SECONDS * rate)) / rate
    syllables = np.clip(3 * np.sin(2 * np.pi * 2.3 * t) * np.sin(2 * np.pi * 0.31 * t + 1), 0, 1)
    pitch = 140 - 20 * t + 8 * np.sin(2 * np.pi * 3.1 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voices = []
    for _ in range(channels):
        first, second = 500 + 250 * np.sin(2 * np.pi * 1.7 * t + rng.uniform(0, 6)), 1600 + 700 * np.sin(2 * np.pi * 1.1 * t)
        parts = [
            np.sin(k * phase) * (np.exp(-(((k * pitch - first) / 200) ** 2)) + 0.4 * np.exp(-(((k * pitch - second) / 300) ** 2)))
            for k in range(1, 25)
        ]
        voices.append(syllables * np.sum(parts, 0) + 0.002 * rng.standard_normal(len(t)))
    samples = np.stack(voices)
    return Audio((0.5 * samples / np.abs(samples).max()).astype(np.float32), rate)
