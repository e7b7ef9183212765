"""The adaptive prior's loop over one stage: contexts, mixing, coding and learning, the same lines in both directions.

Everything is int64 arithmetic. The compiled function's `py_func` is the reference. Imported only where needed: numba loads half a second.
`FORMAT.md`, section "Adaptive mixing", says the same in words.
"""

from __future__ import annotations

import math

import numpy as np

from smalti.codecs.coders import range_fast  # noqa: F401  makes the coder's functions callable from here
from smalti.codecs.coders.compiled import compiled
from smalti.codecs.coders.range_coder import decode_bit, encode_bit, overrun
from smalti.codecs.priors.adaptive_tables import (
    CONFIDENCE,
    CONTEXTS,
    CORRECTIONS,
    DEPTHS,
    FAST_RATE,
    INPUTS,
    LARGEST_WEIGHT,
    LEAST,
    LIMIT,
    SLOTS,
    SLOW_RATE,
    SQUASH,
    STRETCH,
)

Array = np.ndarray
PRICE, ENCODE, DECODE = 0, 1, 2
LEFT, ABOVE, ABOVE_LEFT, ABOVE_RIGHT, BEFORE, BEFORE_RIGHT, BEFORE_BELOW, NOTHING = range(8)
PAST = ABOVE_LEFT  # the same place one step ago, which stands there from the second step on
# (without, with a stage before; both again where time has passed) x contexts x two of (neighbour, bits of its path)
LOOK = np.array(
    [
        [
            [[NOTHING, 0], [NOTHING, 0]],
            [[LEFT, 4], [NOTHING, 0]],
            [[ABOVE, 4], [NOTHING, 0]],
            [[LEFT, 7], [NOTHING, 0]],
            [[ABOVE, 7], [NOTHING, 0]],
            [[LEFT, 3], [ABOVE, 3]],
            [[ABOVE_RIGHT, 4], [NOTHING, 0]],
            [[ABOVE_LEFT, 4], [NOTHING, 0]],
        ],
        [
            [[NOTHING, 0], [NOTHING, 0]],
            [[LEFT, 4], [NOTHING, 0]],
            [[ABOVE, 4], [NOTHING, 0]],
            [[BEFORE, 10], [NOTHING, 0]],
            [[BEFORE, 6], [NOTHING, 0]],
            [[LEFT, 3], [ABOVE, 3]],
            [[BEFORE_RIGHT, 4], [NOTHING, 0]],
            [[BEFORE_BELOW, 4], [NOTHING, 0]],
        ],
        [
            [[NOTHING, 0], [NOTHING, 0]],
            [[LEFT, 4], [NOTHING, 0]],
            [[ABOVE, 4], [NOTHING, 0]],
            [[PAST, 10], [NOTHING, 0]],
            [[NOTHING, 0], [NOTHING, 0]],
            [[LEFT, 10], [NOTHING, 0]],
            [[ABOVE, 10], [NOTHING, 0]],
            [[LEFT, 3], [ABOVE, 3]],
        ],
        [
            [[NOTHING, 0], [NOTHING, 0]],
            [[LEFT, 4], [NOTHING, 0]],
            [[ABOVE, 4], [NOTHING, 0]],
            [[PAST, 10], [NOTHING, 0]],
            [[NOTHING, 0], [NOTHING, 0]],
            [[BEFORE, 10], [NOTHING, 0]],
            [[BEFORE, 10], [NOTHING, 0]],
            [[LEFT, 3], [ABOVE, 3]],
        ],
    ],
    np.int64,
)
# which of these foretell, in place of a node, whether the past's path goes on: 0, or 1 + which of the marks they see
COPY = np.array([[0] * 8, [0] * 8, [0, 0, 0, 0, 16, 0, 0, 0], [0, 0, 0, 0, 16, 0, 9, 0]], np.int64)


