"""Models as folders that others load: copied as they are, or made of a public checkpoint; by name from the hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from smalti import api
from smalti.recipes import tiny_peers
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.signals import Image


def picture() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8))


def test_a_model_of_ours_is_copied_with_its_fingerprint(tmp_path: Path) -> None:
    saved = smalti.save_model("image-grid-8", tmp_path / "mine", card="# Mine\n")
    assert zoo.fingerprint_of(saved) == zoo.fingerprint_of(zoo.find("image-grid-8"))
    assert saved.card == "# Mine\n"
    data = api.compress(picture(), "image-grid-8")
    assert np.array_equal(smalti.decompress(data, tmp_path / "mine").pixels, smalti.decompress(data).pixels)


def test_a_public_model_becomes_one_of_ours(tmp_path: Path) -> None:
    source = tiny_peers.save("llamagen", tmp_path)
    saved = smalti.save_model(source, tmp_path / "mine")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"config.json", "model.safetensors", "card.md"}
    again = smalti.load(tmp_path / "mine")
    assert again.encode([picture()]) == smalti.load(source).encode([picture()])
    assert smalti.save_model(again, tmp_path / "twice").config == saved.config
    assert zoo.fingerprint_of(saved) == again.fingerprint == smalti.load(tmp_path / "twice").fingerprint


def test_fitted_tables_go_with_it(tmp_path: Path) -> None:
    from smalti.codecs.priors.static import StaticPrior

    source = tiny_peers.save("taming", tmp_path)
    prior = StaticPrior.fit(smalti.load(source).encode([picture()]))
    prior.save(zoo.find(source).beside("static.safetensors"))
    saved = smalti.save_model(source, tmp_path / "mine")
    assert api.codec(str(saved.folder), prior="static").prior.id == prior.id


def test_names_of_the_hub_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub: Any = pytest.importorskip("huggingface_hub")
    smalti.save_model("image-grid-8", tmp_path / "there")
    asked = []

    def snapshot(name: str, allow_patterns: list[str], local_files_only: bool) -> str:
        asked.append((name, local_files_only))
        if name == "somebody/nothing":
            raise OSError("404 Client Error")
        return str(tmp_path / "there")

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    data = api.compress(picture(), "image-grid-8")
    assert np.array_equal(smalti.decompress(data, "hub:somebody/grid").pixels, smalti.decompress(data).pixels)
    assert ("somebody/grid", False) in asked
    with pytest.raises(ModelError, match="404"):
        zoo.find("hub:somebody/nothing")
    zoo.find("hf:somebody/grid")
    assert asked[-1] == ("somebody/grid", True), "hf: stays on this machine"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"pip install 'smalti\[hub\]'"):
        zoo.find("hub:somebody/grid")


def test_what_no_folder_can_hold_is_refused(tmp_path: Path) -> None:
    class Foreign:
        name = "foreign"

    foreign: Any = Foreign()
    with pytest.raises(UsageError, match="no tokenizer that folders can hold"):
        smalti.save_model(foreign, tmp_path)
