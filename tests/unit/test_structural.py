"""SSIM and MS-SSIM against values worked out by hand and against other implementations."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from smalti.metrics.image import luma
from smalti.metrics.structural import SSIM, MultiScaleSSIM, MultiScaleSSIMDecibels
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Image

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def flat(value: int, size: tuple[int, int] = (176, 176)) -> Image:
    return Image(np.full((*size, 3), value, np.uint8))


@pytest.fixture(scope="module")
def pair() -> tuple[Image, Image]:
    """A smooth picture of 176 x 208 pixels and the same with noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:176, 0:208]
    clean = np.stack([x, y + 40, 128 + 100 * np.sin(x / 9) * np.cos(y / 7)], -1)
    noisy = clean + rng.normal(0, 25, clean.shape)
    return Image(clean.astype(np.uint8)), Image(noisy.clip(0, 255).astype(np.uint8))


def test_of_flat_pictures_by_hand() -> None:
    """Without contrast only the term of luminance is left, and of five scales only the last has one."""
    luminance = (2 * 100 * 120 + 2.55**2) / (100**2 + 120**2 + 2.55**2)
    assert SSIM()(flat(100), flat(120)).value == pytest.approx(luminance, abs=1e-7)
    assert MultiScaleSSIM()(flat(100), flat(120)).value == pytest.approx(luminance ** EXPONENTS[-1], abs=1e-7)


def test_of_equal_pictures(pair: tuple[Image, Image]) -> None:
    assert SSIM()(pair[1], pair[1]).value == 1
    assert MultiScaleSSIM()(pair[1], pair[1]).value == 1
    assert MultiScaleSSIMDecibels()(pair[1], pair[1]).value == math.inf


def test_ssim_is_what_scikit_image_says(pair: tuple[Image, Image]) -> None:
    a, b = (luma(image.pixels) for image in pair)
    expected = structural_similarity(a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    score = SSIM()(*pair)
    assert score.value == pytest.approx(expected, abs=1e-6)
    assert 0.2 < score.value < 0.9
    assert (score.better, "luma Y of BT.601" in score.convention) == ("higher", True)


def multi_scale(a: np.ndarray, b: np.ndarray) -> float:
    """One channel by the paper's formulas."""
    result = 1.0
    for scale, exponent in enumerate(EXPONENTS):
        blur = lambda x: ndimage.gaussian_filter(x, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]  # noqa: E731
        mean_a, mean_b = blur(a), blur(b)
        covariance = blur(a * b) - mean_a * mean_b
        term = (2 * covariance + 7.65**2) / (blur(a * a) - mean_a**2 + blur(b * b) - mean_b**2 + 7.65**2)
        if scale == len(EXPONENTS) - 1:
            term = term * (2 * mean_a * mean_b + 2.55**2) / (mean_a**2 + mean_b**2 + 2.55**2)
        result *= float(term.mean()) ** exponent
        a, b = (x.reshape(len(x) // 2, 2, -1, 2).mean((1, 3)) if scale < len(EXPONENTS) - 1 else x for x in (a, b))
    return result


def test_ms_ssim_is_the_papers_formula_per_channel(pair: tuple[Image, Image]) -> None:
    a, b = (image.pixels.astype(np.float64) for image in pair)
    expected = float(np.mean([multi_scale(a[..., c], b[..., c]) for c in range(3)]))
    score = MultiScaleSSIM()(*pair)
    assert score.value == pytest.approx(expected, abs=1e-6)
    assert "mean of R, G and B" in score.convention
    decibels = MultiScaleSSIMDecibels()(*pair)
    assert decibels.value == pytest.approx(-10 * math.log10(1 - expected), abs=1e-4)
    assert decibels.unit == "dB"


def test_pictures_that_are_too_small_are_refused() -> None:
    with pytest.raises(SignalError, match=r"^ssim needs sides of 11 pixels or more, found 40 x 10; psnr-y takes any$"):
        SSIM()(flat(1, (10, 40)), flat(1, (10, 40)))
    with pytest.raises(SignalError, match=r"^ms-ssim needs sides of 161 pixels or more, found 160 x 300; ssim takes smaller ones$"):
        MultiScaleSSIM()(flat(1, (300, 160)), flat(1, (300, 160)))


def test_without_the_package_it_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_msssim", None)
    with pytest.raises(ModelError, match=r"pip install 'smalti\[metrics\]'"):
        SSIM()(flat(1), flat(1))
