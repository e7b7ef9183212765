"""What the mesh prior knows at a moment, and its fixed tables: all integers.

Counters, mixing and corrections are those of `adaptive_tables.py`; here each context has its own places, without hashing, for positions
(`SPOTS` contexts of `PLACES`) and for faces (`LINKS` contexts of `PLACES`), so that what was learnt of some meshes fits others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from smalti.codecs.priors.adaptive_tables import LARGEST_WEIGHT, SQUASH
from smalti.tokenizers.errors import ModelError

Array = np.ndarray
SPOTS = 31  # contexts of a decision about a coordinate
LINKS = 18  # contexts of a decision about a face
PLACES = 4096  # of each context
INPUTS = 2 * SPOTS + 1
MAX_BITS = 10
TABLES = SPOTS + LINKS + 1  # the last one for numbers and for starts
ROWS = 860  # of mixing weights
CORRECTIONS = 1024
STEPS = 33  # of a correction's curve
RECALLED = 255  # observations that count of what was learnt before a stream: so many that it is known, so few that a mesh can differ


def _classes() -> Array:
    """(4096,) of a difference d + 2048: its sign, and its size exactly below 4, else in halves of octaves: 0..43."""
    out = np.zeros(4096, np.int64)
    for place in range(4096):
        d = place - 2048
        size = d if d >= 0 else -d - 1
        octave = size.bit_length() - 1
        kind = size if size < 4 else min(4 + 2 * (octave - 2) + (size >> (octave - 1) & 1), 21)
        out[place] = kind + (0 if d >= 0 else 22)
    return out


def _coarse() -> Array:
    """(4096,) of the same: 0..11."""
    out = np.zeros(4096, np.int64)
    for place in range(4096):
        d = place - 2048
        size = d if d >= 0 else -d - 1
        out[place] = sum(size >= edge for edge in (1, 2, 4, 16, 64)) + (0 if d >= 0 else 6)
    return out


CLASSES, COARSE = _classes(), _coarse()


class Live(NamedTuple):
    """Knowledge while it changes: int32 (contexts * PLACES,) `slow` in 2^-22 and `fast` in 2^-16, uint8 `seen`; int64 `weights`
    (ROWS, INPUTS) in 2^-16; int32 `corrections` (CORRECTIONS, STEPS) in 2^-16."""

    slow: Array
    fast: Array
    seen: Array
    weights: Array
    corrections: Array


@dataclass(frozen=True, eq=False)
class Stored:
    """Primed knowledge as it lies in a file; shapes and types in SHAPES."""

    probabilities: Array
    counts: Array
    weights: Array
    corrections: Array

    def __post_init__(self) -> None:
        for name, (kind, shape) in SHAPES.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ModelError(f"a mesh prior's {name} are {kind} {shape}, found {array.dtype} {array.shape}")
        if int(np.abs(self.weights.astype(np.int64)).max()) > LARGEST_WEIGHT:
            raise ModelError(f"a mesh prior's weights lie within {LARGEST_WEIGHT}")


SHAPES = {
    "probabilities": (np.dtype(np.uint16), (TABLES * PLACES,)),
    "counts": (np.dtype(np.uint8), (TABLES * PLACES,)),
    "weights": (np.dtype(np.int32), (ROWS, INPUTS)),
    "corrections": (np.dtype(np.uint16), (CORRECTIONS, STEPS)),
}


def live(known: Stored) -> Live:
    """A copy to learn on."""
    return Live(
        known.probabilities.astype(np.int32) << 6,
        known.probabilities.astype(np.int32),
        known.counts.copy(),
        known.weights.astype(np.int64),
        known.corrections.astype(np.int32),
    )


def stored(state: Live) -> Stored:
    """What of it is kept."""
    seen = np.asarray(state.seen)
    probabilities = np.where(seen > 0, state.slow >> 6, 1 << 15).astype(np.uint16)
    counts = np.minimum(seen, RECALLED).astype(np.uint8)
    return Stored(probabilities, counts, state.weights.astype(np.int32), state.corrections.astype(np.uint16))


def unprimed() -> Stored:
    """Nothing is known: every decision is even, every input weighs as much."""
    curve = SQUASH[np.minimum(np.arange(STEPS) * 128, 4095)]
    return Stored(
        np.full(TABLES * PLACES, 1 << 15, np.uint16),
        np.zeros(TABLES * PLACES, np.uint8),
        np.full((ROWS, INPUTS), 4096, np.int32),
        np.tile(curve, (CORRECTIONS, 1)).astype(np.uint16),
    )
