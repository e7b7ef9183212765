"""Judges on whole sets of real pictures, against published values and values measured by another program."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from smalti.codecs.media.images import read_image
from smalti.metrics import judges
from smalti.metrics.registry import resolve, resolve_task
from smalti.tokenizers.signals import Image


def jpeg(image: Image, quality: int) -> Image:
    held = io.BytesIO()
    PIL.Image.fromarray(image.pixels).save(held, "JPEG", quality=quality)
    with PIL.Image.open(held) as picture:
        return Image(np.asarray(picture.convert("RGB")))


@pytest.mark.slow
@pytest.mark.parametrize(("quality", "published"), [(5, 0.8031), (25, 0.9533), (75, 0.9858)])
def test_ms_ssim_of_kodak_by_jpeg(data_folder: Path, quality: int, published: float) -> None:
    """CompressAI's results for Pillow's JPEG; its decoder was an older one, whose PSNR too is 0.1 dB lower."""
    metric = resolve("ms-ssim")
    pictures = [read_image(path) for path in sorted((data_folder / "images" / "kodak").glob("*.png"))]
    assert len(pictures) == 24
    found = np.mean([metric(picture, jpeg(picture, quality)).value for picture in pictures])
    assert found == pytest.approx(published, abs=0.005)


@pytest.mark.slow
def test_the_classifier_on_a_hundred_pictures(data_folder: Path) -> None:
    """Frechet and kernel distances of 100 pictures of 256 x 256 and their JPEG files, and agreement."""
    if not judges.JUDGES["classifier"].path.is_file():
        pytest.skip(f"needs the judge {judges.JUDGES['classifier'].path}; smalti fetch-judges classifier brings it")
    pictures = [read_image(path) for path in sorted((data_folder / "images" / "classify").glob("*.webp"))[:100]]
    frechet, kernel, agreement = (resolve_task(name) for name in ("frechet-distance", "kernel-distance", "classification-agreement"))
    agreed = [1.0]
    for quality, distance, discrepancy in ((90, 3.11, -0.0039), (50, 16.00, 0.0004), (10, 55.31, 0.0105), (5, 99.78, 0.0331)):
        decoded = [jpeg(picture, quality) for picture in pictures]
        # JPEG decoders differ by a step here and there
        assert frechet(pictures, decoded).value == pytest.approx(distance, rel=0.02)
        assert kernel(pictures, decoded).value == pytest.approx(discrepancy, abs=0.0005)
        agreed.append(agreement(pictures, decoded).value)
    assert agreed == sorted(agreed, reverse=True)
    assert 0.4 < agreed[-1] < agreed[1] < 1
