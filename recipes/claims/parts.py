"""What a claim may put in place of the small autoencoder's own parts, at about the same cost: ways to a quarter of the size, and blocks.

A front end is a pair of modules: (B, 3, 32, 32) -> (B, width, 8, 8), and back. A block keeps (B, width, 8, 8).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smalti.tokenizers.nets.convolution import ResidualBlock, Upsample
from smalti.tokenizers.nets.haar import haar, inverse_haar

LEVELS = 2
BANDS = 3 * 4**LEVELS
HALF_WIDTH = 16
HEADS = 4
POSITIONS = 64


class Haar(nn.Module):
    """(B, 3, H, W) -> (B, 48, H / 4, W / 4)."""

    def forward(self, x: Tensor) -> Tensor:
        return haar(x, LEVELS)


class InverseHaar(nn.Module):
    """Back again."""

    def forward(self, x: Tensor) -> Tensor:
        return inverse_haar(x, LEVELS)


class Attention(nn.Module):
    """ViT's block (Dosovitskiy et al., arXiv 2010.11929), norm first, over 64 positions, each with a learned vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(POSITIONS, width) * 0.02)
        self.layer = nn.TransformerEncoderLayer(width, HEADS, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).transpose(1, 2) + self.places
        return self.layer(rows).transpose(1, 2).reshape(x.shape)


@dataclass(frozen=True)
class FrontEnd:
    """Two modules from a width, made one after the other so that a seed gives the blocks between them the same start."""

    front: Callable[[int], nn.Module]
    back: Callable[[int], nn.Module]


def _haar(width: int) -> nn.Module:
    return nn.Sequential(Haar(), nn.Conv2d(BANDS, width, 3, padding=1))


def _inverse_haar(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, BANDS, 1), InverseHaar())


def _patches(width: int) -> nn.Module:
    return nn.Sequential(nn.PixelUnshuffle(2**LEVELS), nn.Conv2d(BANDS, width, 3, padding=1))


def _inverse_patches(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, BANDS, 1), nn.PixelShuffle(2**LEVELS))


def _strided(width: int) -> nn.Module:
    first, second = nn.Conv2d(3, HALF_WIDTH, 3, stride=2, padding=1), nn.Conv2d(HALF_WIDTH, width, 3, stride=2, padding=1)
    return nn.Sequential(first, nn.SiLU(), second)


def _upsampled(width: int) -> nn.Module:
    first, second = Upsample(width, HALF_WIDTH), Upsample(HALF_WIDTH, HALF_WIDTH)
    return nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), nn.Conv2d(HALF_WIDTH, 3, 3, padding=1))


FRONT_ENDS = {
    "haar": FrontEnd(_haar, _inverse_haar),
    "patch": FrontEnd(_patches, _inverse_patches),
    "convolution": FrontEnd(_strided, _upsampled),
}
BODIES: dict[str, Callable[[int], nn.Module]] = {"convolution": ResidualBlock, "attention": Attention}
