"""Training steps: crops of random photos, each at a random rate; what a step sees hangs on its number alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from smalti.recipes.train_hyperprior.model import LAMBDAS, Model
from smalti.recipes.training import checkpoint

Array = np.ndarray
SEED = 0
CROPS = (192, 256)  # pixels of a side, before and from `WIDER` of all steps on
WIDER = 0.95
ROUNDED = 0.7  # share of the steps after which rates are of rounded latents, as files have them, in place of noisy ones
WARM_UP = 50
CLIP = 20.0
EVERY_SECONDS = 60.0  # between lines of progress and checkpoints


@dataclass(frozen=True)
class Budget:
    """steps to train for. batch: crops a step. rate: of learning at its height."""

    steps: int = 2500
    batch: int = 8
    rate: float = 2e-3


def train(model: Model, pictures: Sequence[Array], budget: Budget, path: Path, say: Callable[[str], None]) -> int:
    """Train on from the checkpoint at `path`, if there is one; returns the steps done. pictures: uint8 (H, W, 3), of 256 pixels a side at
    least."""
    optimizer = torch.optim.Adam(model.parameters(), lr=budget.rate, betas=(0.9, 0.98))
    done = checkpoint.load(path, {"model": model}, {"optimizer": optimizer}) if path.is_file() else 0
    weights = torch.tensor(LAMBDAS)
    model.train()
    first, begun, shown = done, time.perf_counter(), 0.0
    seen: list[list[float]] = []
    while done < budget.steps:
        share = done / budget.steps
        torch.manual_seed(SEED + done)
        for group in optimizer.param_groups:
            group["lr"] = budget.rate * min(1.0, (done + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-6
        pixels, rates = draw(pictures, budget.batch, CROPS[share >= WIDER], np.random.default_rng((SEED, done)))
        costs = model(torch.from_numpy(pixels).float(), rates, share >= ROUNDED)
        bits = costs.bits + costs.hyper_bits
        # each rate counts by the root of its lambda less, so that none drowns the others
        loss = ((bits + weights[rates] * costs.error) / weights[rates].sqrt()).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        done += 1
        decibels = 10 * torch.log10(255**2 / costs.error)
        seen.append([float(value.detach().mean()) for value in (loss, bits, costs.hyper_bits, decibels)])
        seconds = time.perf_counter() - begun
        if seconds - shown >= EVERY_SECONDS or done == budget.steps:
            shown = seconds
            loss_mean, bits_mean, hyper_mean, decibels_mean = np.mean(seen, 0)
            say(
                f"step {done} of {budget.steps}, {seconds / (done - first):.3f} s each, loss {loss_mean:.2f}, "
                f"{bits_mean:.4f} bpp ({hyper_mean:.4f} hyper), {decibels_mean:.2f} dB"
            )
            seen.clear()
            checkpoint.save(path, done, {"model": model}, {"optimizer": optimizer}, {})
    model.eval()
    return done


def draw(pictures: Sequence[Array], count: int, side: int, random: np.random.Generator) -> tuple[Array, torch.Tensor]:
    """Crops uint8 (count, side, side, 3), turned over at random, and a rate for each: all rates equally often."""
    crops = np.empty((count, side, side, 3), np.uint8)
    for b, i in enumerate(random.integers(len(pictures), size=count)):
        picture = pictures[i]
        row, column = (int(random.integers(size - side + 1)) for size in picture.shape[:2])
        crop = picture[row : row + side, column : column + side]
        crops[b] = crop[:, ::-1] if random.random() < 0.5 else crop
    rates = (np.arange(count) + random.integers(len(LAMBDAS))) % len(LAMBDAS)
    return crops, torch.from_numpy(random.permutation(rates))
