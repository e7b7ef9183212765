"""Published names of tensors and ours: a table of patterns, used both ways, and networks filled by it.

A pattern's {n} and {m} stand for numbers, {r} for a level counted from the other end. Errors name tensors as the checkpoint does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from smalti.tokenizers.errors import ModelError

Net = TypeVar("Net", bound=nn.Module)
Table = Sequence[tuple[str, str]]  # (ours, published): what names begin with


def publisher(table: Table, levels: int) -> Callable[[str], str]:
    """How a checkpoint calls our tensors, by the first pattern that their names begin with; names without one stay."""
    patterns = [
        (re.compile(re.escape(ours).replace(r"\{n\}", r"(?P<n>\d+)").replace(r"\{m\}", r"(?P<m>\d+)")), theirs) for ours, theirs in table
    ]

    def published(name: str) -> str:
        for pattern, theirs in patterns:
            if found := pattern.match(name):
                numbers = {key: int(value) for key, value in found.groupdict().items()}
                return theirs.format(**numbers, r=levels - 1 - numbers.get("n", 0)) + name[found.end() :]
        return name

    return published


def filled_by(
    make: Callable[[], Net], tensors: Mapping[str, np.ndarray], published: Callable[[str], str], name: str, left_out: Sequence[str] = ()
) -> Net:
    """The network that `make` makes, with the tensors that its own are published as, for evaluation. ModelError names the first that is
    missing, unknown or of another shape, before anything as large as a config says is allocated. left_out: what the names of tensors
    begin with that a checkpoint may hold beside the network's."""
    with torch.device("meta"):
        net = make()
    expected = {published(key): (key, value) for key, value in net.state_dict().items()}
    held = {key for key in tensors if not key.startswith(tuple(left_out))}
    for key in sorted(expected.keys() - held):
        raise ModelError(f"{name}: tensor {key!r} is missing; config and weights do not belong together")
    for key in sorted(held - expected.keys()):
        raise ModelError(f"{name}: tensor {key!r} is unknown to this network; config and weights do not belong together")
    for key, (_, value) in sorted(expected.items()):
        if tuple(value.shape) != tensors[key].shape:
            raise ModelError(f"{name}: tensor {key!r} has shape {tensors[key].shape}, expected {tuple(value.shape)}")
    state = {own: torch.from_numpy(np.array(tensors[key])).to(value.dtype) for key, (own, value) in expected.items()}
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)


def shape_of(shapes: Mapping[str, tuple[int, ...]], key: str, axes: int, name: str, otherwise: str) -> tuple[int, ...]:
    """The shape of a tensor that a network's sizes are read from. ModelError where it is missing (`otherwise` says what that means), empty
    or has another number of axes."""
    if key not in shapes:
        raise ModelError(f"{name}: tensor {key!r} is missing; {otherwise}")
    if len(shapes[key]) != axes or 0 in shapes[key]:
        raise ModelError(f"{name}: tensor {key!r} has shape {shapes[key]}, expected {axes} axes, none of them empty")
    return shapes[key]


def averaged(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A checkpoint's tensors, each replaced by its running average where it holds that too: `model_ema.` and the name without its dots."""
    return {key: tensors.get(f"model_ema.{key.replace('.', '')}", tensor) for key, tensor in tensors.items()}
