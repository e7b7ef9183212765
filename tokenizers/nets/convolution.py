"""Convolutional blocks for pictures. No statistics over space anywhere: a tile sees what the whole image would.

Each block states its `radius`: how many positions of its own grid it looks to each side. The sum of radius times scale is the
receptive field from which tiles take their overlap.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(channels: int, out_channels: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size and repeats the edge beyond the border.

    Zeros there tell a network where it is: trained on crops, whose every position sees a border, it learns to count from it, and in the
    middle of a larger picture brightness and colour drift (measured in recipes/LOG.md; Islam et al., arXiv 2001.08248).
    """
    return nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, padding_mode="replicate", groups=groups)


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels at each position (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * self.weight)


class ResidualBlock(nn.Module):
    """Norm, SiLU, 3x3, SiLU, 3x3 beside the identity (He et al., arXiv 1603.05027); the last convolution starts at 0."""

    radius = 2

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first = conv(channels, channels, 3)
        self.second = conv(channels, channels, 3)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


class WideBlock(nn.Module):
    """ConvNeXt block (Liu et al., arXiv 2201.03545): 7x7 per channel, then a wide layer per position.

    Most capacity per operation where the grid is small. Deviations: RMS norm, SiLU, a last layer that starts at 0 in place of layer scale.
    """

    radius = 3

    def __init__(self, channels: int, expansion: int = 3) -> None:
        super().__init__()
        self.spatial = conv(channels, channels, 7, groups=channels)
        self.norm = ChannelNorm(channels)
        self.widen = nn.Conv2d(channels, channels * expansion, 1)
        self.narrow = nn.Conv2d(channels * expansion, channels, 1)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.silu(self.widen(self.norm(self.spatial(x)))))


class Upsample(nn.Module):
    """Twice the size: 1x1 convolution and pixel shuffle (Shi et al., arXiv 1609.05158)."""

    radius = 0

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, out_channels * 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.expand(x), 2)
