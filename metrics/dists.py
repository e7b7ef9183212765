"""DISTS: structure and texture as a deep network sees them (Ding, Ma, Wang and Simoncelli, arXiv 2004.07728).

Both pictures pass the convolutions of VGG16 with its poolings replaced by L2 pooling under a Hanning window, so that nothing aliases. The
picture itself and the last layer of each of the five stages are compared channel by channel, by means (texture) and by correlation
(structure), each weighted by what the authors learned from people's judgements of pictures with equal textures. 0 for equal pictures.

Weights: the judge "vgg" (torchvision's) and the judge "dists" (alpha and beta of the package DISTS-pytorch). Full size, where the authors
scale the short side to 256 first: numbers of small pictures compare with theirs, those of large ones do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smalti.metrics import judges
from smalti.metrics.pairs import eight_bits
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Signal

if TYPE_CHECKING:
    import torch

STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # torchvision's numbers of VGG16's convolutions
CHANNELS = (3, 64, 128, 256, 512, 512)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEAST_SIDE = 32  # pixels, of which the last stage sees 2 x 2; below that there is no texture
SMALL = 1e-6  # what keeps quotients of flat channels from 0 / 0


class DISTS:
    """Distance of structure and texture, from 0 to about 1."""

    name = "dists"

    def __init__(self, device: str = "cpu") -> None:
        """ModelError where a network is missing."""
        self._layers = {name: tensor.to(device) for name, tensor in judges.load("vgg").items()}
        weights = judges.load("dists")
        total = weights["alpha"].sum() + weights["beta"].sum()
        self._weights = [(weights[name] / total).reshape(-1).to(device).split(CHANNELS) for name in ("alpha", "beta")]
        self._device = device

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of pictures of one size; SignalError where a side is below 32 pixels."""
        import torch

        pair = eight_bits(reference, decoded)
        if (side := min(pair[0].shape[:2])) < LEAST_SIDE:
            raise SignalError(f"DISTS sees texture from {LEAST_SIDE} pixels a side on, found {side}; take larger pictures")
        with torch.inference_mode():
            a, b = (self._features(pixels) for pixels in pair)
            alike = torch.zeros((), device=self._device)
            for one, other, alpha, beta in zip(a, b, *self._weights, strict=True):
                texture, structure = similarities(one, other)
                alike += (alpha * texture).sum() + (beta * structure).sum()
        # rounding takes equal pictures a little below 0
        return Score(max(0.0, 1 - float(alike)), "", "lower", "DISTS, VGG16, [0, 1], full size")

    def _features(self, pixels: np.ndarray) -> list[torch.Tensor]:
        """uint8 (H, W, 3) -> the picture in [0, 1] and the last layer of each stage, float32 (channels, height, width)."""
        import torch
        from torch.nn import functional

        picture = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1).to(self._device)
        mean, deviation = (torch.tensor(values, device=self._device)[:, None, None] for values in (MEAN, DEVIATION))
        found, x = [picture], ((picture - mean) / deviation)[None]
        for number, convolutions in enumerate(STAGES):
            x = pooled(x) if number else x
            for layer in convolutions:
                x = functional.conv2d(x, self._layers[f"features.{layer}.weight"], self._layers[f"features.{layer}.bias"], padding=1).relu()
            found.append(x[0])
        return found


def pooled(x: torch.Tensor) -> torch.Tensor:
    """Root of the windowed mean of squares at every other place: (1, C, H, W) -> (1, C, H / 2, W / 2), rounded up."""
    import torch
    from torch.nn import functional

    window = torch.tensor([0.25, 0.5, 0.25], device=x.device)
    kernel = (window[:, None] * window).expand(x.shape[1], 1, 3, 3)
    return (functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def similarities(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of means and of structure for each channel of (C, H, W): two of (C,), 1 where equal."""
    mean_a, mean_b = a.mean((1, 2)), b.mean((1, 2))
    texture = (2 * mean_a * mean_b + SMALL) / (mean_a.square() + mean_b.square() + SMALL)
    off_a, off_b = a - mean_a[:, None, None], b - mean_b[:, None, None]
    shared, spread = (off_a * off_b).mean((1, 2)), (off_a.square() + off_b.square()).mean((1, 2))
    return texture, (2 * shared + SMALL) / (spread + SMALL)
