"""Entropy coders and their rivals, each as two calls on the same symbols: what `coders.py` measures."""

from __future__ import annotations

import functools
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.codecs.coders.compiled import compiled
from smalti.codecs.coders.intervals import IntervalDecoder, IntervalEncoder
from smalti.codecs.coders.range_coder import check_end, decode_bit, decoder_state, encode_bit, encoder_state, finish
from smalti.codecs.coders.rans import Decoder, Encoder
from smalti.codecs.coders.tables import Table, quantize, table

Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """count symbols of an alphabet of size entries; "adaptive bits" have 2."""

    part: str  # "static table", "own tables", "adaptive bits", "packed indices"
    count: int
    size: int


@dataclass(frozen=True)
class Calls:
    """Both directions, to call again and again; `decode` reads what `encode` gives, which `size` measures in bytes."""

    encode: Callable[[], Any]
    decode: Callable[[Any], Any]
    size: Callable[[Any], int] = len


@functools.lru_cache
def zipf(size: int) -> Table:
    """A table in which symbol k has a frequency near 1 / (k + 1)."""
    return table(quantize(1 / np.arange(1, size + 1)))


@functools.lru_cache
def symbols(case: Case) -> Array:
    """int32 (count,), drawn from the table."""
    return np.random.default_rng(0).choice(case.size, case.count, p=zipf(case.size).frequencies / 65536).astype(np.int32)


@functools.lru_cache
def own_tables(case: Case) -> Array:
    """Running sums of a table for each symbol, int64 (count, size + 1): the one table, turned by another number of places each."""
    places = (np.arange(case.size) + 7 * np.arange(case.count)[:, None]) % case.size
    return np.concatenate((np.zeros((case.count, 1), np.int64), zipf(case.size).frequencies[places].cumsum(1)), axis=1)


def ideal(case: Case) -> float:
    """Bytes that the case's model asks for."""
    if case.part == "adaptive bits":
        return float(_adaptive_bits(symbols(case)) / 8)
    taken = symbols(case)
    if case.part == "own tables":
        taken = (taken + 7 * np.arange(case.count)) % case.size
    return float((16 - np.log2(zipf(case.size).frequencies[taken])).sum() / 8)


def our_rans(case: Case) -> Calls:
    model, values = zipf(case.size), symbols(case)

    def encode() -> bytes:
        coder = Encoder(case.count)
        coder.put(values, model)
        return coder.finish()

    def decode(data: bytes) -> Array:
        coder = Decoder(data, case.count)
        out = coder.take(case.count, model)
        coder.finish()
        return out

    return Calls(encode, decode)


def our_intervals(case: Case) -> Calls:
    starts, values = own_tables(case), symbols(case)

    def encode() -> bytes:
        coder = IntervalEncoder(fast=True)
        coder.put(values, starts)
        return coder.finish()

    def decode(data: bytes) -> Array:
        coder = IntervalDecoder(data, fast=True)
        out = coder.take(starts)
        coder.finish()
        return out

    return Calls(encode, decode)


def our_bits(case: Case) -> Calls:
    from smalti.codecs.coders import range_fast

    assert range_fast  # lets the kernels call the coder
    put, take, values = compiled(_put_bits), compiled(_take_bits), symbols(case)

    def encode() -> bytes:
        state, out = np.array(encoder_state()), np.zeros(2 * case.count, np.uint8)
        put(state, out, values)
        return finish(state, out)

    def decode(data: bytes) -> Array:
        state, held, out = np.array(decoder_state(data)), np.frombuffer(data, np.uint8), np.zeros(case.count, np.int32)
        take(state, held, out)
        check_end(state, held)
        return out

    return Calls(encode, decode)


def _put_bits(state: Array, out: Array, values: Array) -> None:
    p = 32768
    for i in range(len(values)):
        bit = int(values[i])
        encode_bit(state, out, bit, p)
        p += ((bit << 16) - bit - p) >> 5


def _take_bits(state: Array, data: Array, values: Array) -> None:
    p = 32768
    for i in range(len(values)):
        bit = decode_bit(state, data, p)
        values[i] = bit
        p += ((bit << 16) - bit - p) >> 5


def _adaptive_bits(values: Array) -> float:
    p, bits = 32768, 0.0
    for bit in values.tolist():
        bits -= np.log2((p if bit else 65536 - p) / 65536)
        p += ((bit << 16) - bit - p) >> 5
    return bits


def constriction_ans(case: Case) -> Calls:
    import constriction

    coder, values = constriction.stream.stack.AnsCoder, symbols(case)
    model = constriction.stream.model.Categorical(zipf(case.size).frequencies / np.float64(65536), perfect=False)

    def encode() -> Array:
        out = coder()
        out.encode_reverse(values, model)
        return out.get_compressed()

    return Calls(encode, lambda words: coder(words).decode(model, case.count), lambda words: words.nbytes)


def constriction_range(case: Case) -> Calls:
    import constriction

    queue, values = constriction.stream.queue, symbols(case)
    shared: tuple[Any, ...] = (constriction.stream.model.Categorical(zipf(case.size).frequencies / np.float64(65536), perfect=False),)
    counted: tuple[Any, ...] = (*shared, case.count)
    if case.part == "own tables":
        counted = shared = (
            constriction.stream.model.Categorical(perfect=False),
            np.diff(own_tables(case), axis=1) / np.float64(65536),
        )

    def encode() -> Array:
        out = queue.RangeEncoder()
        out.encode(values, *shared)
        return out.get_compressed()

    return Calls(encode, lambda words: queue.RangeDecoder(words).decode(*counted), lambda words: words.nbytes)


def packed(case: Case) -> bytes:
    """The indices in as few whole bits each as the alphabet allows."""
    width = (case.size - 1).bit_length()
    return np.packbits(symbols(case)[:, None] >> np.arange(width)[::-1] & 1).tobytes()


def xz(case: Case) -> Calls:
    return Calls(functools.partial(lzma.compress, packed(case), preset=9), lzma.decompress)


def zstd(case: Case) -> Calls:
    import zstandard

    return Calls(functools.partial(zstandard.ZstdCompressor(level=19).compress, packed(case)), zstandard.ZstdDecompressor().decompress)


def brotli(case: Case) -> Calls:
    import brotli

    return Calls(functools.partial(brotli.compress, packed(case), quality=11), brotli.decompress)
