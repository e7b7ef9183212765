"""Every registered metric whose judge is at hand runs the conformance list: a new one needs a line here."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from smalti.metrics import judges
from smalti.metrics.registry import METRICS
from smalti.testing import check_metric
from smalti.tokenizers.signals import Image

JUDGE_OF = {"psnr": None, "lpips-alex": "alex", "lpips-vgg": "vgg"}
AT_HAND = [name for name, net in JUDGE_OF.items() if net is None or (judges.folder() / judges.FEATURES[net][0]).is_file()]


def test_every_registered_metric_is_tried() -> None:
    assert set(JUDGE_OF) == set(METRICS)


@pytest.mark.parametrize("name", AT_HAND)
def test_conforms(name: str) -> None:
    module, _, factory = METRICS[name].partition(":")
    metric = getattr(importlib.import_module(module), factory)()
    assert metric.name == name
    rng = np.random.default_rng(0)
    pictures = [Image(rng.integers(0, 256, (*size, 3), np.uint8)) for size in ((1, 1), (17, 70), (80, 96))]
    check_metric(metric, [*pictures, Image(rng.integers(0, 65536, (70, 70, 3), np.uint16))])
