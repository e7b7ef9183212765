"""Networks filled from stored tensors, with an error that says which of them does not fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from smalti.tokenizers.errors import ModelError


def fill(net: nn.Module, tensors: Mapping[str, np.ndarray], name: str) -> None:
    """Load tensors of any float type; ModelError names the first that is missing, unknown or of another shape."""
    expected = net.state_dict()
    for key in sorted(expected.keys() | tensors.keys()):
        if key not in tensors or key not in expected:
            state = "missing" if key in expected else "unknown to this config"
            raise ModelError(f"{name}: tensor {key!r} is {state}; config and weights do not belong together")
        if tuple(expected[key].shape) != tensors[key].shape:
            raise ModelError(f"{name}: tensor {key!r} has shape {tensors[key].shape}, expected {tuple(expected[key].shape)}")
    net.load_state_dict({key: torch.from_numpy(value.astype(expected[key].numpy().dtype)) for key, value in tensors.items()})
