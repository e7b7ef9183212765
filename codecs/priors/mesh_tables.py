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
    """Primed knowledge as it lies in a file: what was seen at all, and that.

    seen: uint8, a bit for each place, the lowest first. probabilities: uint16 (N,), of bit 1 in 65536ths, counts: uint8 (N,), observations,
    of the N places seen. weights: int32 (ROWS, INPUTS) in 65536ths. corrections: uint16 (CORRECTIONS, STEPS).
    """

    seen: Array
    probabilities: Array
    counts: Array
    weights: Array
    corrections: Array

    def __post_init__(self) -> None:
        count = int(np.unpackbits(self.seen).sum()) if self.seen.dtype == np.uint8 else 0
        shapes = {
            "seen": (np.uint8, (TABLES * PLACES // 8,)),
            "probabilities": (np.uint16, (count,)),
            "counts": (np.uint8, (count,)),
            "weights": (np.int32, (ROWS, INPUTS)),
            "corrections": (np.uint16, (CORRECTIONS, STEPS)),
        }
        for name, (kind, shape) in shapes.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ModelError(f"a mesh prior's {name} are {np.dtype(kind)} {shape}, found {array.dtype} {array.shape}")
        if int(np.abs(self.weights.astype(np.int64)).max()) > LARGEST_WEIGHT:
            raise ModelError(f"a mesh prior's weights lie within {LARGEST_WEIGHT}")


NAMES = tuple(Stored.__annotations__)


def live(known: Stored) -> Live:
    """A copy to learn on."""
    seen = np.unpackbits(known.seen, bitorder="little").astype(bool)
    probabilities, counts = np.full(TABLES * PLACES, 1 << 15, np.int32), np.zeros(TABLES * PLACES, np.uint8)
    probabilities[seen], counts[seen] = known.probabilities, known.counts
    return Live(probabilities << 6, probabilities, counts, known.weights.astype(np.int64), known.corrections.astype(np.int32))


def stored(state: Live) -> Stored:
    """What of it is kept."""
    seen = state.seen > 0
    return Stored(
        np.packbits(seen, bitorder="little"),
        (state.slow[seen] >> 6).astype(np.uint16),
        state.seen[seen].copy(),
        state.weights.astype(np.int32),
        state.corrections.astype(np.uint16),
    )


def unprimed() -> Stored:
    """Nothing is known: every decision is even, every input weighs as much."""
    curve = SQUASH[np.minimum(np.arange(STEPS) * 128, 4095)]
    return Stored(
        np.zeros(TABLES * PLACES // 8, np.uint8),
        np.zeros(0, np.uint16),
        np.zeros(0, np.uint8),
        np.full((ROWS, INPUTS), 4096, np.int32),
        np.tile(curve, (CORRECTIONS, 1)).astype(np.uint16),
    )
