"""Networks to stored tensors and back, with an error that says which of them does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from smalti.tokenizers.errors import ModelError

Net = TypeVar("Net", bound=nn.Module)


def tensors_of(net: nn.Module) -> dict[str, np.ndarray]:
    """All weights and tables by name: what is saved and fingerprinted."""
    return {key: value.cpu().numpy() for key, value in net.state_dict().items()}


def halvable(net: nn.Module) -> set[str]:
    """Tensors that may be stored in half precision: not those of the quantizer, whose rounded tables would give other tokens."""
    return {name for name, _ in net.named_parameters() if not name.startswith("quantizer.")}


def filled(net: Net, tensors: Mapping[str, np.ndarray], name: str) -> Net:
    """The network with tensors of any float type; loaded; ModelError names the first that is missing, unknown or of another shape."""
    expected = net.state_dict()
    for key in sorted(expected.keys() | tensors.keys()):
        if key not in tensors or key not in expected:
            state = "missing" if key in expected else "unknown to this config"
            raise ModelError(f"{name}: tensor {key!r} is {state}; config and weights do not belong together")
        if tuple(expected[key].shape) != tensors[key].shape:
            raise ModelError(f"{name}: tensor {key!r} has shape {tensors[key].shape}, expected {tuple(expected[key].shape)}")
    net.load_state_dict({key: torch.from_numpy(value.astype(expected[key].numpy().dtype)) for key, value in tensors.items()})
    return net
