"""What the adaptive prior knows at a moment: counters, mixing weights and corrections, all integers; and its fixed tables.

Source: Mahoney, "Adaptive weighing of context models for lossless data compression" (2005), and what the lpaq and paq8 programs made of it.
Ours: 16-bit probabilities, two rates a context, and inputs that count for less the less often their context was seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import ModelError

Array = np.ndarray
CONTEXTS = 8
SLOTS = 1 << 16  # of each context's table
KINDS = 10  # 0..7: stages, the last one all later ones too; 8: masks; 9: whether and where masks begin
MASKS, HEADER = 8, 9
INPUTS = 2 * CONTEXTS + 1
DEPTHS = 16  # decisions of one token that have weights of their own; later ones share the last
CORRECTIONS = 2048
STEPS = 33  # of a correction's curve
LIMIT = 255  # of a counter's observations
LARGEST_WEIGHT = 1 << 22


@dataclass(frozen=True, eq=False)
class Stored:
    """Primed knowledge as it lies in a file.

    probabilities: uint16 (CONTEXTS, SLOTS), of bit 1 in 65536ths. counts: uint8, same shape, observations. by_depth: int32 (KINDS * DEPTHS,
    INPUTS) and by_agreement: int32 (KINDS * 4 * DEPTHS, INPUTS), weights in 65536ths. corrections: uint16 (CORRECTIONS, STEPS).
    """

    probabilities: Array
    counts: Array
    by_depth: Array
    by_agreement: Array
    corrections: Array

    def __post_init__(self) -> None:
        for name, kind, shape in SHAPES:
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ModelError(f"an adaptive prior's {name} are {kind} {shape}, found {array.dtype} {array.shape}")
        if max(int(np.abs(w.astype(np.int64)).max()) for w in (self.by_depth, self.by_agreement)) > LARGEST_WEIGHT:
            raise ModelError(f"an adaptive prior's weights lie within {LARGEST_WEIGHT}")


SHAPES = (
    ("probabilities", np.dtype(np.uint16), (CONTEXTS, SLOTS)),
    ("counts", np.dtype(np.uint8), (CONTEXTS, SLOTS)),
    ("by_depth", np.dtype(np.int32), (KINDS * DEPTHS, INPUTS)),
    ("by_agreement", np.dtype(np.int32), (KINDS * 4 * DEPTHS, INPUTS)),
    ("corrections", np.dtype(np.uint16), (CORRECTIONS, STEPS)),
)


@dataclass(frozen=True, eq=False)
class Live:
    """Knowledge while it changes: int32 `slow` in 2^-22 and `fast` in 2^-16, uint8 `seen`; int64 weights; int32 corrections in 2^-16."""

    slow: Array
    fast: Array
    seen: Array
    by_depth: Array
    by_agreement: Array
    corrections: Array


def live(stored: Stored) -> Live:
    """A copy to learn on."""
    return Live(
        stored.probabilities.astype(np.int32) << 6,
        stored.probabilities.astype(np.int32),
        stored.counts.copy(),
        stored.by_depth.astype(np.int64),
        stored.by_agreement.astype(np.int64),
        stored.corrections.astype(np.int32),
    )


def stored(state: Live) -> Stored:
    """What of it is kept: slots that were never seen are one half, so that equal knowledge is equal bytes."""
    seen = np.asarray(state.seen)
    probabilities = np.where(seen > 0, state.slow >> 6, 1 << 15).astype(np.uint16)
    return Stored(
        probabilities,
        seen.copy(),
        state.by_depth.astype(np.int32),
        state.by_agreement.astype(np.int32),
        state.corrections.astype(np.uint16),
    )


def unprimed() -> Stored:
    """Nothing is known: every decision is even, every input weighs as much."""
    weight = 65536 // (2 * CONTEXTS)
    curve = SQUASH[np.minimum(np.arange(STEPS) * 128, 4095)]
    return Stored(
        np.full((CONTEXTS, SLOTS), 1 << 15, np.uint16),
        np.zeros((CONTEXTS, SLOTS), np.uint8),
        np.full((KINDS * DEPTHS, INPUTS), weight, np.int32),
        np.full((KINDS * 4 * DEPTHS, INPUTS), weight, np.int32),
        np.tile(curve, (CORRECTIONS, 1)).astype(np.uint16),
    )


def _squash() -> Array:
    # no value lies nearer than 1e-5 to a half (tested), so every machine's exp gives the same integers
    values = [round(65536 / (1 + math.exp(-x / 256))) for x in range(-2048, 2048)]
    return np.clip(np.array(values), LEAST, 65536 - LEAST).astype(np.int32)


def _stretch() -> Array:
    values = [round(256 * math.log((2 * i + 1) / (8191 - 2 * i))) for i in range(4096)]
    return np.clip(np.array(values), -2047, 2047).astype(np.int32)


LEAST = 32  # of 65536: no decision is taken for surer, so that each costs at least LEAST_BITS
LEAST_BITS = -math.log2(1 - LEAST / 65536)
SQUASH = _squash()  # (4096,): x + 2048 -> probability in 65536ths of x / 256 in the logistic domain
STRETCH = _stretch()  # (4096,): probability in 4096ths -> 256 ln(p / (1 - p))
CONFIDENCE = np.array([512 * n // (2 * n + 3) for n in range(LIMIT + 1)], np.int32)  # in 256ths
SLOW_RATE = np.array([131072 // (2 * n + 3) for n in range(LIMIT + 1)], np.int32)  # in 65536ths: 1 / (n + 1.5)
FAST_RATE = np.array([65536 // (min(n, 6) + 2) for n in range(LIMIT + 1)], np.int32)
