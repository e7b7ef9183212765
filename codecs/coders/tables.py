"""Integer frequency tables, and vocabularies too large for one table as digits.

A table's frequencies sum to 2^16. Sixteen bits, since a codebook of 4096 entries needs log2(4096) + 4 of them to cost less than 0.01 %
over its entropy (at 12 bits it costs 37 %), and since more would leave a 32-bit state too little room.
Measurements: research/codecs_and_bitstreams.md, 2.4.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from smalti.tokenizers.errors import ModelError, UsageError

Array = np.ndarray
PRECISION = 16
TOTAL = 1 << PRECISION
DIGIT = 4096  # the largest alphabet of one table; larger vocabularies are split into digits of this base
_WEIGHT_BITS = 40  # weights are scaled to this, so that weight * 2^16 and their sum stay exact in int64


@dataclass(frozen=True, eq=False)
class Table:
    """Frequencies of 1..4096 symbols: int32 (K,), each >= 1, of sum 2^16; `starts` is their running sum, int32 (K + 1,)."""

    frequencies: Array
    starts: Array

    @property
    def size(self) -> int:
        return len(self.frequencies)


@dataclass(frozen=True, eq=False)
class Split:
    """A vocabulary in two steps: symbol = 4096 * top + low.

    top: the model of the top digits. Top digits in [bounds[g], bounds[g + 1]) share `lows[g]` as the table of their low digits.
    """

    top: Table | Split
    bounds: tuple[int, ...]
    lows: tuple[Table, ...]


Model = Table | Split


def table(frequencies: Array) -> Table:
    """A checked table; raises ModelError where the frequencies are not one."""
    values = np.asarray(frequencies)
    if values.ndim != 1 or not 1 <= len(values) <= DIGIT or values.dtype.kind not in "iu":
        raise ModelError(f"a frequency table holds 1..{DIGIT} integers, found {values.dtype} {values.shape}")
    total = int(values.sum(dtype=np.int64))
    if values.min() < 1 or values.max() > TOTAL or total != TOTAL:
        raise ModelError(f"table frequencies are at least 1 and sum to {TOTAL}; found at least {values.min()}, sum {total}")
    frozen = np.ascontiguousarray(values, dtype=np.int32)
    starts = np.zeros(len(frozen) + 1, np.int32)
    np.cumsum(frozen, out=starts[1:])
    return Table(frozen, starts)


def quantize(weights: Array) -> Array:
    """Integer frequencies int32 (K,), each >= 1, of sum 2^16, nearest to counts or probabilities (K,), K in 1..4096.

    Rounds down, then gives or takes one at a time where it changes the cost w log2((f + 1) / f) ~ w / (f + 1/2) best: in integers only,
    ties to the lowest index. Weights that are all 0 give the uniform table.
    """
    w = _integers(np.asarray(weights))
    total = int(w.sum())
    f = np.maximum(w * TOTAL // total, 1)
    rest = TOTAL - int(f.sum())
    if rest > 0:
        heap = [(-((int(a) << 64) // (2 * int(b) + 1)), i) for i, (a, b) in enumerate(zip(w, f, strict=True))]
        heapq.heapify(heap)
        for _ in range(rest):
            i = heap[0][1]
            f[i] += 1
            heapq.heapreplace(heap, (-((int(w[i]) << 64) // (2 * int(f[i]) + 1)), i))
    elif rest < 0:
        heap = [((int(a) << 64) // (2 * int(b) - 1), i) for i, (a, b) in enumerate(zip(w, f, strict=True)) if b > 1]
        heapq.heapify(heap)
        for _ in range(-rest):
            i = heapq.heappop(heap)[1]
            f[i] -= 1
            if f[i] > 1:
                heapq.heappush(heap, ((int(w[i]) << 64) // (2 * int(f[i]) - 1), i))
    return f.astype(np.int32)


def _integers(weights: Array) -> Array:
    if weights.ndim != 1 or not 1 <= len(weights) <= DIGIT:
        raise UsageError(f"quantize wants 1..{DIGIT} weights in one axis, found shape {weights.shape}")
    if weights.dtype.kind not in "iuf" or not np.all(np.isfinite(weights)) or weights.min() < 0:
        raise UsageError("quantize wants finite weights that are not negative")
    top = weights.max()
    if top == 0:
        return np.ones(len(weights), np.int64)
    if weights.dtype.kind == "f":
        return np.rint(weights.astype(np.float64) / float(top) * 2.0**_WEIGHT_BITS).astype(np.int64)
    return weights.astype(np.int64) >> max(int(top).bit_length() - _WEIGHT_BITS, 0)


@lru_cache(maxsize=256)
def uniform(vocab: int, unit: int = 1, last: int = 1) -> Model:
    """The uniform model of a vocabulary of 1..2^31-1 symbols; each weighs `unit`, the last one `last`."""
    if vocab <= DIGIT:
        weights = np.full(vocab, unit, np.int64)
        weights[-1] = last
        return table(quantize(weights))
    tops = -(-vocab // DIGIT)
    edge = vocab - (tops - 1) * DIGIT
    top = uniform(tops, unit * DIGIT, unit * (edge - 1) + last)
    low, low_edge = uniform(DIGIT), uniform(edge, unit, last)
    assert isinstance(low, Table)  # both alphabets have at most 4096 symbols
    assert isinstance(low_edge, Table)
    return Split(top, (0, tops - 1, tops), (low, low_edge))
