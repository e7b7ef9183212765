"""Weights as the codec has them: float16 and integers, and tables of what they make of training pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from smalti.codecs.coders.tables import quantize
from smalti.codecs.hyperprior import symbols
from smalti.codecs.hyperprior.codec import MODULES, Hyperprior, made
from smalti.codecs.hyperprior.config import SCALES
from smalti.codecs.hyperprior.hyper import LAYERS, QUALITIES, nearest_rung, to_integers
from smalti.recipes.train_hyperprior.model import Model

Array = np.ndarray
PSEUDO_COUNTS = 100.0  # of a normal distribution, that a scale's table starts from
EVERY = 9  # qualities that tables are counted at: 1, 10, 19, ..


def lowered(model: Model, steps: int) -> Model:
    """The model with so many more rates below its lowest, which were not trained: gains fall on as they do between the two lowest, the
    scales they meet with them. Transforms that were trained for finer steps serve coarser ones nearly as well, and files get smaller."""
    from copy import deepcopy

    longer = deepcopy(model)
    longer.config = replace(model.config, rates=model.config.rates + steps)
    with torch.no_grad():
        step = (model.gains[1] - model.gains[0]).mean()
        for name in ("gains", "levels"):
            rows = getattr(model, name)
            below = [rows[:1] - step * k for k in range(steps, 0, -1)]
            setattr(longer, name, nn.Parameter(torch.cat([*below, rows])))
    return longer


def tensors_of(model: Model, pictures: Sequence[Array]) -> dict[str, Any]:
    """NumPy tensors by name; pictures: uint8 (H, W, 3), that tables are counted on."""
    tensors: dict[str, Any] = {}
    for name in MODULES:
        for key, value in getattr(model, name).state_dict().items():
            tensors[f"{name}.{key}"] = value.numpy().astype(np.float16)
    for name in LAYERS:
        layer = getattr(model.hyper_synthesis, name)
        weight, bias = to_integers(layer.weight.detach().numpy(), layer.bias.detach().numpy())
        tensors |= {f"hyper.{name}.weight": weight, f"hyper.{name}.bias": bias}
    tensors["hyper.levels"] = np.rint(model.levels.detach().numpy() * 1024).astype(np.int16)
    tensors["gains"] = model.gains.detach().numpy().astype(np.float32)
    return tensors | tables_of(model, tensors, pictures)


def tables_of(model: Model, tensors: dict[str, Any], pictures: Sequence[Array]) -> dict[str, Array]:
    """Both kinds, counted over all pictures and qualities."""
    config = model.config
    latents = [_normal(number) * PSEUDO_COUNTS for number in range(SCALES)]
    hyper = np.full((config.rates, config.hyper, 2 * symbols.HYPER_REACH + 1), 0.25)
    flat = {
        "tables.latents": np.concatenate([quantize(row) for row in latents]).astype(np.uint16),
        "tables.hyper": np.stack([np.stack([quantize(row) for row in rate]) for rate in hyper]).astype(np.uint16),
    }
    codec = Hyperprior(made(config, tensors | flat))
    for picture in pictures:
        y = codec.analysed(picture)
        for quality in QUALITIES[::EVERY]:
            found = codec.latents(y, quality)
            rung = nearest_rung(quality, config.rates)
            for channel in range(config.hyper):
                hyper[rung, channel] += np.bincount(found.hyper[..., channel].ravel() + symbols.HYPER_REACH, minlength=hyper.shape[2])
            order, values = found.foretold.tables.ravel(), found.values.ravel()
            for number in np.unique(order):
                reach, run = symbols.reach_of(number), values[order == number]
                places = np.where(np.abs(run) > reach, 2 * reach + 1, run + reach)
                latents[number] += np.bincount(places, minlength=2 * reach + 2)
    return {
        "tables.latents": np.concatenate([quantize(row) for row in latents]).astype(np.uint16),
        "tables.hyper": np.stack([np.stack([quantize(row) for row in rate]) for rate in hyper]).astype(np.uint16),
    }


def _normal(number: int) -> Array:
    """Shares of a table's symbols under a normal distribution, of the escape next to nothing."""
    from scipy.special import ndtr

    reach, scale = symbols.reach_of(number), symbols.scale_of(number)
    x = np.arange(-reach, reach + 1)
    share = ndtr((x + 0.5) / scale) - ndtr((x - 0.5) / scale)
    return np.append(share, 1e-6)
