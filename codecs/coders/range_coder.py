"""A range coder for models that change with every symbol: binary decisions, and intervals of integer frequencies.

Source: Martin, "Range encoding" (1979). Ours: a range of 32 to 48 bits, 16 bits at a time; carries run back into what is written; the end
takes 0, 1 or 2 bytes, as few as name a number in the last range, and a reader accepts no others. `FORMAT.md` has the bytes.

Each function here is the reference in plain Python and, through `range_fast.py`, part of compiled kernels: there is one source.
A state is a list of ints in plain Python, int64 (4,) in kernels; bytes are a bytearray or bytes, in kernels uint8 (n,):

    state, out = encoder_state(), bytearray(1000)       |  state = decoder_state(data)
    encode_bit(state, out, bit, p)                      |  bit = decode_bit(state, data, p)
    encode_interval(state, out, start, frequency, total)|  slot = decode_slot(state, total)     # start <= slot < start + frequency
                                                        |  decode_interval(state, data, start, frequency, total)
    data = finish(state, out)                           |  check_end(state, data)

A buffer that is too small is never written past: the state counts on, and `finish` says how long it must be. A reader past its end reads
zeros; `overrun` tells it, and loops over many symbols ask it now and then, so that a short file can't keep them busy for long.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import Any

import numpy as np

from smalti.tokenizers.errors import BitstreamError, UsageError

State = MutableSequence[int] | np.ndarray[Any, Any]  # encoder: low, range, place; decoder: number - low, range, place, unit
Buffer = bytearray | np.ndarray[Any, Any]
Data = bytes | np.ndarray[Any, Any]
PROBABILITY_BITS = 16
LARGEST_TOTAL = 1 << 24  # of frequencies: leaves the range at least 8 bits for each
_WIDTH = 48
_WHOLE = 1 << _WIDTH
_MASK = _WHOLE - 1
_LEAST = 1 << 32  # range between two symbols


def encoder_state() -> list[int]:
    """The state before the first symbol; for kernels, np.array(encoder_state())."""
    return [0, _WHOLE, 0, 0]


def decoder_state(data: Data) -> list[int]:
    """The state before the first symbol; for kernels, np.array(decoder_state(data))."""
    return [_window(data, 0), _WHOLE, 6, 0]


def encode_bit(state: State, out: Buffer, bit: int, p: int) -> None:
    """Append a bit; p in 1..65535 is the probability of 1 in 65536ths."""
    part = (state[1] >> 16) * p
    if bit:
        state[1] = part
    else:
        state[0] += part
        state[1] -= part
    if state[1] < _LEAST:
        shift_out(state, out)


def decode_bit(state: State, data: Data, p: int) -> int:
    """The next bit, 0 or 1, under the p that it was coded with."""
    part = (state[1] >> 16) * p
    if state[0] < part:
        state[1] = part
        bit = 1
    else:
        state[0] -= part
        state[1] -= part
        bit = 0
    if state[1] < _LEAST:
        shift_in(state, data)
    return bit


def encode_interval(state: State, out: Buffer, start: int, frequency: int, total: int) -> None:
    """Append a symbol that has `frequency` of `total` (at most 2^24), of which those before it have `start`."""
    unit = state[1] // total
    state[0] += unit * start
    state[1] = unit * frequency if start + frequency < total else state[1] - unit * start  # the last one takes what division leaves
    while state[1] < _LEAST:
        shift_out(state, out)


def decode_slot(state: State, total: int) -> int:
    """A number in 0..total - 1 that lies in the interval of the next symbol; `decode_interval` must follow."""
    unit = state[1] // total
    state[3] = unit
    slot = state[0] // unit
    return slot if slot < total else total - 1


def decode_interval(state: State, data: Data, start: int, frequency: int, total: int) -> None:
    """Step over the symbol whose interval holds what `decode_slot` found."""
    unit = state[3]
    state[0] -= unit * start
    state[1] = unit * frequency if start + frequency < total else state[1] - unit * start
    while state[1] < _LEAST:
        shift_in(state, data)


def shift_out(state: State, out: Buffer) -> None:
    """Write the upper 16 of 48 bits and a carry before them."""
    low, place = state[0], state[2]
    if low >= _WHOLE:
        low -= _WHOLE
        if place <= len(out):
            back = place - 1
            while out[back] == 255:
                out[back] = 0
                back -= 1
            out[back] += 1
    if place + 2 <= len(out):
        out[place] = low >> 40
        out[place + 1] = (low >> 32) & 255
    state[0] = (low & 0xFFFFFFFF) << 16
    state[1] <<= 16
    state[2] = place + 2


def shift_in(state: State, data: Data) -> None:
    """Read 16 more bits."""
    place = state[2]
    number = state[0] * 65536
    if place < len(data):
        number += data[place] * 256
    if place + 1 < len(data):
        number += data[place + 1]
    state[0] = number
    state[1] <<= 16
    state[2] = place + 2


def overrun(state: State, data: Data) -> bool:
    """Whether a decoder is so far past the end that no encoder can have written these bytes."""
    return state[2] - 6 > len(data)


def finish(state: State, out: Buffer) -> bytes:
    """The whole stream; raises UsageError where the buffer was too small for it."""
    place = int(state[2])
    if place > len(out):
        raise UsageError(f"the coder's buffer has {len(out)} bytes, this stream takes {place} and up to 2 more; give it as many")
    number, length = _end(int(state[0]), int(state[1]))
    head = int.from_bytes(bytes(out[:place]), "big") if number >= _WHOLE else 0
    written = (head + 1).to_bytes(place, "big") if number >= _WHOLE else bytes(out[:place])
    return written + (number & _MASK).to_bytes(6, "big")[:length]


def check_end(state: State, data: Data) -> None:
    """Raises BitstreamError unless the bytes are exactly those that an encoder writes for the symbols decoded."""
    place = int(state[2]) - 6
    if place > len(data):
        raise BitstreamError("a coder stream ends before its symbols do")
    window = _window(data, place)
    number, length = _end((window - int(state[0])) & _MASK, int(state[1]))
    if len(data) != place + length:
        raise BitstreamError(f"a coder stream has {len(data)} bytes, its symbols take {place + length}")
    if window != number & _MASK:
        raise BitstreamError("a coder stream does not end as its symbols ask: another model, or damage")


def _end(low: int, size: int) -> tuple[int, int]:
    """The number in [low, low + size) that needs the fewest bytes after the point, the lowest of several, and how many: 0..2."""
    for length in (0, 1):
        step = 1 << (_WIDTH - 8 * length)
        number = -(-low // step) * step
        if number < low + size:
            return number, length
    return -(-low // _LEAST) * _LEAST, 2


def _window(data: Data, place: int) -> int:
    return int.from_bytes(bytes(data[place : place + 6]).ljust(6, b"\0"), "big")
