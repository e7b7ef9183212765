"""Interleaved rANS: 32-bit states, 16-bit words, lower bound 2^16, frequencies of sum 2^16.

Source: Duda, "Asymmetric numeral systems" (arXiv:1311.2540); interleaving: Giesen (arXiv:1402.3392). Ours: a lane starts at the
frequency of the first symbol it codes rather than at 2^16, which makes that symbol free; the state is stored minus 2^16 and as short
as the length's parity can tell. `FORMAT.md` has the bytes.

The loops below are the reference in plain Python; `fast.py` holds the same ones compiled. Which of them ran can't be told from the bytes.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from functools import cache

import numpy as np

from smalti.codecs.coders.tables import DIGIT, PRECISION, TOTAL, Model, Split, Table
from smalti.tokenizers.errors import BitstreamError, UsageError

Array = np.ndarray
Runs = list[tuple[Array, Table]]
LOWER = 1 << 16
LANES = 4
LANES_FROM = 4096  # streams for fewer tokens have one lane, and no byte that says so
_WIDE_BYTES = 4096  # four states cost up to 12 bytes more than one: below this much payload, one lane
_FAST_FROM = 4096  # symbols; below it Python takes milliseconds and loading numba half a second
_LOOKUP_FROM = 16384  # symbols of one table from which 2^16 lookup entries beat a binary search
_FREE_LIMIT = 1 << 25  # symbols of one-entry alphabets cost nothing, so only this bounds what a small file asks for


class Encoder:
    """Collects runs of symbols; `finish` codes them into one stream.

    size: a number of tokens that the reader knows beforehand; from 4096 on the stream may have four lanes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._runs: list[tuple[Array, Table]] = []
        self._bits, self._priced = 0.0, 0  # of that many runs

    def put(self, symbols: Array, model: Model) -> None:
        """Append a run of symbols (N,), all in the model's range; int32 are not copied and must stay as they are until `finish`."""
        symbols = np.asarray(symbols)
        if isinstance(model, Split):
            tops, lows = np.divmod(symbols.astype(np.int64), DIGIT)
            self.put(tops, model.top)
            for low, start, stop in zip(model.lows, model.bounds, model.bounds[1:], strict=False):
                self.put(lows[(tops >= start) & (tops < stop)], low)
            return
        if symbols.size and not 0 <= symbols.min() <= symbols.max() < model.size:
            raise UsageError(f"symbols of this table lie in 0..{model.size - 1}, found {symbols.min()}..{symbols.max()}")
        if model.size == 1:
            return
        self._runs.append((np.ascontiguousarray(symbols, np.int32), model))

    @property
    def bits(self) -> float:
        """Cross-entropy of everything put so far under its tables."""
        for symbols, model in self._runs[self._priced :]:
            counts = np.bincount(symbols)
            used = np.flatnonzero(counts)
            self._bits += float(counts[used] @ (PRECISION - np.log2(model.frequencies[used], dtype=np.float64)))
        self._priced = len(self._runs)
        return self._bits

    def finish(self, fast: bool | None = None) -> bytes:
        """The stream. fast: True for numba, False for plain Python, None for what is quicker; the bytes are the same."""
        count = sum(len(symbols) for symbols, _ in self._runs)
        if not count:
            return b""
        lanes = _lanes(self.size, count, self._runs)
        states, words = (_encode_fast if _use_fast(count, fast) else _encode_reference)(self._runs, count, lanes)
        tail = words.astype("<u2").tobytes()
        if lanes > 1:
            return bytes([lanes]) + np.array(states, dtype="<u4").tobytes() + tail
        state = states[0] - LOWER
        length = max((state.bit_length() + 7) // 8, 3 if tail else 0)
        return (b"\x01" if self.size >= LANES_FROM else b"") + state.to_bytes(length, "little") + tail


class Decoder:
    """Takes runs of symbols out of a stream in the order they were put; `finish` checks that nothing else was in it."""

    def __init__(self, data: bytes, size: int, fast: bool | None = None) -> None:
        self._bytes = len(data)
        self._fast = fast
        self._taken = 0
        self._place = 0
        lanes, body = 1, data
        if size >= LANES_FROM and data:
            lanes, body = data[0], data[1:]
            if lanes not in (1, LANES):
                raise BitstreamError(f"a coder stream has 1 or {LANES} lanes, found {lanes}")
        self._missing = size >= LANES_FROM and not data
        states, head = _read_state(body) if lanes == 1 else _read_states(body)
        self._states = np.array(states, dtype=np.int64)
        self._last = np.zeros(lanes, np.int64)
        self._words = np.frombuffer(body, dtype="<u2", offset=head).astype(np.uint16)

    def take(self, count: int, model: Model) -> Array:
        """The next `count` symbols, int32 (count,); raises BitstreamError where the stream can't hold that many."""
        if isinstance(model, Split):
            tops = self.take(count, model.top)
            out = np.empty(count, np.int32)
            for low, start, stop in zip(model.lows, model.bounds, model.bounds[1:], strict=False):
                here = (tops >= start) & (tops < stop)
                out[here] = tops[here] * DIGIT + self.take(int(here.sum()), low)
            return out
        if model.size == 1:
            if count > _FREE_LIMIT:
                raise BitstreamError(f"{count} tokens of a codebook with one entry; at most {_FREE_LIMIT} are read")
            return np.zeros(count, np.int32)
        if count == 0:
            return np.zeros(0, np.int32)
        self._refuse_impossible(count, model)
        out = np.empty(count, np.int32)
        step = _decode_fast if _use_fast(count, self._fast) else _decode_reference
        lane = self._taken % len(self._states)
        self._place = step(self._words, self._place, self._states, self._last, lane, model, out)
        self._taken += count
        if self._place < 0:
            raise BitstreamError("a coder stream ends before its symbols do")
        return out

    def finish(self) -> None:
        """Raises BitstreamError unless every byte was used and every lane is back where it started."""
        if self._taken == 0:
            if self._bytes:
                raise BitstreamError(f"a coder stream of no symbols has {self._bytes} bytes")
            return
        if self._place != len(self._words):
            raise BitstreamError(f"a coder stream has {2 * (len(self._words) - self._place)} bytes after its last symbol")
        if not np.array_equal(self._states, self._last):
            raise BitstreamError("a coder stream does not end in the state it started from: other tables, or damage")

    def _refuse_impossible(self, count: int, model: Table) -> None:
        # A symbol takes at least half of log2(2^16 / f) bits out of the state (worst at the lower bound) and a word brings at most 17:
        # what claims more than that is refused before anything is allocated.
        least = count * (PRECISION - math.log2(int(model.frequencies.max())))
        if self._missing or least > 3 * 8 * self._bytes + 512:
            raise BitstreamError(f"{count} tokens can't come from {self._bytes} bytes")


def _lanes(size: int, count: int, runs: Runs) -> int:
    if size < LANES_FROM or count < LANES:
        return 1
    wanted = 16 * 8 * _WIDE_BYTES
    if sum(len(symbols) * _sixteenths(int(model.frequencies.max())) for symbols, model in runs) >= wanted:
        return LANES  # even if every symbol were the likeliest
    bits = 0
    for symbols, model in runs:
        counts = np.bincount(model.frequencies[symbols])
        bits += sum(int(counts[f]) * _sixteenths(int(f)) for f in np.flatnonzero(counts))
    return LANES if bits >= wanted else 1


@cache
def _sixteenths(f: int) -> int:
    """16 log2(2^16 / f), rounded down by integers: the number of lanes must not hang on a machine's log2."""
    return 16 * PRECISION - (f**16).bit_length()


def _use_fast(count: int, fast: bool | None) -> bool:
    return fast if fast is not None else count >= _FAST_FROM or "smalti.codecs.coders.fast" in sys.modules


def _read_state(body: bytes) -> tuple[list[int], int]:
    head = len(body) if len(body) < 3 else 3 if len(body) % 2 else 4
    state = int.from_bytes(body[:head], "little")
    shortest = len(body) == head or head == 4
    if state + LOWER >= 1 << 32 or (head and shortest and body[head - 1] == 0):
        raise BitstreamError("a coder stream starts with a state that no encoder writes")
    return [state + LOWER], head


def _read_states(body: bytes) -> tuple[list[int], int]:
    head = 4 * LANES
    if len(body) < head or len(body) % 2:
        raise BitstreamError(f"a coder stream of {LANES} lanes has an even number of at least {head} bytes, found {len(body)}")
    states = [int(x) for x in np.frombuffer(body, dtype="<u4", count=LANES)]
    if min(states) < LOWER:
        raise BitstreamError("a coder stream starts with a state that no encoder writes")
    return states, head


def _encode_reference(runs: Runs, count: int, lanes: int) -> tuple[list[int], Array]:
    states, words = [0] * lanes, []
    lane = count % lanes
    for symbols, model in reversed(runs):
        starts, frequencies = model.starts[symbols].tolist(), model.frequencies[symbols].tolist()
        for start, f in zip(reversed(starts), reversed(frequencies), strict=True):
            lane = lane - 1 if lane else lanes - 1
            x = states[lane] or f
            if x >= f << 16:
                words.append(x & 0xFFFF)
                x >>= 16
            q, r = divmod(x, f)
            states[lane] = (q << 16) + r + start
    return states, np.array(words[::-1], dtype=np.uint16)


def _encode_fast(runs: Runs, count: int, lanes: int) -> tuple[list[int], Array]:
    from smalti.codecs.coders import fast

    states, words = np.zeros(lanes, np.int64), np.empty(count + 1, np.uint16)
    place = len(words)
    for symbols, model in reversed(runs):
        inverse = fast.reciprocals(model.frequencies)
        place = fast.encode(symbols, model.starts, model.frequencies, inverse, states, count % lanes, words, place)
        count -= len(symbols)
    return [int(x) for x in states], words[place:]


def _decode_reference(words: Array, place: int, states: Array, last: Array, lane: int, model: Table, out: Array) -> int:
    cumulative, current, ends = model.starts.tolist(), states.tolist(), last.tolist()
    read, symbols = words[place : place + len(out)].tolist(), []
    used = 0
    for _ in range(len(out)):
        x = current[lane]
        if x < LOWER:
            if used == len(read):
                return -1
            x = x << 16 | read[used]
            used += 1
        slot = x & (TOTAL - 1)
        symbol = bisect_right(cumulative, slot) - 1
        start = cumulative[symbol]
        ends[lane] = f = cumulative[symbol + 1] - start
        current[lane] = f * (x >> 16) + slot - start
        symbols.append(symbol)
        lane = (lane + 1) % len(current)
    states[:], last[:], out[:] = current, ends, symbols
    return place + used


def _decode_fast(words: Array, place: int, states: Array, last: Array, lane: int, model: Table, out: Array) -> int:
    from smalti.codecs.coders import fast

    lookup = np.zeros(0, np.uint16)
    if len(out) >= _LOOKUP_FROM:
        lookup = np.repeat(np.arange(model.size, dtype=np.uint16), model.frequencies)
    return int(fast.decode(words, place, states, last, lane, model.starts, lookup, out))
