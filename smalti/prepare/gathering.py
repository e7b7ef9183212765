"""The loops of the reader, compiled by numba. Imported only where they are used, since numba takes half a second to load.

One call per batch: NumPy's own overhead would be most of the time of a batch otherwise (measured by `smalti.recipes.bench.reader`).
"""

from __future__ import annotations

import numpy as np

from smalti.codecs.coders.compiled import compiled

Array = np.ndarray


@compiled
def permuted(first: int, count: int, n: int, half: int, keys: Array) -> Array:
    """What `permutation.permute` gives for the places first..first + count - 1."""
    out = np.empty(count, np.int64)
    mask = (1 << half) - 1
    for i in range(count):
        x = first + i
        while True:
            left, right = x >> half, x & mask
            for k in range(len(keys)):
                mixed = (right + keys[k]) & 0xFFFFFFFF
                mixed = ((mixed ^ (mixed >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
                mixed = ((mixed ^ (mixed >> 12)) * 0x297A2D39) & 0xFFFFFFFF
                left, right = right, left ^ ((mixed ^ (mixed >> 15)) & mask)
            x = (left << half) | right
            if x < n:
                break
        out[i] = x
    return out


@compiled
def gather(data: Array, starts: Array, rows: Array, out: Array) -> None:
    """out[rows[i]] = data[starts[i] : starts[i] + length], widened to int64."""
    length = out.shape[1]
    for i in range(len(starts)):
        source = data[starts[i] : starts[i] + length]
        target = out[rows[i]]
        for j in range(length):
            target[j] = source[j]
