"""The JPEG-LM recipe: pictures become bytes in a pack, which give back exactly what JPEG makes of the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.codecs.media.images import read_image, write_image
from smalti.prepare import open_codes
from smalti.prepare.reader import open_pack
from smalti.recipes import jpeg_lm
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.jpeg_bytes import JpegBytes, JpegBytesConfig
from smalti.tokenizers.signals import Image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i, size in enumerate([(40, 33), (32, 32), (31, 60), *[(36, 36)] * 30]):
        write_image(Image(random.integers(0, 255, (*size, 3)).astype(np.uint8)), tmp_path / "photos" / f"{i:02d}.png")
    return tmp_path / "photos"


def test_bytes_go_through_prepare_and_reader(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["jpeg_lm", str(photos), str(tmp_path / "out"), "--size", "32", "--steps", "0"])
    assert jpeg_lm.main() == 0
    crops = sorted((tmp_path / "out" / "crops-32").iterdir())
    assert len(crops) == 32  # one is too small
    assert np.array_equal(read_image(crops[0]).pixels, read_image(photos / "00.png").pixels[4:36, :32])
    codes = open_codes(tmp_path / "out" / "data")
    expected = dict(zip((path.name for path in crops), JpegBytes().encode([read_image(path) for path in crops]), strict=True))
    packs = [open_pack(folder, deep=True) for folder in sorted(codes.places.packs.iterdir())]
    found = {codes.inputs[int(pack.records["item"][i])].key: pack.tokens(i) for pack in packs for i in range(len(pack))}
    assert found == expected
    assert all(pack.pack.vocabulary.of_stage("image", "bytes", 256).size == 256 for pack in packs)
    assert [pack.pack.models[0].kind for pack in packs] == ["jpeg-bytes"] * len(packs)


def test_pictures_that_are_all_too_small_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no picture of 64 x 64 pixels or more"):
        jpeg_lm.prepared(photos, tmp_path / "out", JpegBytesConfig(), 64, 10)


def test_squares_are_cut_once(photos: Path, tmp_path: Path) -> None:
    """After a stop too, no picture becomes a second square, which might be held out while the first is trained on."""
    assert jpeg_lm.cut_squares(photos, tmp_path / "crops", 32, 100) == 32
    first = {path.name: path.read_bytes() for path in (tmp_path / "crops").iterdir()}
    assert jpeg_lm.cut_squares(photos, tmp_path / "crops", 32, 100) == 32
    assert {path.name: path.read_bytes() for path in (tmp_path / "crops").iterdir()} == first
    assert len(set(first.values())) == 32


def test_another_quality_or_size_is_no_silent_reuse(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    common = ["jpeg_lm", str(photos), str(tmp_path / "out"), "--steps", "0"]
    monkeypatch.setattr("sys.argv", [*common, "--size", "32"])
    assert jpeg_lm.main() == 0
    for more, said in ((["--size", "30"], "was planned from"), (["--size", "32", "--quality", "50"], "was planned with")):
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", [*common, *more])
        assert jpeg_lm.main() == 2
        assert said in capsys.readouterr().err
