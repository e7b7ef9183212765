"""The hyper decoder: hyper-latents to means and to numbers of entropy tables, in integers, so that every machine reads what one wrote.

Hyper-latents are whole numbers; weights are in 2^-12, what flows in 2^-10, kept as float64 where sums stay below 2^53 and no order of
adding them rounds (`priors/masked_arithmetic.py` has the bounds). Spatial steps are moves of such numbers and change none. A scale's
logarithm is cut to one of `SCALES` tables, each 118 / 1024 wide: exp(.115), so that a table is 6 % off at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smalti.codecs.hyperprior.config import SCALE_LEAST, SCALES, HyperpriorConfig
from smalti.codecs.hyperprior.network import neighbours, scattered
from smalti.codecs.priors.masked_arithmetic import REACH, VALUE_BITS, WEIGHT_BITS, linear
from smalti.tokenizers.errors import ModelError

Array = np.ndarray
ONE = 1 << VALUE_BITS
LOWEST = math.floor(math.log(SCALE_LEAST) * ONE)
STEP = 118
LAYERS = ("enter", "middle", "leave")
QUALITIES = range(1, 101)
_BETWEEN = QUALITIES[-1] - QUALITIES[0]


@dataclass(frozen=True, eq=False)
class Foretold:
    """means: float64 (h, w, latents), multiples of 2^-10. tables: uint8 (h, w, latents), below `SCALES`."""

    means: Array
    tables: Array


class HyperDecoder:
    """weights: by layer int16 (outputs, inputs), in 2^-12; biases int32, in 2^-22; levels: int16 (rates, latents), in 2^-10."""

    def __init__(self, config: HyperpriorConfig, weights: dict[str, Array], biases: dict[str, Array], levels: Array) -> None:
        self.config = config
        shapes = {
            "enter": (4 * config.hidden, 9 * config.hyper),
            "middle": (4 * config.hidden, 9 * config.hidden),
            "leave": (2 * config.latents, config.hidden),
        }
        for name, shape in shapes.items():
            if weights[name].shape != shape or weights[name].dtype != np.int16:
                raise ModelError(f"hyper decoder: {name} is {weights[name].dtype} {weights[name].shape}, expected int16 {shape}")
            if biases[name].shape != shape[:1] or biases[name].dtype != np.int32:
                raise ModelError(
                    f"hyper decoder: the bias of {name} is {biases[name].dtype} {biases[name].shape}, expected int32 {shape[:1]}"
                )
        if levels.shape != (config.rates, config.latents) or levels.dtype != np.int16:
            raise ModelError(f"hyper decoder: levels are {levels.dtype} {levels.shape}, expected int16 {(config.rates, config.latents)}")
        self.levels = levels.astype(np.int64)
        self._weights = {name: torch.from_numpy(weights[name].astype(np.float64)) for name in shapes}
        self._biases = {name: torch.from_numpy(biases[name].astype(np.float64)) for name in shapes}

    @torch.no_grad()
    def __call__(self, z: Array, quality: int) -> Foretold:
        """z: whole numbers (h, w, hyper) within 1024 of 0; quality: 1 to 100. For latents (4 h, 4 w)."""
        x = torch.from_numpy(z.astype(np.float64))[None] * ONE
        first = scattered(self._layer("enter", neighbours(x.clamp(-REACH, REACH))).clamp(min=0), 2)
        second = scattered(self._layer("middle", neighbours(first)).clamp(min=0), 2)
        found = self._layer("leave", second)[0].numpy()
        means, logs = np.split(found, 2, axis=-1)
        rung, share = divmod((quality - QUALITIES[0]) * (self.config.rates - 1), _BETWEEN)
        above = self.levels[min(rung + 1, self.config.rates - 1)]
        level = self.levels[rung] + (above - self.levels[rung]) * share // _BETWEEN
        tables = (logs.astype(np.int64) + level - LOWEST) // STEP
        return Foretold(means / ONE, tables.clip(0, SCALES - 1).astype(np.uint8))

    def _layer(self, name: str, x: Tensor) -> Tensor:
        return linear(x, self._weights[name], self._biases[name])


def nearest_rung(quality: int, rates: int) -> int:
    """The trained rate that a quality lies nearest to; of two the lower."""
    return ((quality - QUALITIES[0]) * (rates - 1) * 2 + _BETWEEN - 1) // (2 * _BETWEEN)


def to_integers(weight: Array, bias: Array) -> tuple[Array, Array]:
    """A float layer as `HyperDecoder` holds it; ModelError where it does not fit into its bits."""
    whole, shift = np.rint(weight * 2.0**WEIGHT_BITS), np.rint(bias * 2.0 ** (WEIGHT_BITS + VALUE_BITS))
    if np.abs(whole).max() >= 2**15 or np.abs(shift).max() >= 2**31:
        raise ModelError(
            f"a layer with weights up to {np.abs(weight).max():g} does not fit into integers of 2^-{WEIGHT_BITS}; train it again"
        )
    return whole.astype(np.int16), shift.astype(np.int32)
