"""What the mesh prior knows at a moment, and its fixed tables: all integers.

Counters, mixing and corrections are those of `adaptive_tables.py`; here each context has its own places, without hashing, for positions
(`SPOTS` contexts of `PLACES`) and for faces (`LINKS` contexts of `PLACES`), so that what was learnt of some meshes fits others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from smalti.codecs.priors.adaptive_tables import SQUASH
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
LEVELS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 255], np.uint8)  # of observations, as they are stored
LEAST_SEEN = 8


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
    """Primed knowledge as it lies in a file.

    seen: uint8, a bit for each place, the lowest first. places: uint16 (N,), of the N places seen, the probability of bit 1 in 4096ths
    * 16 + the number of LEVELS that its observations reach. weights: int16 (ROWS, INPUTS) in 4096ths. Corrections start anew with each
    stream: to keep them would save a seventh of a percent, for 68 kB.
    """

    seen: Array
    places: Array
    weights: Array

    def __post_init__(self) -> None:
        count = int(np.unpackbits(self.seen).sum()) if self.seen.dtype == np.uint8 else 0
        shapes = {"seen": (np.uint8, (TABLES * PLACES // 8,)), "places": (np.uint16, (count,)), "weights": (np.int16, (ROWS, INPUTS))}
        for name, (kind, shape) in shapes.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ModelError(f"a mesh prior's {name} are {np.dtype(kind)} {shape}, found {array.dtype} {array.shape}")


NAMES = ("seen", "places", "weights")


def live(known: Stored) -> Live:
    """A copy to learn on."""
    seen = np.unpackbits(known.seen, bitorder="little").astype(bool)
    probabilities, counts = np.full(TABLES * PLACES, 1 << 15, np.int32), np.zeros(TABLES * PLACES, np.uint8)
    probabilities[seen] = (known.places & 0xFFF0).astype(np.int32) + 8
    counts[seen] = LEVELS[known.places & 15]
    curve = SQUASH[np.minimum(np.arange(STEPS) * 128, 4095)].astype(np.int32)
    return Live(probabilities << 6, probabilities, counts, known.weights.astype(np.int64) << 4, np.tile(curve, (CORRECTIONS, 1)))


def stored(state: Live) -> Stored:
    """What of it is kept: places that were seen LEAST_SEEN times, and all weights."""
    seen = state.seen >= LEAST_SEEN
    level = np.searchsorted(LEVELS, state.seen[seen], side="right") - 1
    places = (state.slow[seen] >> 10 << 4) + level
    weights = np.clip((state.weights + 8) >> 4, -32768, 32767)
    return Stored(np.packbits(seen, bitorder="little"), places.astype(np.uint16), weights.astype(np.int16))


def unprimed() -> Stored:
    """Nothing is known: every decision is even, every input weighs as much."""
    return Stored(np.zeros(TABLES * PLACES // 8, np.uint8), np.zeros(0, np.uint16), np.full((ROWS, INPUTS), 256, np.int16))
