"""The hyperprior as it is trained: noise in place of rounding, floats in place of the integer hyper decoder, all rates at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from smalti.codecs.hyperprior.config import PIXELS, SCALE_LEAST, SCALE_MOST, HyperpriorConfig
from smalti.codecs.hyperprior.network import Analysis, HyperAnalysis, Synthesis, gathered, neighbours, scattered

LAMBDAS = (0.0016, 0.0032, 0.0067, 0.013, 0.025, 0.05)  # bits per pixel + lambda * squared error of 8-bit steps


@dataclass(frozen=True)
class Costs:
    """Per picture: bits per pixel of latents and hyper-latents, and the mean squared error in steps of 8 bits."""

    bits: Tensor
    hyper_bits: Tensor
    error: Tensor


class HyperSynthesis(nn.Module):
    """Hyper-latents (B, h, w, hyper) to means and logarithms of scales (B, 4 h, 4 w, latents): what `codecs.hyperprior.hyper` does."""

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        self.enter = nn.Linear(9 * config.hyper, 4 * config.hidden)
        self.middle = nn.Linear(9 * config.hidden, 4 * config.hidden)
        self.leave = nn.Linear(config.hidden, 2 * config.latents)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        first = scattered(torch.relu(self.enter(neighbours(z))), 2)
        second = scattered(torch.relu(self.middle(neighbours(first))), 2)
        means, logs = self.leave(second).chunk(2, -1)
        return means, logs


class Model(nn.Module):
    """All parts. `gains`, `levels`: by rate and channel, logarithms of the quantizer's fineness and of the scale it meets."""

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis, self.synthesis = Analysis(config), Synthesis(config)
        self.hyper_analysis, self.hyper_synthesis = HyperAnalysis(config), HyperSynthesis(config)
        self.gains = nn.Parameter(torch.zeros(config.rates, config.latents))
        self.levels = nn.Parameter(torch.zeros(config.rates, config.latents))
        self.hyper_centres = nn.Parameter(torch.zeros(config.rates, config.hyper))
        self.hyper_logs = nn.Parameter(torch.zeros(config.rates, config.hyper))

    def forward(self, pixels: Tensor, rates: Tensor, rounded: bool = False) -> Costs:
        """pixels (B, H, W, 3) of 0..255, sides multiples of 64; rates (B,). rounded: whether bits are those of rounded latents, whose
        gradient passes straight through, or of noisy ones."""
        x = (pixels - 127.5) / PIXELS
        count = x.shape[1] * x.shape[2]
        gains = self.gains[rates].exp()[:, None, None]
        y = self.analysis(x) * gains
        z = self.hyper_analysis(y)
        centres, logs = self.hyper_centres[rates][:, None, None], self.hyper_logs[rates][:, None, None]
        z_hat = _rounded(z)
        hyper_bits = logistic_bits((z_hat if rounded else _noisy(z)) - centres, logs)
        means, scales = self.hyper_synthesis(z_hat)
        scales = bounded_scale(scales + self.levels[rates][:, None, None])
        apart = y - means
        apart_hat = _rounded(apart)
        bits = gaussian_bits(apart_hat if rounded else _noisy(apart), scales)
        decoded = self.synthesis((means + apart_hat) / gains)
        error = ((decoded - x) * PIXELS).square().mean((1, 2, 3))
        return Costs(bits.sum((1, 2, 3)) / count, hyper_bits.sum((1, 2, 3)) / count, error)


def _rounded(x: Tensor) -> Tensor:
    return x + (torch.round(x) - x).detach()


def _noisy(x: Tensor) -> Tensor:
    return x + torch.rand_like(x) - 0.5


def bounded_scale(logs: Tensor) -> Tensor:
    """exp within the tables' reach; the gradient passes where it leads back."""
    low, high = math.log(SCALE_LEAST), math.log(SCALE_MOST)
    clipped = logs.clamp(low, high)
    return (logs + (clipped - logs).detach()).exp()


def gaussian_bits(x: Tensor, scales: Tensor) -> Tensor:
    """Of a step around x under a normal distribution of mean 0."""
    x = x.abs()
    root = 1 / (math.sqrt(2) * scales)
    share = 0.5 * (torch.erfc((x - 0.5) * root) - torch.erfc((x + 0.5) * root))
    return -torch.log2(share.clamp_min(1e-7))


def logistic_bits(x: Tensor, logs: Tensor) -> Tensor:
    """Of a step around x under a logistic distribution of mean 0."""
    x, scale = x.abs(), logs.clamp(-4, 5).exp()
    share = torch.sigmoid((0.5 - x) / scale) - torch.sigmoid((-0.5 - x) / scale)
    return -torch.log2(share.clamp_min(1e-7))


def start(model: Model, pictures: list[np.ndarray], seed: int) -> None:
    """Linear maps from principal components of the pictures' squares, networks that add nothing yet, gains from what lambdas ask for at
    high rates (step^2 = 26 / lambda), and levels from the components' spread."""
    random = np.random.default_rng(seed)
    squares = torch.from_numpy(np.stack([_square(random, picture) for picture in pictures for _ in range(16)])).float()
    x = (squares - 127.5) / PIXELS
    with torch.no_grad():
        basis, spread = _components(gathered(x, 16).flatten(1))
        kept = basis[:, : model.config.latents]
        deviation = spread[: model.config.latents]
        model.analysis.linear.weight.copy_(kept.T)
        model.synthesis.linear.weight.copy_(kept)
        eight, eight_spread = _components(gathered(x, 8).flatten(0, 2))
        fine = model.config.channels[0]
        mixed = torch.linalg.qr(torch.randn(fine, fine))[0]
        model.analysis.enter.weight.copy_(mixed @ (eight[:, :fine] / (eight_spread[:fine] + 0.1)).T)
        model.synthesis.enter.weight.mul_(3 / (deviation + 0.3))
        for last in (model.analysis.leave, model.synthesis.leave, model.hyper_synthesis.leave):
            last.weight.zero_()
            last.bias.zero_()
        for linear in (model.analysis.linear, model.synthesis.linear, model.analysis.enter):
            linear.bias.zero_()
        for block in (*model.analysis.fine, *model.analysis.coarse, *model.synthesis.fine, *model.synthesis.coarse):
            block.look.weight[:, 0, 2, 2] += 0.7
        model.hyper_analysis.leave.weight.mul_(4)
        fineness = torch.tensor([PIXELS / math.sqrt(26 / value) for value in LAMBDAS]).log()[:, None]
        model.gains.copy_(fineness.expand_as(model.gains))
        model.levels.copy_((model.gains + deviation.log()).clamp(math.log(SCALE_LEAST), math.log(SCALE_MOST)))


def _square(random: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    row, column = random.integers(picture.shape[0] - 15), random.integers(picture.shape[1] - 15)
    return picture[row : row + 16, column : column + 16]


def _components(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Principal directions (D, D), columns by falling spread, and the spread along each; around 0, which is mid grey."""
    values, vectors = torch.linalg.eigh(rows.T.double() @ rows.double() / len(rows))
    return vectors.flip(1).float(), values.flip(0).clamp_min(1e-9).sqrt().float()
