"""The speed table of preparing: both halves do the same work. Nothing here looks at a clock."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest

from smalti.recipes.bench import prepare
from smalti.recipes.bench.prepare import Speed, measure
from smalti.tokenizers.errors import UsageError


def test_both_halves_see_the_same_pictures(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(5):
        side = 32 if i else 48  # the one of another size is left out
        PIL.Image.fromarray(np.full((side, side, 3), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    encoded: list[int] = []
    prepared: list[int] = []

    class Counting:
        def encode(self, images: Any) -> None:
            encoded.extend(int(image.pixels[0, 0, 0]) for image in images)

    def run(arguments: list[str], **_: Any) -> Any:
        prepared.extend(int(np.asarray(PIL.Image.open(path))[0, 0, 0]) for path in sorted(Path(arguments[4]).iterdir()))
        assert arguments[arguments.index("--batch") + 1] == "3"
        return SimpleNamespace(stdout=json.dumps([{"busy_seconds": 8.0, "cpu_seconds": 16.0}]))

    monkeypatch.setattr(prepare.zoo, "load", lambda name: Counting())
    monkeypatch.setattr(subprocess, "run", run)
    found = measure(tmp_path, model, 4, 1, 1, 3)
    assert encoded == [40, 80, 120, 40, 80, 120, 160]  # once to warm up
    assert prepared == [40, 80, 120, 160]
    assert (found.worker, found.worker_core) == (0.5, 0.25)
    with pytest.raises(UsageError, match="4 pictures of one size, expected 5"):
        measure(tmp_path, model, 5, 1, 1, 3)


def test_a_share_is_of_the_bare_network() -> None:
    found = Speed(bare=10, worker=9.5, command=5, bare_core=10, worker_core=9)
    assert (found.share, found.core_share) == pytest.approx((0.95, 0.9))
