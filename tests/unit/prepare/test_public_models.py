"""Public models give codes for trainers as ours do, and are found again by where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smalti.codecs.media.images import read_image
from smalti.prepare import open_codes
from smalti.recipes import tiny_peers
from smalti.tokenizers import zoo


@pytest.mark.parametrize("family", ["taming", "one-d-piece"])
def test_documents_are_what_a_public_model_gives(family: str, prepare: Any, photos: Path, tmp_path: Path) -> None:
    source = tiny_peers.save(family, tmp_path / "model")
    prepare(photos, tmp_path / "out", source, unit=5)
    codes = open_codes(tmp_path / "out")
    tokenizer = zoo.load(source)
    assert len(list(codes)) == 11
    for document in codes:
        (alone,) = tokenizer.encode([read_image(photos / document.key)])
        assert document.tokens == alone
    (model,) = codes.models
    assert model["fingerprint"] == tokenizer.fingerprint
    prepare(photos, tmp_path / "again", model["reference"], unit=5)
    assert open_codes(tmp_path / "again").manifest["tokens"] == codes.manifest["tokens"]
