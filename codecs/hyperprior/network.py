"""The picture's transforms and the encoder's half of the hyperprior, in PyTorch. Tensors are (B, H, W, C), their channels last.

Both transforms are a linear map of 16 x 16 pixels (started from principal components, so that an untrained codec is a block transform)
plus a network of gated blocks at 1/8 and 1/16 of each side. A block: a 5 x 5 convolution of each channel by itself, two maps of all
channels of which one gates the other, and a map back. Nothing looks farther than such convolutions do: no statistics over the picture.

Sources: Ballé et al., "Variational image compression with a scale hyperprior" (arXiv 1802.01436); Minnen, Ballé and Toderici, "Joint
autoregressive and hierarchical priors" (arXiv 1809.02736), its variant without context, mean and scale; one model for all rates by gains
of channels: Cui et al., "Asymmetric gained deep image compression" (arXiv 2003.02012). Ours: the blocks, the linear part and its start,
gains that lie between those trained by interpolation, and the hyper decoder in integers (`hyper.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.codecs.hyperprior.config import HyperpriorConfig


class Block(nn.Module):
    """x + what a gated look at the 5 x 5 neighbours adds."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.spread = nn.Linear(channels, 2 * channels)
        self.join = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.look(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        value, gate = self.spread(seen).chunk(2, -1)
        return x + self.join(value * torch.sigmoid(gate))


class Analysis(nn.Module):
    """Pixels (B, H, W, 3) in units of 64 steps, 0 in the middle, sides multiples of 16: latents (B, H / 16, W / 16, latents)."""

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        fine, coarse = config.channels
        self.linear = nn.Linear(3 * 16 * 16, config.latents)
        self.enter = nn.Linear(3 * 8 * 8, fine)
        self.fine = nn.Sequential(*(Block(fine) for _ in range(config.encoder_blocks[0])))
        self.down = nn.Linear(4 * fine, coarse)
        self.coarse = nn.Sequential(*(Block(coarse) for _ in range(config.encoder_blocks[1])))
        self.leave = nn.Linear(coarse, config.latents)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.coarse(self.down(gathered(self.fine(self.enter(gathered(x, 8))), 2)))
        return self.linear(gathered(x, 16)) + self.leave(inner)


class Synthesis(nn.Module):
    """Latents back to pixels."""

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        fine, coarse = config.channels
        self.linear = nn.Linear(config.latents, 3 * 16 * 16)
        self.enter = nn.Linear(config.latents, coarse)
        self.coarse = nn.Sequential(*(Block(coarse) for _ in range(config.decoder_blocks[1])))
        self.up = nn.Linear(coarse, 4 * fine)
        self.fine = nn.Sequential(*(Block(fine) for _ in range(config.decoder_blocks[0])))
        self.leave = nn.Linear(fine, 3 * 8 * 8)

    def forward(self, y: Tensor) -> Tensor:
        inner = self.fine(scattered(self.up(self.coarse(self.enter(y))), 2))
        return scattered(self.linear(y), 16) + scattered(self.leave(inner), 8)


class HyperAnalysis(nn.Module):
    """Gained latents (B, h, w, latents), h and w multiples of 4: hyper-latents (B, h / 4, w / 4, hyper), not yet rounded."""

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        self.enter = nn.Linear(config.latents, config.hidden)
        self.down = nn.Linear(4 * config.hidden, 2 * config.hidden)
        self.leave = nn.Linear(8 * config.hidden, config.hyper)

    def forward(self, y: Tensor) -> Tensor:
        first = torch.relu(self.enter(torch.asinh(y)))
        return self.leave(gathered(torch.relu(self.down(gathered(first, 2))), 2))


def gathered(x: Tensor, factor: int) -> Tensor:
    """(B, H, W, C) -> (B, H / factor, W / factor, factor^2 C): rows, columns, channels."""
    batch, height, width, channels = x.shape
    split = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(batch, height // factor, width // factor, factor * factor * channels)


def scattered(x: Tensor, factor: int) -> Tensor:
    """The way back."""
    batch, height, width, channels = x.shape
    split = x.reshape(batch, height, width, factor, factor, channels // factor**2).permute(0, 1, 3, 2, 4, 5)
    return split.reshape(batch, height * factor, width * factor, channels // factor**2)


def neighbours(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H, W, 9 C): the 3 x 3 places around each, zeros beyond the border."""
    height, width = x.shape[1:3]
    wide = nn.functional.pad(x, (0, 0, 1, 1, 1, 1))
    return torch.cat([wide[:, row : row + height, column : column + width] for row in range(3) for column in range(3)], -1)
