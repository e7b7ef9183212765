"""Every registered metric whose judge is at hand runs the conformance list: a new one needs a line here."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np
import pytest

from smalti.metrics import judges
from smalti.metrics.registry import METRICS
from smalti.testing import check_metric
from smalti.tokenizers.signals import Image

ANY_SIZE = ((1, 1), (17, 70), (80, 96))


@dataclass(frozen=True)
class Case:
    """sizes: of pictures that it takes, the smallest first. judge: its network in `judges.JUDGES`, if it has one."""

    sizes: tuple[tuple[int, int], ...] = ANY_SIZE
    judge: str | None = None


CASES = {
    "psnr": Case(),
    "psnr-y": Case(),
    "ssim": Case(((11, 11), (17, 70))),
    "ms-ssim": Case(((161, 161), (176, 200))),
    "ms-ssim-db": Case(((161, 161), (176, 200))),
    "lpips-alex": Case(judge="alex"),
    "lpips-vgg": Case(judge="vgg"),
}


def test_every_registered_metric_is_tried() -> None:
    assert set(CASES) == set(METRICS)


@pytest.mark.parametrize("name", CASES)
def test_conforms(name: str) -> None:
    case = CASES[name]
    if case.judge and not judges.JUDGES[case.judge].path.is_file():
        pytest.skip(f"needs the judge {judges.JUDGES[case.judge].path}; smalti fetch-judges {case.judge} brings it")
    module, _, factory = METRICS[name].partition(":")
    metric = getattr(importlib.import_module(module), factory)()
    assert metric.name == name
    rng = np.random.default_rng(0)
    pictures = [Image(rng.integers(0, 256, (*size, 3), np.uint8)) for size in case.sizes]
    check_metric(metric, [*pictures, Image(rng.integers(0, 65536, (*case.sizes[-1], 3), np.uint16))])
