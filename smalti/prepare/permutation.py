"""A random order of 0..n-1 that is computed place by place: no list, no history, the same on every machine.

A Feistel network over two halves of the bits is a one-to-one map of a power of four; places that it sends beyond n go through it again
until they land inside. `permute` is the plain form; `gathering.permuted` is the same compiled.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import UsageError

Array = np.ndarray
ROUNDS = 6
MOST = 2**60


@dataclass(frozen=True, eq=False)
class Order:
    """One order of n places. half: bits of a half. keys: int64 (ROUNDS,), below 2^32."""

    n: int
    half: int
    keys: Array


@functools.lru_cache(maxsize=64)
def order_of(n: int, *seed: int) -> Order:
    """The order that these numbers name. UsageError for n outside 1..2^60."""
    if not 1 <= n <= MOST:
        raise UsageError(f"an order has 1..{MOST} places, found {n}")
    digest = hashlib.sha256(repr((n, *(int(number) for number in seed))).encode()).digest()
    return Order(n, max(1, ((n - 1).bit_length() + 1) // 2), np.frombuffer(digest[: 4 * ROUNDS], "<u4").astype(np.int64))


def permute(places: Array, order: Order) -> Array:
    """int64: which number stands at each of these places (0..n-1) of the order."""
    found = places.astype(np.int64)
    outside = np.ones(len(found), bool)
    while outside.any():
        found[outside] = _once(found[outside], order)
        outside = found >= order.n
    return found


def _once(x: Array, order: Order) -> Array:
    mask = (1 << order.half) - 1
    left, right = x >> order.half, x & mask
    for key in order.keys.tolist():
        left, right = right, left ^ (_mixed(right + key) & mask)
    return (left << order.half) | right


def _mixed(x: Array) -> Array:
    """32 well stirred bits; products stay below 2^62."""
    x = x & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    x = ((x ^ (x >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    return x ^ (x >> 15)
