"""Curves that others published, and the parts that bring ours to theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalti.codecs.classical.still import jpeg
from smalti.recipes import published
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.signals import Image


@pytest.mark.parametrize(("name", "quality"), [("jpeg", 5), ("jpeg", 25), ("webp", 25)])
def test_kodak_curves_are_the_published_ones(name: str, quality: int, data_folder: Path) -> None:
    pytest.importorskip("av")
    found = published.agreement(name, quality, published.kodak(data_folder / "images" / "kodak"))
    assert found.agrees
    assert abs(found.decibels) < 0.05
    assert found.bits_per_pixel == pytest.approx(found.published_bits_per_pixel, rel=0.01)


def test_planes_are_enlarged_by_their_spectra() -> None:
    flat = np.full((10, 17), 77.0)
    assert (published.enlarged(flat)[:20, :34] == 77).all()
    y, x = np.mgrid[0:16, 0:16]
    wave = 128 + 60 * np.cos(np.pi * (2 * (x % 8) + 1) / 16)  # the first of each block's cosines
    large = published.enlarged(wave)
    fine = 128 + 60 * np.cos(np.pi * (2 * (np.arange(32) % 16) + 1) / 32)
    np.testing.assert_allclose(large, np.broadcast_to(fine, (32, 32)), atol=0.51)
    assert (large == np.rint(large)).all()
    assert y.shape == (16, 16)


def test_decoding_as_libjpeg_9_is_near_to_decoding_by_turbo() -> None:
    pytest.importorskip("av")
    rng = np.random.default_rng(0)
    smooth = np.array(Pil.fromarray(rng.integers(0, 256, (6, 9, 3), np.uint8)).resize((70, 45), Pil.Resampling.BICUBIC))
    codec = published.as_theirs("jpeg")
    data = codec.compress(Image(smooth), Target(quality=90))
    assert data == jpeg().compress(Image(smooth), Target(quality=90))
    here, there = (found.decompress(data) for found in (codec, jpeg()))
    assert isinstance(here, Image)
    assert isinstance(there, Image)
    apart = np.abs(here.pixels.astype(int) - there.pixels)
    assert here.pixels.shape == smooth.shape
    assert 0 < apart.mean() < 3


def test_the_table_says_what_does_not_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av")
    Pil.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)).save(tmp_path / "noise.png")
    assert published.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("does not agree") == 6
    assert published.main([str(tmp_path / "none")]) == 2
