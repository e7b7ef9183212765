"""One decision of the mesh prior: probability mixed from contexts, coding, learning. Numba compiles it into `mesh_kernel.run`."""

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

from smalti.codecs.coders import range_fast  # noqa: F401  makes the coder's functions callable from here
from smalti.codecs.coders.range_coder import decode_bit, encode_bit
from smalti.codecs.priors.adaptive_tables import CONFIDENCE, FAST_RATE, LARGEST_WEIGHT, LEAST, LIMIT, SLOW_RATE, SQUASH, STRETCH
from smalti.codecs.priors.mesh_tables import Array, Live

PRICE, ENCODE, DECODE, SKIP = 0, 1, 2, 3


@register_jitable
def decide(
    mode: int, state: Array, data: Array, known: Live, slots: Array, inputs: Array, count: int, one: int, two: int, three: int,
    curve_row: int, bit: int, cost: Array, stage: int,
) -> int:  # fmt: skip
    """The bit, coded or read, under `count` contexts at `slots`; rows `one`, `two` and `three` of the weights mix them."""
    if mode == SKIP:
        return bit
    weights_one, weights_two, weights_three = known.weights[one], known.weights[two], known.weights[three]
    last = 2 * count
    inputs[last] = 256
    sum_one, sum_two, sum_three = 256 * weights_one[last], 256 * weights_two[last], 256 * weights_three[last]
    for k in range(count):
        slot = slots[k]
        trust = np.int64(CONFIDENCE[known.seen[slot]])
        inputs[2 * k] = STRETCH[known.slow[slot] >> 10] * trust >> 8
        inputs[2 * k + 1] = STRETCH[known.fast[slot] >> 4] * trust >> 8
        sum_one += inputs[2 * k] * weights_one[2 * k] + inputs[2 * k + 1] * weights_one[2 * k + 1]
        sum_two += inputs[2 * k] * weights_two[2 * k] + inputs[2 * k + 1] * weights_two[2 * k + 1]
        sum_three += inputs[2 * k] * weights_three[2 * k] + inputs[2 * k + 1] * weights_three[2 * k + 1]
    x_one, x_two = min(max(sum_one >> 16, -2047), 2047), min(max(sum_two >> 16, -2047), 2047)
    x_three = min(max(sum_three >> 16, -2047), 2047)
    x = (x_one + x_two + x_three) // 3
    curve = known.corrections[curve_row]
    left, part = (x + 2048) >> 7, (x + 2048) & 127
    corrected = (np.int64(curve[left]) * (128 - part) + np.int64(curve[left + 1]) * part) >> 7
    p = (3 * np.int64(SQUASH[x + 2048]) + corrected) >> 2
    p = min(max(p, LEAST), 65536 - LEAST)
    if mode == DECODE:
        bit = int(decode_bit(state, data, p))
    elif mode == ENCODE:
        encode_bit(state, data, int(bit), p)
    else:
        cost[stage] += 16 - math.log2(p if bit else 65536 - p)
    near = left + (1 if part >= 64 else 0)
    curve[near] += (bit * 65535 - curve[near]) >> 6
    error_one, error_two = 3 * ((bit << 16) - SQUASH[x_one + 2048]), 3 * ((bit << 16) - SQUASH[x_two + 2048])
    error_three = 3 * ((bit << 16) - SQUASH[x_three + 2048])
    for k in range(last + 1):
        weights_one[k] = min(max(weights_one[k] + ((inputs[k] * error_one + (1 << 17)) >> 18), -LARGEST_WEIGHT), LARGEST_WEIGHT)
        weights_two[k] = min(max(weights_two[k] + ((inputs[k] * error_two + (1 << 17)) >> 18), -LARGEST_WEIGHT), LARGEST_WEIGHT)
        weights_three[k] = min(max(weights_three[k] + ((inputs[k] * error_three + (1 << 17)) >> 18), -LARGEST_WEIGHT), LARGEST_WEIGHT)
    for k in range(count):
        slot = slots[k]
        n = known.seen[slot]
        known.slow[slot] += (((bit << 22) - bit - known.slow[slot]) * np.int64(SLOW_RATE[n])) >> 16
        known.fast[slot] += (((bit << 16) - bit - known.fast[slot]) * np.int64(FAST_RATE[n])) >> 16
        if n < LIMIT:
            known.seen[slot] = n + 1
    return bit
