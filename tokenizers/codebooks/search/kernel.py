"""The search on a CPU: every score is computed and forgotten in registers; what float32 can't tell apart is decided in float64.

Queries go in blocks of LANES, entries in tiles that stay in the first cache. Of each tile a query keeps its least score, so that where
two groups of entries are too near, only tiles that may hold the nearest entry are gone through again. Imported on use: numba takes
half a second to load.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from smalti.tokenizers.codebooks.search.lanes import GROUP, LANES, scan

BLOCKS = 8  # of queries that go through a tile one after the other
TILE_BYTES = 2**14
THREAD_FROM = 2**21  # products of a search from which starting a thread (50 microseconds) pays

Array = np.ndarray


def nearest(z: Tensor, table: Tensor) -> Tensor:
    """As `search.nearest`, on the CPU, by at most torch.get_num_threads() threads."""
    kind = torch.float64 if torch.float64 in (z.dtype, table.dtype) else torch.float32
    queries, rows = (values.detach().to(kind).contiguous().numpy() for values in (z, table))
    found = np.zeros(len(queries), np.int64)
    entries = np.empty((-(-len(rows) // GROUP) * GROUP, rows.shape[1]), np.float32)
    offsets = np.empty(len(entries), np.float32)
    centre = rows.mean(0, dtype=np.float64)
    bound = _prepare(rows, centre, entries, offsets)
    threads = max(1, min(torch.get_num_threads(), len(queries) // LANES, len(queries) * rows.size // THREAD_FROM))
    cuts = [len(queries) * i // threads for i in range(threads + 1)]
    parts = [(queries, rows, centre, entries, offsets, bound, found, cuts[i], cuts[i + 1]) for i in range(threads)]
    others = [threading.Thread(target=_search, args=part) for part in parts[1:]]
    for other in others:
        other.start()
    _search(*parts[0])
    for other in others:
        other.join()
    return torch.from_numpy(found)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    options = {"nogil": True, "fastmath": {"contract", "reassoc"}}  # sums in any order, a vector at a time; NaN and infinity stay
    try:
        return numba.njit(cache=True, **options)(function)  # beside the source, or else in the user's cache folder
    except RuntimeError:  # neither can be written
        return numba.njit(**options)(function)


@_compiled
def _prepare(table: Array, centre: Array, entries: Array, offsets: Array) -> float:
    """Fill the centred entries and half their squared lengths, in whole groups; returns the greatest length."""
    greatest = 0.0
    for k in range(len(entries)):
        square = 0.0
        for d in range(table.shape[1]):
            value = np.float32(table[k, d] - centre[d]) if k < len(table) else np.float32(0.0)
            entries[k, d] = value
            square += np.float64(value) * np.float64(value)
        offsets[k] = np.float32(0.5 * square) if k < len(table) else np.float32(np.inf)
        greatest = max(greatest, square)
    return np.sqrt(greatest)


@_compiled
def _search(
    queries: Array, table: Array, centre: Array, entries: Array, offsets: Array, bound: float, found: Array, start: int, stop: int
) -> None:
    """Fill found[start:stop], which must be 0."""
    dim = table.shape[1]
    groups = len(entries) // GROUP
    tile = max(8, TILE_BYTES // (GROUP * dim * 4))
    tiles = -(-groups // tile)
    z = np.zeros((BLOCKS, dim, LANES), np.float32)
    lengths = np.zeros((BLOCKS, LANES))
    best, second = np.empty((BLOCKS, LANES), np.float32), np.empty((BLOCKS, LANES), np.float32)
    group = np.empty((BLOCKS, LANES), np.int32)
    least = np.empty((tiles, BLOCKS, LANES), np.float32)
    other = np.empty(LANES, np.float32)
    place = np.empty(LANES, np.int32)
    for base in range(start, stop, BLOCKS * LANES):
        count = min(stop - base, BLOCKS * LANES)
        blocks = -(-count // LANES)
        for b in range(blocks):
            _load(queries[base + b * LANES : base + min((b + 1) * LANES, count)], centre, z[b], lengths[b])
        best[:] = np.inf
        second[:] = np.inf
        group[:] = 0
        for t in range(tiles):
            for b in range(blocks):
                scan(z[b], entries, offsets, t * tile, min(tile, groups - t * tile), least[t, b], other, place)
                for lane in range(LANES):
                    score, before = least[t, b, lane], best[b, lane]
                    if score < before:
                        best[b, lane], group[b, lane] = score, place[lane]
                        second[b, lane] = min(before, other[lane])
                    else:
                        second[b, lane] = min(score, second[b, lane])
        for n in range(count):
            b, lane = n // LANES, n % LANES
            query = queries[base + n]
            limit = _limit(np.float64(best[b, lane]), lengths[b, lane], bound, dim)
            if second[b, lane] > limit:
                first = group[b, lane] * GROUP
                found[base + n] = _decide(query, table, first, min(first + GROUP, len(table)), np.inf)[0]
                continue
            nearest, distance = 0, np.inf
            for t in range(tiles):
                if least[t, b, lane] > limit:
                    continue
                for k in range(t * tile * GROUP, min((t + 1) * tile * GROUP, len(table))):
                    score = offsets[k]
                    for d in range(dim):
                        score -= z[b, d, lane] * entries[k, d]
                    if not score > limit:
                        candidate, nearer = _decide(query, table, k, k + 1, distance)
                        if nearer < distance:
                            nearest, distance = candidate, nearer
            found[base + n] = nearest


@_compiled
def _load(queries: Array, centre: Array, z: Array, lengths: Array) -> None:
    """Centre up to LANES queries, each in its lane; what lies in the other lanes is never looked at."""
    lengths[:] = 0.0
    for d in range(queries.shape[1]):
        for lane in range(len(queries)):
            value = np.float32(queries[lane, d] - centre[d])
            z[d, lane] = value
            lengths[lane] += np.float64(value) * np.float64(value)
    for lane in range(len(queries)):
        lengths[lane] = np.sqrt(lengths[lane])


@_compiled
def _limit(best: float, length: float, bound: float, dim: int) -> float:
    """The greatest score in float32 that the nearest entry can have where the least one is `best`.

    A score |e|^2/2 - z.e is off by at most (D + 4) u (|z| |e| + |e|^2/2), u = 2^-24, two roundings of the centred vectors included, and
    an entry as near as the best is no longer than |z| + its distance. NaN, which nothing exceeds, where the scores overflowed.
    """
    radius = min(bound, length + np.sqrt(max(0.0, length * length + 2 * best)))
    return best + 1.5 * 2 * (dim + 4) * 2.0**-24 * radius * (length + 0.5 * radius)


@_compiled
def _decide(query: Array, table: Array, first: int, stop: int, below: float) -> tuple[int, float]:
    """The nearest of some entries in float64, the first of equal ones, and its squared distance where that lies below `below`."""
    nearest, distance = 0, below
    for k in range(first, stop):
        square = 0.0
        for d in range(len(query)):
            difference = np.float64(query[d]) - np.float64(table[k, d])
            square += difference * difference
        if square < distance:
            nearest, distance = k, square
    return nearest, distance
