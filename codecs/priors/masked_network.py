"""The masked prior's network on integers: a small transformer over a window of token positions, most of whose tokens may be unknown.

MaskGIT's idea (arXiv 2202.04200) as an entropy model. A position's entry is the sum of one vector for each stage: of its token, of "not
known yet" or of "outside of the picture". A linear layer joins the 5 x 5 entries around a position, pre-norm blocks follow with a
bias for each relative position, and a linear layer for each stage ends in the logits of its tokens. No layer is a convolution: their fast
algorithms are not exact. Shapes: B windows, N = side^2 positions, D channels, H heads, K stages, V entries.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.codecs.priors import masked_arithmetic as exact
from smalti.codecs.priors.masked_config import PATCH, REACH, MaskedConfig, check

Array = np.ndarray


class MaskedNetwork:
    """Checked tensors, and what they say of windows. Raises ModelError for tensors that are none of this config."""

    def __init__(self, config: MaskedConfig, tensors: Mapping[str, Array], device: str = "cpu") -> None:
        check(config, tensors)
        self.config = config
        self.device = torch.device(device)
        self._tensors = {name: torch.from_numpy(array.astype(np.float64)).to(self.device) for name, array in tensors.items()}
        self._places = [self._bias(self._tensors[f"block{i}.places"]) for i in range(config.blocks)]

    @torch.inference_mode()
    def running_sums(self, grids: Array, stage: int, chosen: Array) -> Array:
        """int64 (M, V + 1): running sums of frequencies at the M chosen positions, in their order in `chosen`.

        grids: int (B, K, side, side), entries 0..V-1, `unknown` or `outside`. chosen: bool (B, side, side).
        """
        x = self._features(torch.from_numpy(grids.astype(np.int64)).to(self.device), stage)
        picked = x.reshape(-1, self.config.channels)[torch.from_numpy(chosen.ravel()).to(self.device)]
        weight, bias = self._tensors["head.weight"][stage], self._tensors["head.bias"][stage]
        return exact.running_sums(exact.products(exact.norm(picked), weight, bias))

    def _features(self, grids: Tensor, stage: int) -> Tensor:
        config, t = self.config, self._tensors
        entries = torch.stack([t["entries"][k][grids[:, k]] for k in range(len(config.steps))]).sum(0)
        around = F.pad(entries, (0, 0, REACH, REACH, REACH, REACH)).unfold(1, 2 * REACH + 1, 1).unfold(2, 2 * REACH + 1, 1)
        patches = around.reshape(len(grids), config.side**2, config.entry * PATCH)
        x = exact.linear(patches, t["stem.weight"], t["stem.bias"][stage])
        for i in range(config.blocks):
            x = exact.add(x, self._attend(i, exact.norm(x)))
            x = exact.add(x, self._layer(i, "narrow", exact.gelu(self._layer(i, "widen", exact.norm(x)))))
        return x

    def _attend(self, i: int, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.config.heads, -1)).transpose(1, 2) for part in self._layer(i, "joint", x).chunk(3, -1)
        )
        read = exact.attend(query, key, value, self._places[i])
        return self._layer(i, "out", read.transpose(1, 2).flatten(2))

    def _layer(self, i: int, name: str, x: Tensor) -> Tensor:
        return exact.linear(x, self._tensors[f"block{i}.{name}.weight"], self._tensors[f"block{i}.{name}.bias"])

    def _bias(self, places: Tensor) -> Tensor:
        return places.flatten(1)[:, relative_places(self.config.side).to(self.device)]


def relative_places(side: int) -> Tensor:
    """int64 (side^2, side^2): where in a flat (2 side - 1)^2 table the bias of a query (first) and a key (second) stands."""
    row, column = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
    rows, columns = (axis[None, :] - axis[:, None] + side - 1 for axis in (row, column))
    return rows * (2 * side - 1) + columns