@compiled
def run(
    mode: int, state: Array, data: Array, kind: int, vocab: int, depth: int, shape: Array, paths: Array, earlier: Array,
    earlier_shape: Array, earlier_depth: int, slow: Array, fast: Array, seen: Array, by_depth: Array, by_agreement: Array,
    corrections: Array, timed_kind: int,
) -> float:  # fmt: skip
    """Price, encode or decode one stage, learning on the way; returns its bits where priced, and -1 where the bytes run out.

    state, data: of the range coder. shape: (3,) steps, rows, columns. paths: int32 (N,), -1 where absent; read, or filled when decoding.
    earlier: the stage before, of no size where there is none. timed_kind: of steps after the first where they follow each other in time,
    else -1. The rest: `adaptive_tables.Live`.
    """
    rows, columns = shape[1], shape[2]
    has_earlier, first_kind, area = 1 if len(earlier) else 0, kind, rows * columns
    said = has_earlier  # at the first step of a film a stage whose tokens are all alike, the motion of a still, says nothing
    if timed_kind >= 0 and has_earlier:
        said = 0
        for i in range(1, earlier_shape[1] * earlier_shape[2]):
            if earlier[i] != earlier[0]:
                said = 1
                break
    found = np.zeros(8, np.int64)
    depths = np.full(8, depth, np.int64)
    depths[BEFORE : BEFORE_BELOW + 1] = earlier_depth
    base, slots, inputs = np.zeros(CONTEXTS, np.int64), np.zeros(CONTEXTS, np.int64), np.zeros(INPUTS, np.int64)
    inputs[INPUTS - 1] = 256
    bits = 0.0
    for i in range(len(paths)):
        if paths[i] < 0:
            continue
        if mode == DECODE and i % 256 == 0 and overrun(state, data):
            return -1.0
        column = i % columns
        row = i // columns % rows
        step = i // area
        timed = 2 if timed_kind >= 0 and step > 0 else 0
        kind = timed_kind if timed else first_kind
        look, marks = timed + has_earlier if timed else said, 0
        found[:] = -1
        if column > 0:
            found[LEFT] = paths[i - 1]
        if row > 0:
            found[ABOVE] = paths[i - columns]
            if column + 1 < columns:
                found[ABOVE_RIGHT] = paths[i - columns + 1]
        elif rows == 1 and column > 1:
            found[ABOVE] = paths[i - 2]
        if step > 0:
            found[ABOVE_LEFT] = paths[i - columns * rows]
        elif row > 0 and column > 0:
            found[ABOVE_LEFT] = paths[i - columns - 1]
        if has_earlier:
            at_row = row * earlier_shape[1] // rows
            at_column = column * earlier_shape[2] // columns
            at = ((step * earlier_shape[0] // shape[0]) * earlier_shape[1] + at_row) * earlier_shape[2] + at_column
            found[BEFORE] = earlier[at]
            if at_column + 1 < earlier_shape[2]:
                found[BEFORE_RIGHT] = earlier[at + 1]
            if at_row + 1 < earlier_shape[1]:
                found[BEFORE_BELOW] = earlier[at + earlier_shape[2]]
            earlier_area = earlier_shape[1] * earlier_shape[2]
            if timed and at >= earlier_area and earlier[at] == earlier[at - earlier_area]:
                marks += 8
        if timed:
            if column > 0 and paths[i - 1] == paths[i - 1 - area]:
                marks += 1
            if row > 0 and paths[i - columns] == paths[i - columns - area]:
                marks += 2
            if row > 0 and column + 1 < columns and paths[i - columns + 1] == paths[i - columns + 1 - area]:
                marks += 4
        for k in range(CONTEXTS):
            h = kind * CONTEXTS + k + 1
            for t in range(2):
                which, length = LOOK[look, k, t, 0], LOOK[look, k, t, 1]
                value = found[which] >> max(depths[which] - length, 0) if found[which] >= 0 else np.int64(1) << length
                h = (h * 0x2C1B3C6D + value + 1) & 0xFFFFFFFF
                h ^= h >> 15
            if COPY[look, k]:
                h ^= ((marks & (COPY[look, k] - 1)) + 1) << 8
            base[k] = h
        path, node, low, bit = np.int64(paths[i]), np.int64(1), np.int64(0), np.int64(0)
        for d in range(depth):
            half = np.int64(1) << (depth - 1 - d)
            # entry j of the order has path floor(j 2^depth / vocab): a half without entries needs no decision
            middle = ((low + half) * vocab + (1 << depth) - 1) >> depth
            if (low * vocab + (1 << depth) - 1) >> depth == middle:
                bit = np.int64(1)
            elif middle == ((low + 2 * half) * vocab + (1 << depth) - 1) >> depth:
                bit = np.int64(0)
            else:
                agreement, follow = 0, np.int64(0)
                if timed:
                    if found[PAST] >= 0 and found[PAST] >> (depth - d) == low >> (depth - d):
                        agreement += 1
                        follow = 32 * (1 + (found[PAST] >> (depth - 1 - d) & 1)) + d
                    if marks & (8 if has_earlier else 1):
                        agreement += 2
                else:
                    if found[LEFT] >= 0 and found[LEFT] >> (depth - d) == low >> (depth - d):
                        agreement += 1
                    if found[ABOVE] >= 0 and found[ABOVE] >> (depth - d) == low >> (depth - d):
                        agreement += 2
                place = min(d, DEPTHS - 1)
                one = by_depth[kind * DEPTHS + place]
                two = by_agreement[(kind * 4 + agreement) * DEPTHS + place]
                sum_one, sum_two = 256 * one[INPUTS - 1], 256 * two[INPUTS - 1]
                for k in range(CONTEXTS):
                    place_in_tree = follow if COPY[look, k] else node
                    h = ((base[k] ^ (place_in_tree & 0xFFFFFFFF)) * 0x297A2D39) & 0xFFFFFFFF
                    h = (h ^ (h >> 15)) * 0x2C1B3C6D & 0xFFFFFFFF
                    slot = (h >> 12) % SLOTS
                    slots[k] = slot
                    trust = np.int64(CONFIDENCE[seen[k, slot]])
                    inputs[2 * k] = STRETCH[slow[k, slot] >> 10] * trust >> 8
                    inputs[2 * k + 1] = STRETCH[fast[k, slot] >> 4] * trust >> 8
                    sum_one += inputs[2 * k] * one[2 * k] + inputs[2 * k + 1] * one[2 * k + 1]
                    sum_two += inputs[2 * k] * two[2 * k] + inputs[2 * k + 1] * two[2 * k + 1]
                x_one, x_two = min(max(sum_one >> 16, -2047), 2047), min(max(sum_two >> 16, -2047), 2047)
                x = (x_one + x_two) >> 1
                curve = corrections[(kind * 1024 + node % 1024) % CORRECTIONS]
                left, part = (x + 2048) >> 7, (x + 2048) & 127
                corrected = (curve[left] * (128 - part) + curve[left + 1] * part) >> 7
                p = (3 * np.int64(SQUASH[x + 2048]) + corrected) >> 2
                p = min(max(p, LEAST), 65536 - LEAST)
                if mode == DECODE:
                    bit = np.int64(decode_bit(state, data, p))
                else:
                    bit = (path >> (depth - 1 - d)) & 1
                    if mode == ENCODE:
                        encode_bit(state, data, int(bit), p)
                    else:
                        bits += 16 - math.log2(p if bit else 65536 - p)
                near = left + (1 if part >= 64 else 0)
                curve[near] += (bit * 65535 - curve[near]) >> 6
                error_one, error_two = 3 * ((bit << 16) - SQUASH[x_one + 2048]), 3 * ((bit << 16) - SQUASH[x_two + 2048])
                for k in range(INPUTS):
                    one[k] = min(max(one[k] + ((inputs[k] * error_one + (1 << 17)) >> 18), -LARGEST_WEIGHT), LARGEST_WEIGHT)
                    two[k] = min(max(two[k] + ((inputs[k] * error_two + (1 << 17)) >> 18), -LARGEST_WEIGHT), LARGEST_WEIGHT)
                for k in range(CONTEXTS):
                    slot = slots[k]
                    n = seen[k, slot]
                    slow[k, slot] += (((bit << 22) - bit - slow[k, slot]) * np.int64(SLOW_RATE[n])) >> 16
                    fast[k, slot] += (((bit << 16) - bit - fast[k, slot]) * np.int64(FAST_RATE[n])) >> 16
                    if n < LIMIT:
                        seen[k, slot] = n + 1
            node = 2 * node + bit
            low += half * bit
        if mode == DECODE:
            paths[i] = low
    return bits
