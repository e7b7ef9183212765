"""The rANS loops of `rans.py`, compiled by numba: the same bytes, about a hundred times faster.

Everything is int64: in numba as in NumPy, uint64 with int64 gives float64. Imported only by functions that need it, since numba takes
half a second to load.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

Array = np.ndarray


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        return numba.njit(cache=True)(function)  # beside the source, or else in the user's cache folder
    except RuntimeError:  # neither can be written
        return numba.njit(function)


@_compiled
def encode(starts: Array, frequencies: Array, states: Array, words: Array) -> int:
    """Fill `words` in reading order from its end; returns how many there are. `states` int64 (lanes,) must be 0."""
    lanes = len(states)
    place = len(words)
    for i in range(len(starts) - 1, -1, -1):
        lane = i % lanes
        f = np.int64(frequencies[i])
        x = states[lane]
        if x == 0:
            x = f
        if x >= f << 16:
            place -= 1
            words[place] = x & 0xFFFF
            x >>= 16
        q = x // f
        states[lane] = (q << 16) + (x - q * f) + np.int64(starts[i])
    return len(words) - place


@_compiled
def decode(words: Array, place: int, states: Array, last: Array, first_lane: int, starts: Array, lookup: Array, out: Array) -> int:
    """Decode len(out) symbols of one table; returns the next word's place, or -1 where the words run out."""
    lanes = len(states)
    lane = first_lane
    for i in range(len(out)):
        x = states[lane]
        if x < 65536:
            if place >= len(words):
                return -1
            x = (x << 16) | np.int64(words[place])
            place += 1
        slot = x & 0xFFFF
        if len(lookup):
            symbol = np.int64(lookup[slot])
        else:
            symbol = np.int64(0)
            high = np.int64(len(starts) - 1)
            while high - symbol > 1:
                middle = (symbol + high) >> 1
                if np.int64(starts[middle]) <= slot:
                    symbol = middle
                else:
                    high = middle
        start = np.int64(starts[symbol])
        f = np.int64(starts[symbol + 1]) - start
        states[lane] = f * (x >> 16) + slot - start
        last[lane] = f
        out[i] = symbol
        lane += 1
        if lane == lanes:
            lane = 0
    return place
