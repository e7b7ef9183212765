"""The rANS loops of `rans.py`, compiled by numba: the same bytes, about a hundred times faster.

Everything is int64: in numba as in NumPy, uint64 with int64 gives float64. Imported only by functions that need it, since numba takes
half a second to load.
"""

from __future__ import annotations

import numpy as np

from smalti.codecs.coders.compiled import compiled

Array = np.ndarray
_SHIFT = 46  # of reciprocals: a state is below 2^16 times the frequency, so that a product stays below 2^62


def reciprocals(frequencies: Array) -> Array:
    """2^46 / f, rounded down, int64 (K,): with it a quotient is at most 1 too small, and costs two products instead of a division."""
    return (1 << _SHIFT) // frequencies.astype(np.int64)


@compiled
def encode(symbols: Array, starts: Array, frequencies: Array, inverse: Array, states: Array, lane: int, words: Array, place: int) -> int:
    """Code int32 (N,) symbols from the last to the first, in lanes that end before `lane`; words go before `place`, whose new one returns.

    `states` int64 (lanes,), 0 in lanes that have coded nothing; of `words`, one more than N must lie before `place`.
    """
    lanes = len(states)
    for i in range(len(symbols) - 1, -1, -1):
        lane = lane - 1 if lane else lanes - 1
        symbol = symbols[i]
        f = np.int64(frequencies[symbol])
        x = states[lane]
        if x == 0:
            x = f
        # written in any case and kept where due: a branch would be guessed wrong every third time
        words[place - 1] = x & 0xFFFF
        due = np.int64(x >= f << 16)
        place -= int(due)
        x >>= due << 4
        q = (x * inverse[symbol]) >> _SHIFT
        q += np.int64(x - q * f >= f)
        states[lane] = x + q * (65536 - f) + np.int64(starts[symbol])
    return place


@compiled
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
