"""The binary tree whose paths are tokens: similar entries share its upper nodes, so that they share what is learnt there.

Hierarchical 2-means over a codebook's vectors, balanced: all paths differ by at most one decision in length. It is made once, beside the
primed counters, and stored as an order of the entries; no reader computes it.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray
ROUNDS = 10
LARGEST = 1 << 16  # entries: above this, tokens are their own order


def depth_of(vocab: int) -> int:
    """Decisions of the longest path."""
    return (vocab - 1).bit_length()


def codes(vocab: int) -> Array:
    """int64 (vocab,): the path of the i-th entry in order, as depth_of(vocab) bits, first decision highest."""
    return (np.arange(vocab, dtype=np.int64) << depth_of(vocab)) // vocab


def order(vectors: Array) -> Array:
    """int32 (K,): the entries of vectors (K, D) from the tree's left to its right."""
    rows = np.asarray(vectors, np.float64)
    paths = codes(len(rows))
    done: list[int] = []
    todo = [(np.arange(len(rows)), 0, depth_of(len(rows)))]  # entries, and the node's first path and height
    while todo:
        entries, first, height = todo.pop()
        if len(entries) < 2:
            done += entries.tolist()
            continue
        start = int(np.searchsorted(paths, first))
        left = int(np.searchsorted(paths, first + (1 << (height - 1)))) - start
        ordered = entries if left in (0, len(entries)) else entries[_halves(rows[entries], left)]
        todo.append((ordered[left:], first + (1 << (height - 1)), height - 1))
        todo.append((ordered[:left], first, height - 1))
    return np.array(done, np.int32)


def _halves(rows: Array, left: int) -> Array:
    """Rows in an order whose first `left` are one cluster and whose others are the second one; starts from the widest direction."""
    centred = rows - rows.mean(0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    direction = direction * (1 if direction[np.argmax(np.abs(direction))] > 0 else -1)
    found = np.argsort(centred @ direction, kind="stable")
    for _ in range(ROUNDS):
        between = centred[found[left:]].mean(0) - centred[found[:left]].mean(0)
        again = np.argsort(centred @ between, kind="stable")
        if np.array_equal(again, found):
            break
        found = again
    return found
