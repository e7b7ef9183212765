"""Picture metrics of structure: SSIM and MS-SSIM, by the package pytorch-msssim, in float64.

SSIM: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity" (2004): Gaussian window of 11 x 11 with
sigma 1.5, K = (0.01, 0.03), on luma, averaged where the window lies inside the picture; no scaling down before.

MS-SSIM: Wang et al., "Multi-Scale Structural Similarity for Image Quality Assessment" (2003): the same at five scales with the paper's
exponents. Unlike the paper, which has luma, it is the mean over R, G and B, as published curves of learned codecs are, and halving
averages 2 x 2 samples; an odd side gets a row of zeros first, so pictures of sides divisible by 16 compare best. Negative contrast
terms count as 0.

In dB, -10 log10(1 - x) of each picture, before any mean: the scale on which rates are compared, since x itself saturates.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from smalti.metrics.image import LUMA, luma
from smalti.metrics.pairs import eight_bits
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Signal

if TYPE_CHECKING:
    import torch

WINDOW = 11
MIN_MS_SSIM_SIDE = (WINDOW - 1) * 2**4 + 1  # four halvings leave one window
MS_SSIM = "Gaussian 11 x 11, sigma 1.5, five scales, mean of R, G and B, 8 bits"


class SSIM:
    """Structural similarity of luma, 1 for equal pictures; SignalError where a side is below 11."""

    name = "ssim"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        pair = eight_bits(reference, decoded)
        _check_sides(self.name, pair[0], WINDOW, "psnr-y takes any")
        a, b = (_to_network(luma(pixels)[..., None]) for pixels in pair)
        value = float(_package().ssim(a, b, data_range=255, win=_window(1)))
        return Score(value, "", "higher", f"Gaussian 11 x 11, sigma 1.5, inside borders, {LUMA}")


class MultiScaleSSIM:
    """Structural similarity of RGB over five scales, 1 for equal pictures; SignalError where a side is below 161."""

    name = "ms-ssim"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        pair = eight_bits(reference, decoded)
        _check_sides(self.name, pair[0], MIN_MS_SSIM_SIDE, "ssim takes smaller ones")
        a, b = (_to_network(pixels) for pixels in pair)
        return Score(float(_package().ms_ssim(a, b, data_range=255, win=_window(3))), "", "higher", MS_SSIM)


class MultiScaleSSIMDecibels:
    """MS-SSIM as -10 log10(1 - x) dB; infinite for equal pictures."""

    name = "ms-ssim-db"

    def __init__(self) -> None:
        self.linear = MultiScaleSSIM()

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        loss = 1 - self.linear(reference, decoded).value
        value = math.inf if loss <= 0 else -10 * math.log10(loss)
        return Score(value, "dB", "higher", f"-10 log10(1 - x) per picture; {MS_SSIM}")


def _package() -> Any:
    try:
        import pytorch_msssim
    except ImportError:
        raise ModelError("SSIM needs the package pytorch-msssim: pip install 'smalti[metrics]'") from None
    return pytorch_msssim


def _check_sides(name: str, pixels: np.ndarray, least: int, way_out: str) -> None:
    height, width, _ = pixels.shape
    if min(height, width) < least:
        raise SignalError(f"{name} needs sides of {least} pixels or more, found {width} x {height}; {way_out}")


def _to_network(planes: np.ndarray) -> torch.Tensor:
    """(H, W, C) -> float64 (1, C, H, W) in [0, 255]."""
    import torch

    return torch.from_numpy(planes.astype(np.float64)).permute(2, 0, 1)[None]


def _window(channels: int) -> torch.Tensor:
    """The Gaussian, float64 (C, 1, 1, 11). The package's own has float32's sum, so that a flat area gets a variance: 3e-6 of the score."""
    import torch

    weights = torch.exp(-((torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2) ** 2) / (2 * 1.5**2))
    return (weights / weights.sum()).repeat(channels, 1, 1, 1)
