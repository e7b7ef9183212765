"""The range coder: plain and compiled loops write the same bytes, close to the ideal, and read nothing else."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.codecs.coders import range_fast
from smalti.codecs.coders.compiled import compiled
from smalti.codecs.coders.intervals import IntervalDecoder, IntervalEncoder
from smalti.codecs.coders.range_coder import (
    check_end,
    decode_bit,
    decode_interval,
    decode_slot,
    decoder_state,
    encode_bit,
    encode_interval,
    encoder_state,
    finish,
    overrun,
)
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError

assert range_fast


def _put(state, out, bits, rate):
    """An adaptive model of one probability, as a kernel or as plain Python."""
    p = 32768
    for i in range(len(bits)):
        bit = int(bits[i])
        encode_bit(state, out, bit, p)
        p += ((bit << 16) - bit - p) >> rate
        p = min(max(p, 1), 65535)


def _put_all(state, out, bits, p):
    for i in range(len(bits)):
        encode_bit(state, out, bits[i], p)


def _take(state, data, bits, rate):
    p = 32768
    for i in range(len(bits)):
        if overrun(state, data):
            return i
        bit = decode_bit(state, data, p)
        bits[i] = bit
        p += ((bit << 16) - bit - p) >> rate
        p = min(max(p, 1), 65535)
    return len(bits)


FAST = compiled(_put), compiled(_take)


def _encode_bits(bits: np.ndarray, rate: int, fast: bool) -> bytes:
    if fast:
        state, out = np.array(encoder_state()), np.zeros(2 * len(bits), np.uint8)
        FAST[0](state, out, bits, rate)
        return finish(state, out)
    plain, buffer = encoder_state(), bytearray(2 * len(bits))
    _put(plain, buffer, bits, rate)
    return finish(plain, buffer)


def _decode_bits(data: bytes, count: int, rate: int, fast: bool) -> np.ndarray:
    bits = np.zeros(count, np.int64)
    if fast:
        state, array = np.array(decoder_state(data)), np.frombuffer(data, np.uint8)
        FAST[1](state, array, bits, rate)
        check_end(state, array)
    else:
        plain = decoder_state(data)
        _take(plain, data, bits, rate)
        check_end(plain, data)
    return bits


@pytest.mark.parametrize("rate", [1, 5])
@pytest.mark.parametrize("share", [0.0, 0.003, 0.5, 1.0])
@pytest.mark.parametrize("count", [0, 1, 2, 9, 400, 3000])
def test_bits_are_equal_on_both_paths(count: int, share: float, rate: int) -> None:
    bits = (np.random.default_rng(count).random(count) < share).astype(np.int64)
    data = _encode_bits(bits, rate, fast=False)
    assert data == _encode_bits(bits, rate, fast=True)
    for fast in (False, True):
        assert np.array_equal(_decode_bits(data, count, rate, fast), bits)


@pytest.mark.parametrize("p", [1, 700, 32768, 65535])
@pytest.mark.parametrize("count", [1, 1000, 100_000])
def test_bits_cost_what_their_probability_says(p: int, count: int) -> None:
    bits = (np.random.default_rng(p).integers(0, 65536, count) < p).astype(np.int64)
    state, out = np.array(encoder_state()), np.zeros(2 * count, np.uint8)
    compiled(_put_all)(state, out, bits, p)
    ideal = -np.log2(np.where(bits == 1, p, 65536 - p) / 65536).sum() / 8
    assert ideal - 1 < len(finish(state, out)) < 2.1 + 1.0001 * ideal


def test_a_carry_runs_back_through_all_that_is_written() -> None:
    # the symbols that decode from .1000... keep low just below it: what is written is .0111... until something lies above
    middle, p = b"\x80" + bytes(2000), 30000
    read, state, out = decoder_state(middle), encoder_state(), bytearray(2000)
    bits = [decode_bit(read, middle, p) for _ in range(4000)]
    for bit in bits:
        encode_bit(state, out, bit, p)
    assert out[:400] == b"\x7f" + b"\xff" * 399
    above = [0] * 60
    assert finish(state, out)[:400] == middle[:400]
    for bit in above:
        encode_bit(state, out, bit, p)
    assert out[:400] == middle[:400]
    data = finish(state, out)
    fast, buffer = np.array(encoder_state()), np.zeros(2000, np.uint8)
    compiled(_put_all)(fast, buffer, np.array(bits + above), p)
    assert finish(fast, buffer) == data
    read = decoder_state(data)
    assert [decode_bit(read, data, p) for _ in bits + above] == bits + above
    check_end(read, data)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 2**24), st.integers(0, 2**24), st.integers(1, 2**24)), max_size=40))
def test_any_intervals_come_back(drawn: list[tuple[int, int, int]]) -> None:
    steps = [(start % total, 1 + (frequency - 1) % (total - start % total), total) for total, start, frequency in drawn]
    state, out = encoder_state(), bytearray(4 * len(steps) + 8)
    for step in steps:
        encode_interval(state, out, *step)
    data = finish(state, out)
    read = decoder_state(data)
    for start, frequency, total in steps:
        assert start <= decode_slot(read, total) < start + frequency
        decode_interval(read, data, start, frequency, total)
    check_end(read, data)


def _tables(count: int, size: int, largest: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frequencies = 1 + (rng.random((count, size)) ** 8 * (largest // size - 1)).astype(np.int64)
    return np.concatenate((np.zeros((count, 1), np.int64), frequencies.cumsum(1)), axis=1)


@pytest.mark.parametrize("largest", [4, 1000, 2**16, 2**24])
@pytest.mark.parametrize("count", [0, 1, 50, 2000])
def test_symbols_under_their_own_tables_on_both_paths(count: int, largest: int) -> None:
    starts = _tables(count, 4, largest, count)
    total = starts[:, -1]
    slots = (np.random.default_rng(7).random(count) * total).astype(np.int64)
    symbols = (starts[:, 1:] <= slots[:, None]).sum(1)
    written = []
    for fast in (False, True):
        coder = IntervalEncoder(fast)
        for part in (slice(0, count // 3), slice(count // 3, count)):
            coder.put(symbols[part], starts[part])
        written.append(coder.finish())
    assert written[0] == written[1]
    taken = np.take_along_axis(starts, symbols[:, None] + 1, 1)[:, 0] - np.take_along_axis(starts, symbols[:, None], 1)[:, 0]
    assert len(written[0]) <= 2 + 1.001 * np.log2(total / taken).sum() / 8
    for fast in (False, True):
        reader = IntervalDecoder(written[0], fast)
        out = np.concatenate([reader.take(starts[: count // 3]), reader.take(starts[count // 3 :])])
        reader.finish()
        assert np.array_equal(out, symbols)


def test_one_table_serves_all_symbols() -> None:
    starts, symbols = np.array([[0, 3, 4, 10]]), np.array([2, 0, 1, 2, 2])
    one, each = IntervalEncoder(), IntervalEncoder()
    one.put(symbols, starts)
    each.put(symbols, starts.repeat(5, 0))
    assert one.finish() == each.finish()


@pytest.mark.parametrize("fast", [False, True])
def test_damage_gives_an_error_or_other_symbols(fast: bool) -> None:
    # no byte is spent on a check, so nearly every number names some symbols; a file's checksums stand beside
    starts, symbols = _tables(40, 100, 2**16, 2), np.random.default_rng(2).integers(0, 100, 40)
    coder = IntervalEncoder(fast)
    coder.put(symbols, starts)
    data = coder.finish()
    wrong = [data[:n] for n in range(len(data))] + [data + b"\0", data + b"\1", data + bytes(2), data + bytes(9)]
    wrong += [data[:i] + bytes([data[i] ^ 1 << k]) + data[i + 1 :] for i in range(len(data)) for k in range(8)]
    refused = 0
    for changed in wrong:
        try:
            assert not np.array_equal(_read(changed, starts, fast), symbols)
        except BitstreamError:
            refused += 1
    assert refused > len(wrong) / 2


@settings(max_examples=200)
@given(st.binary(max_size=40), st.integers(0, 60), st.booleans())
def test_whatever_is_read_is_what_is_written_for_it(data: bytes, count: int, fast: bool) -> None:
    starts = _tables(count, 6, 5000, count)
    try:
        symbols = _read(data, starts, fast)
    except BitstreamError:
        return
    coder = IntervalEncoder(fast)
    coder.put(symbols, starts)
    assert coder.finish() == data


def _read(data: bytes, starts: np.ndarray, fast: bool) -> np.ndarray:
    reader = IntervalDecoder(data, fast)
    out = reader.take(starts)
    reader.finish()
    return out


def test_a_short_stream_stops_a_long_loop() -> None:
    data = _encode_bits(np.ones(10, np.int64), 5, fast=False)
    for loop, state, source in (
        (FAST[1], np.array(decoder_state(data)), np.frombuffer(data, np.uint8)),
        (_take, decoder_state(data), data),
    ):
        assert loop(state, source, np.zeros(10**5, np.int64), 16) < 100  # at this rate p stays near 1/2


def test_a_small_buffer_is_not_written_past_and_named() -> None:
    bits = np.random.default_rng(3).integers(0, 2, 800)
    whole = _encode_bits(bits, 5, fast=True)
    held = np.full(200, 77, np.uint8)
    state = np.array(encoder_state())
    FAST[0](state, held[:11], bits, 5)
    assert (held[11:] == 77).all()
    with pytest.raises(UsageError, match=str(state[2])):
        finish(state, held[:11])
    assert 0 <= len(whole) - state[2] <= 2


@pytest.mark.parametrize("fast", [False, True])
def test_tables_that_are_none_are_refused(fast: bool) -> None:
    for row in ([0, 2, 2, 4], [0, 5, 3, 4], [0, 1, 2, 2**24 + 1]):
        with pytest.raises(ModelError):
            IntervalEncoder(fast).put(np.array([1]), np.array([row]))
    for row in ([1, 2, 3, 4], [0, 0, 0, 0], [0, 1, 2, 2**24 + 1], [0, 1, 2, -1]):
        with pytest.raises(ModelError):
            IntervalDecoder(b"123456", fast).take(np.array([row]))
    for symbol in (-1, 3):
        with pytest.raises(UsageError):
            IntervalEncoder(fast).put(np.array([symbol]), np.array([[0, 1, 2, 3]]))
    with pytest.raises(UsageError):
        IntervalEncoder(fast).put(np.array([0, 0, 0]), np.array([[0, 1], [0, 1]]))
    with pytest.raises(UsageError):
        IntervalEncoder(fast).put(np.array([0]), np.array([[0.0, 1.0]]))


def test_known_bytes() -> None:
    state, out = encoder_state(), bytearray(16)
    for bit, p in ((1, 30000), (0, 30000), (1, 65000), (0, 100)):
        encode_bit(state, out, bit, p)
    for start, frequency, total in ((2, 1, 10), (0, 7, 10), (65535, 1, 65536)):
        encode_interval(state, out, start, frequency, total)
    assert finish(state, out).hex() == "46bb0f"  # as FORMAT.md's example; a change here breaks every file


def test_numba_stays_unloaded_for_few_symbols() -> None:
    code = (
        "import sys, numpy as np; from smalti.codecs.coders.intervals import IntervalEncoder; e = IntervalEncoder();"
        "e.put(np.zeros(9, int), np.array([[0, 1, 2]])); e.finish(); assert not {'numba', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
