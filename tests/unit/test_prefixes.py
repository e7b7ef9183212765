"""The recipe that sets scores and tasks against tokens per picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import smalti
from smalti.codecs.media.images import write_image
from smalti.metrics.image import PSNR
from smalti.recipes import prefixes
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.signals import Image


class Brightest:
    """A task: the share of pictures whose brightest channel stays what it was."""

    name = "brightest"

    def __call__(self, references: list[Image], decoded: list[Image]) -> Score:
        same = [a.pixels.mean((0, 1)).argmax() == b.pixels.mean((0, 1)).argmax() for a, b in zip(references, decoded, strict=True)]
        return Score(float(np.mean(same)), "", "higher", "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(40, 64), (48, 48), (33, 70)]):
        write_image(Image(rng.integers(0, 256, (*shape, 3)).astype(np.uint8)), tmp_path / f"{i}.png")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["prefixes", *map(str, arguments)])
    return prefixes.main()


def test_tokens_of_a_square_are_alike(
    model: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prefixes, "resolve_task", lambda name: Brightest())
    assert run(monkeypatch, model, folder, "--side", 32, "--task", "brightest", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pictures"] == 3
    assert [(row["stages"], row["tokens"]) for row in found["rows"]] == [(1, 4.0), (2, 8.0)], "32 x 32 pixels are 2 x 2 tokens a stage"
    tokenizer = smalti.load(model)
    pictures = [prefixes.squared(smalti.read(path), 32) for path in sorted(folder.glob("*.png"))]  # type: ignore[arg-type]
    coarse = tokenizer.decode([tokens.prefix(1) for tokens in tokenizer.encode(pictures)])
    scores = [PSNR()(a, b).value for a, b in zip(pictures, coarse, strict=True)]  # type: ignore[arg-type]
    assert found["rows"][0]["scores"]["psnr"] == pytest.approx(np.mean(scores), abs=1e-4)
    assert found["rows"][0]["scores"] != found["rows"][1]["scores"]
    assert all(row["scores"]["psnr"] > 3 and 0 <= row["tasks"]["brightest"] <= 1 for row in found["rows"])
    assert run(monkeypatch, model, folder) == 0
    assert "| stages | tokens a picture | psnr |" in capsys.readouterr().out


def test_what_it_refuses(model: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "none").mkdir()
    assert run(monkeypatch, model, folder / "none") == 2
    assert "no picture was found" in capsys.readouterr().err
    assert run(monkeypatch, model, folder, "--side", -1) == 2
    assert run(monkeypatch, model, folder, "--metric", "nonsense") == 2


def test_a_square_is_the_middle() -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    assert (prefixes.squared(Image(pixels), 10).pixels > 180).all(), "the filter sees a little of what lies beside it"
