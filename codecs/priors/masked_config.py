"""Sizes of the masked prior's network and the integers that it consists of; read and checked without loading torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from smalti.codecs.priors.masked_steps import LAST
from smalti.tokenizers.errors import ModelError

Array = np.ndarray
REACH = 2  # of the first layer: 5 x 5 entries
PATCH = (2 * REACH + 1) ** 2
MOST_STAGES = 8
LARGEST_FAN = 4096  # products that a layer adds up
LARGEST_CHANNELS = 512
LARGEST_BIAS = 1 << 30
LARGEST_BYTES = 1 << 24  # of all tensors
MOST_AT_ONCE = 1 << 22  # numbers in one of the largest intermediate results


@dataclass(frozen=True)
class MaskedConfig:
    """vocab: V entries a stage. steps: for each stage the ranks at which its steps end, ascending to 16. side, margin: of windows.
    entry: channels of an entry. channels, heads, blocks, wide: of the transformer. Raises ModelError."""

    vocab: int
    steps: tuple[tuple[int, ...], ...] = ((1, 2, 4, 8, 12, 16), (4, 8, 16))
    side: int = 20
    margin: int = 2
    entry: int = 32
    channels: int = 128
    heads: int = 4
    blocks: int = 2
    wide: int = 256

    def __post_init__(self) -> None:
        bounds = (
            ("vocab", 2, 4096),
            ("side", 4, 32),
            ("margin", 0, 4),
            ("entry", 1, 128),
            ("channels", 1, LARGEST_CHANNELS),
            ("heads", 1, 16),
            ("blocks", 0, 8),
            ("wide", 1, 2048),
        )
        for name, least, most in bounds:
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ModelError(f"a masked prior's {name} lies in {least}..{most}, found {value!r}")
        if self.channels % self.heads or self.side <= 2 * self.margin:
            raise ModelError("a masked prior's channels are whole heads, and its windows wider than two margins")
        if not 1 <= len(self.steps) <= MOST_STAGES:
            raise ModelError(f"a masked prior has 1..{MOST_STAGES} stages, found {len(self.steps)}")
        for steps in self.steps:
            if (
                not steps
                or any(type(end) is not int for end in steps)
                or list(steps) != sorted(set(steps))
                or steps[0] < 1
                or steps[-1] != LAST
            ):
                raise ModelError(f"a stage's steps ascend from at least 1 to {LAST}, found {steps}")

        if max(PATCH * self.entry, self.channels, self.wide, self.side**2) > LARGEST_FAN:
            raise ModelError(f"a masked prior's layers add up at most {LARGEST_FAN} products")
        if self._attention * max(self.blocks, 1) > MOST_AT_ONCE:
            raise ModelError(f"a masked prior has at most {MOST_AT_ONCE} pairs of positions in all heads of all blocks")
        size = sum(math.prod(shape) * kind(name).itemsize for name, shape in self.shapes().items())
        if size > LARGEST_BYTES:
            raise ModelError(f"a masked prior's tensors have at most {LARGEST_BYTES} bytes, these have {size}")

    @property
    def _attention(self) -> int:
        """Pairs of positions in all heads of a block."""
        return self.heads * self.side**4

    @property
    def windows_at_once(self) -> int:
        """As many as 32 MiB hold of what is largest of a window; at most 8."""
        return max(1, min(8, MOST_AT_ONCE // max(self._attention, self.side**2 * max(self.vocab, self.wide, PATCH * self.entry))))

    @property
    def unknown(self) -> int:
        """The entry of tokens that are not known yet."""
        return self.vocab

    @property
    def outside(self) -> int:
        """The entry of positions outside of the picture."""
        return self.vocab + 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all tensors by name."""
        channels, stages, around = self.channels, len(self.steps), 2 * self.side - 1
        shapes: dict[str, tuple[int, ...]] = {
            "entries": (stages, self.vocab + 2, self.entry),
            "stem.weight": (channels, PATCH * self.entry),
            "stem.bias": (stages, channels),
        }
        for i in range(self.blocks):
            for name, out, fan in (
                ("joint", 3 * channels, channels),
                ("out", channels, channels),
                ("widen", self.wide, channels),
                ("narrow", channels, self.wide),
            ):
                shapes |= {f"block{i}.{name}.weight": (out, fan), f"block{i}.{name}.bias": (out,)}
            shapes[f"block{i}.places"] = (self.heads, around, around)
        return shapes | {"head.weight": (stages, self.vocab, channels), "head.bias": (stages, self.vocab)}


def kind(name: str) -> np.dtype[np.signedinteger]:
    """Of a tensor as it is stored: biases of layers are int32 in 2^-22; weights in 2^-12, entries and places in 2^-10 are int16."""
    return np.dtype(np.int32) if name.endswith("bias") else np.dtype(np.int16)


def check(config: MaskedConfig, tensors: Mapping[str, Array]) -> None:
    """Raises ModelError unless these are the tensors of this config, small enough that no sum is rounded."""
    shapes = config.shapes()
    if set(tensors) != set(shapes):
        raise ModelError(f"a masked prior of this config has {len(shapes)} tensors, found others: {', '.join(sorted(tensors))[:80]}")
    for name, shape in shapes.items():
        array = tensors[name]
        if array.shape != shape or array.dtype != kind(name):
            raise ModelError(f"a masked prior's {name} is {kind(name)} {shape}, found {array.dtype} {array.shape}")
        if name.endswith("bias") and int(np.abs(array.astype(np.int64)).max()) > LARGEST_BIAS:
            raise ModelError(f"a masked prior's biases lie within {LARGEST_BIAS}, found others in {name}")
