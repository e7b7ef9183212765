"""Symbols under a table of their own each, as a learned prior gives them, in one stream of the range coder.

The loops are plain Python, compiled from some thousand symbols on; the bytes are the same. `range_coder.py` has the arithmetic.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from smalti.codecs.coders.range_coder import (
    LARGEST_TOTAL,
    Buffer,
    Data,
    State,
    check_end,
    decode_interval,
    decode_slot,
    decoder_state,
    encode_interval,
    encoder_state,
    finish,
    overrun,
)
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError

Array = np.ndarray
_FAST_FROM = 4096  # symbols; below it Python takes milliseconds and loading numba half a second
_BYTES = 4  # that a symbol can take at most: 24 bits and what divisions lose


class IntervalEncoder:
    """Appends symbols to one stream. fast: True for compiled loops, False for plain ones, None for what is quicker."""

    def __init__(self, fast: bool | None = None) -> None:
        self._fast = fast
        self._state = encoder_state()
        self._out = np.zeros(0, np.uint8)

    def put(self, symbols: Array, starts: Array) -> None:
        """Append symbols (N,), int; symbol k of row n has the frequency starts[n, k + 1] - starts[n, k] >= 1.

        starts: int (N, K + 1), or (1, K + 1) for all; each row rises from 0 to its total, at most 2^24. Raises UsageError and ModelError.
        """
        symbols, starts = np.ascontiguousarray(symbols, np.int64), _rows(starts, len(symbols))
        if symbols.size and not 0 <= symbols.min() <= symbols.max() < starts.shape[1] - 1:
            raise UsageError(f"symbols of these tables lie in 0..{starts.shape[1] - 2}, found {symbols.min()}..{symbols.max()}")
        room = self._state[2] + _BYTES * len(symbols) + 8
        if room > len(self._out):
            self._out = np.concatenate((self._out, np.zeros(2 * room - len(self._out), np.uint8)))
        done = _run(_encode, self._state, self._out, symbols, starts, self._fast)
        if done < len(symbols):
            raise ModelError(f"a table gives symbol {symbols[done]} no frequency, or sums to more than {LARGEST_TOTAL}")

    def finish(self) -> bytes:
        """The stream of all that was put."""
        return finish(self._state, self._out)


class IntervalDecoder:
    """Takes symbols out of a stream in the order they were put; `finish` checks that nothing else was in it."""

    def __init__(self, data: bytes, fast: bool | None = None) -> None:
        self._fast = fast
        self._data = data
        self._state = decoder_state(data)

    def take(self, starts: Array) -> Array:
        """The next N symbols, int32 (N,), under starts int (N, K + 1); raises BitstreamError where the stream ends before them."""
        starts = _rows(starts, len(starts))
        out = np.zeros(len(starts), np.int32)
        done = _run(_decode, self._state, self._data, out, starts, self._fast)
        if overrun(self._state, self._data):
            raise BitstreamError("a coder stream ends before its symbols do")
        if done < len(starts):
            raise ModelError(f"a table does not rise from 0 to a total of at most {LARGEST_TOTAL}")
        return out

    def finish(self) -> None:
        """Raises BitstreamError unless the bytes are exactly those that an encoder writes for the symbols taken."""
        check_end(self._state, self._data)


def _rows(starts: Array, count: int) -> Array:
    if starts.ndim != 2 or starts.shape[1] < 2 or len(starts) not in (1, count) or starts.dtype.kind not in "iu":
        raise UsageError(f"{count} symbols want running sums of integers ({count}, K + 1), found {starts.dtype} {starts.shape}")
    return np.ascontiguousarray(starts, np.int64)


def _run(loop: Callable[..., int], state: list[int], data: Buffer | Data, symbols: Array, starts: Array, fast: bool | None) -> int:
    if fast or (fast is None and (len(symbols) >= _FAST_FROM or "smalti.codecs.coders.range_fast" in sys.modules)):
        held = np.array(state, np.int64)
        done = int(_compiled(loop)(held, np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data, symbols, starts))
        state[:] = held.tolist()
        return done
    return loop(state, data, symbols, starts)


@lru_cache
def _compiled(loop: Callable[..., int]) -> Callable[..., Any]:
    from smalti.codecs.coders import range_fast
    from smalti.codecs.coders.compiled import compiled

    assert range_fast  # lets the loop call the coder
    return compiled(loop)


def _encode(state: State, out: Buffer, symbols: Array, starts: Array) -> int:
    """How many symbols were coded: fewer than all where a table is none."""
    last = starts.shape[1] - 1
    for i in range(len(symbols)):
        row = i if len(starts) > 1 else 0
        symbol = int(symbols[i])
        total = int(starts[row, last])
        start = int(starts[row, symbol])
        frequency = int(starts[row, symbol + 1]) - start
        if start < 0 or frequency < 1 or start + frequency > total or total > LARGEST_TOTAL:
            return i
        encode_interval(state, out, start, frequency, total)
    return len(symbols)


def _decode(state: State, data: Data, symbols: Array, starts: Array) -> int:
    """How many symbols were decoded: fewer than all where a table is none or the data has ended."""
    last = starts.shape[1] - 1
    for i in range(len(symbols)):
        total = int(starts[i, last])
        if starts[i, 0] != 0 or total < 1 or total > LARGEST_TOTAL or overrun(state, data):
            return i
        slot = decode_slot(state, total)
        low = 0
        high = last
        while high - low > 1:
            middle = (low + high) >> 1
            if starts[i, middle] <= slot:
                low = middle
            else:
                high = middle
        start = int(starts[i, low])
        decode_interval(state, data, start, int(starts[i, low + 1]) - start, total)
        symbols[i] = low
    return len(symbols)
