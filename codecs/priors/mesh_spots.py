"""Where a new vertex of a mesh lies: its coordinates bit by bit, each decision mixed from where several rules expect it.

A rule names a coordinate. While the bits narrow an interval down, its context is how far from the interval's middle that is, and how
often the rule was right of late. Numba compiles it into `mesh_kernel.run`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from smalti.codecs.priors.mesh_memory import AT, HITS, LENGTH, NEW, Memory, mirrored, spread
from smalti.codecs.priors.mesh_mixing import decide
from smalti.codecs.priors.mesh_tables import CLASSES, COARSE, PLACES, SPOTS, Array, Live

RULES = 18
(
    PARALLELOGRAM,
    AT_A,
    AT_B,
    AT_C,
    REPEATED,
    MIRRORED,
    MIRRORED_TWO,
    SAME_LINE,
    BY_RIGHT,
    BY_LEFT,
    MEAN,
    LAST,
    SNAPPED,
    BEYOND_A,
    BEYOND_B,
    ONWARDS,
    LINE_X,
    LINE_Y,
) = range(RULES)
RECENT = 48  # vertices that are searched for one in line
SNAP = 16  # how far from the parallelogram an occurring coordinate is looked for


class Around(NamedTuple):
    """Room for one vertex. points: int64 (5, 3), places of a, b, c, right, left; there: int64 (5,), 0 where missing. mates: int64
    (SYMMETRIES,), the vertices expected on the other sides, or -1. expected, slots, inputs: scratch."""

    points: Array
    there: Array
    mates: Array
    expected: Array
    trust: Array
    slots: Array
    inputs: Array
    near_key: Array
    near_vertex: Array
    flat: Array


def around() -> Around:
    """Nothing yet."""
    return Around(
        np.zeros((5, 3), np.int64), np.zeros(5, np.int64), np.full(5, -1, np.int64), np.zeros(RULES, np.int64), np.zeros(RULES, np.int64),
        np.zeros(64, np.int64), np.zeros(128, np.int64), np.zeros(80, np.int64), np.zeros(80, np.int64), np.zeros(3, np.int64),
    )  # fmt: skip


@register_jitable
def octave(x: int) -> int:
    """0 for 0, else 1 + floor(log2 x), at most 7."""
    out = 0
    while x > 0 and out < 7:
        x >>= 1
        out += 1
    return out


@register_jitable
def best_mates(m: Memory, r: Around) -> tuple[int, int]:
    """The two symmetries of most luck among those that foretell something, or -1."""
    first, second = -1, -1
    for op in range(len(r.mates)):
        if r.mates[op] >= 0:
            if first < 0 or m.luck[op] > m.luck[first]:
                first, second = op, first
            elif second < 0 or m.luck[op] > m.luck[second]:
                second = op
    return first, second


@register_jitable
def snapped(m: Memory, axis: int, value: int, top: int) -> int:
    """The nearest coordinate that occurs, or -1."""
    for d in range(SNAP):
        if value - d >= 0 and m.tree[axis, value - d + top + 1] > 0:
            return value - d
        if value + d <= top and m.tree[axis, value + d + top + 1] > 0:
            return value + d
    return -1


@register_jitable
def expect(m: Memory, pos: Array, r: Around, axis: int, n: int, value_x: int, value_y: int, top: int, one: int, two: int) -> None:
    """Fill `expected` and `trust` (0: nothing is known, up to 7) for one coordinate; those before it are known."""
    a, b, c = r.points[0, axis], r.points[1, axis], r.points[2, axis]
    e, t = r.expected, r.trust
    flat = min(max(a + b - c, 0), top)
    e[PARALLELOGRAM] = flat
    e[AT_A], e[AT_B], e[AT_C] = a, b, c
    right = min(max(a + r.points[3, axis] - b, 0), top) if r.there[3] else flat
    left = min(max(b + r.points[4, axis] - a, 0), top) if r.there[4] else flat
    e[BY_RIGHT], e[BY_LEFT] = right, left
    e[MEAN] = (2 * flat + right + left) >> 2
    e[LAST] = np.int64(pos[n - 1, axis]) if n else top >> 1
    e[REPEATED], t[REPEATED] = flat, 0
    at = m.repeat[AT]
    if at >= 0 and m.steps[at] == NEW and m.step_vertex[at] >= 0:
        w = np.int64(m.step_vertex[at])
        d = np.int64(pos[w, axis]) - pos[m.vertex_from[w], axis]
        e[REPEATED] = min(max(a + m.signs[axis] * d, 0), top)
        t[REPEATED] = 1 + (m.repeat[HITS] & 3) + (3 if m.repeat[LENGTH] > 12 else 0)
    for k in range(2):
        op = one if k == 0 else two
        e[MIRRORED + k], t[MIRRORED + k] = flat, 0
        if op >= 0:
            e[MIRRORED + k] = mirrored(m, op, axis, np.int64(pos[r.mates[op], axis]), top)
            luck = m.luck[op]
            t[MIRRORED + k] = 1 + (luck & 1) * 2 + (luck >> 1 & 1) + (3 if luck == 15 else 0)
    e[SAME_LINE], t[SAME_LINE] = flat, 0
    v = np.int64(-1)
    if axis == 1:
        v = np.int64(m.by_one[value_x])
    elif axis == 2:
        v = np.int64(m.by_two[spread(value_x * 1024 + value_y) & 0xFFFF])
        if v >= 0 and (pos[v, 0] != value_x or pos[v, 1] != value_y):
            v = np.int64(-1)
    if v >= 0:
        e[SAME_LINE], t[SAME_LINE] = np.int64(pos[v, axis]), axis
    e[BEYOND_A], e[BEYOND_B] = min(max(2 * a - c, 0), top), min(max(2 * b - c, 0), top)
    e[ONWARDS] = min(max(2 * np.int64(pos[n - 1, axis]) - pos[n - 2, axis], 0), top) if n > 1 else e[LAST]
    e[LINE_X], t[LINE_X], e[LINE_Y], t[LINE_Y] = flat, 0, flat, 0
    if axis > 0:
        by_x, by_y = 1 << 20, 1 << 20
        for u in range(n - 1, max(n - RECENT, 0) - 1, -1):
            d = abs(pos[u, axis] - flat)
            if pos[u, 0] == value_x and d < by_x:
                by_x = d
                e[LINE_X], t[LINE_X] = np.int64(pos[u, axis]), axis + (2 if u > n - 8 else 0)
            if axis == 2 and pos[u, 1] == value_y and d < by_y:
                by_y = d
                e[LINE_Y], t[LINE_Y] = np.int64(pos[u, axis]), 1 + (1 if u > n - 8 else 0)
    near = snapped(m, axis, flat, top)
    e[SNAPPED], t[SNAPPED] = (near, 1 + octave(abs(near - flat))) if near >= 0 else (flat, 0)


@register_jitable
def code_spot(
    mode: int, state: Array, data: Array, known: Live, m: Memory, pos: Array, n: int, bits: int, r: Around, kind: int, strain: int,
    cost: Array,
) -> int:  # fmt: skip
    """Code or read the place of vertex n. kind: of its gate, 0..5. strain: how wrong parallelograms were near by. Returns how wrong."""
    top = (1 << bits) - 1
    one, two = best_mates(m, r)
    wrong = 0
    exact, at_a, at_b = 0, 0, 0
    found_x, found_y = np.int64(0), np.int64(0)
    for axis in range(3):
        expect(m, pos, r, axis, n, found_x, found_y, top, one, two)
        e, t = r.expected, r.trust
        a, b, c = e[AT_A], e[AT_B], e[AT_C]
        equal = (1 if a == b else 0) + (2 if a == c else 0) + (4 if b == c else 0)
        tense = octave((strain + 3 * wrong) >> 1)
        whole = axis if axis < 2 else 1 + exact  # how the coordinates before came out: 0 none yet, 1..3
        t[PARALLELOGRAM] = tense
        t[AT_A] = equal if equal < 4 else (4 if equal == 4 else 5)
        t[AT_B] = t[AT_A]
        t[AT_C] = min(whole, 3) + 4 * (equal & 1)
        t[BY_RIGHT] = min(tense, 3) + 4 * r.there[3]
        t[BY_LEFT] = min(tense, 3) + 4 * r.there[4]
        t[MEAN] = tense
        t[LAST] = axis + 3 * (1 if kind > 2 else 0)
        t[BEYOND_A], t[BEYOND_B], t[ONWARDS] = kind, kind, min(tense, 7)
        value = np.int64(pos[n, axis])
        low = np.int64(0)
        for depth in range(bits):
            level = bits - 1 - depth
            half = np.int64(1) << level
            middle = low + half
            slots = r.slots
            for k in range(RULES):
                slots[k] = k * PLACES + (t[k] * 10 + level) * 44 + CLASSES[e[k] - middle + 2048]
            flat, on_a, on_b = COARSE[e[0] - middle + 2048], COARSE[a - middle + 2048], COARSE[b - middle + 2048]
            on_c = COARSE[c - middle + 2048]
            mirror, repeat, snap = COARSE[e[5] - middle + 2048], COARSE[e[4] - middle + 2048], COARSE[e[12] - middle + 2048]
            line = COARSE[e[7] - middle + 2048]
            node = low + top + 1 >> level + 1
            zeros, ones = np.int64(m.tree[axis, 2 * node]), np.int64(m.tree[axis, 2 * node + 1])
            k = RULES
            few = min(octave(zeros), 5) * 6 + min(octave(ones), 5)
            slots[k] = k * PLACES + (few * 10 + level) * 8 + flat // 3 + 4 * (1 if t[SAME_LINE] else 0)
            slots[k + 1] = (k + 1) * PLACES + (flat * 12 + on_a) * 10 + level
            slots[k + 2] = (k + 2) * PLACES + (flat * 12 + on_b) * 10 + level
            slots[k + 3] = (k + 3) * PLACES + (on_a * 12 + on_b) * 10 + level
            slots[k + 4] = (k + 4) * PLACES + (flat * 12 + mirror) * 10 + level + (1440 if t[5] > 3 else 0)
            slots[k + 5] = (k + 5) * PLACES + (flat * 12 + repeat) * 10 + level + (1440 if t[4] > 3 else 0)
            slots[k + 6] = (k + 6) * PLACES + (flat * 12 + snap) * 10 + level + (1440 if t[12] > 1 else 0)
            slots[k + 7] = (k + 7) * PLACES + CLASSES[e[0] - middle + 2048] * 10 + level + 440 * (kind % 3 * 3 + axis)
            slots[k + 8] = (k + 8) * PLACES + (on_a * 12 + on_c) * 10 + level + 1440 * (1 if whole > 1 else 0)
            slots[k + 9] = (k + 9) * PLACES + (spread(axis * 4096 + (node if node < 128 else 0) * 16 + level) & 4095)
            slots[k + 10] = (k + 10) * PLACES + (few * 12 + line) * 9 + min(level, 8)
            slots[k + 11] = (k + 11) * PLACES + CLASSES[a - middle + 2048] * 10 + level + 440 * (at_a + 3 * at_b)
            slots[k + 12] = (k + 12) * PLACES + CLASSES[b - middle + 2048] * 10 + level + 440 * (at_a + 3 * at_b)
            row_one = level * 12 + axis * 4 + (2 if t[MIRRORED] > 3 else 0) + (1 if t[REPEATED] > 3 else 0)
            row_two = 128 + tense * 18 + kind * 3 + min(few // 6, 1) + min(few % 6, 1)
            row_three = (
                520 + (((whole * 3 + at_a) * 3 + at_b) * 2 + (1 if t[SAME_LINE] else 0)) * 3 + (0 if level > 5 else (1 if level > 2 else 2))
            )
            curve = (level * 44 + CLASSES[e[0] - middle + 2048]) * 2 + (1 if t[MIRRORED] > 3 else 0)
            bit = decide(mode, state, data, known, slots, r.inputs, SPOTS, row_one, row_two, row_three, curve, value >> level & 1, cost, 1)
            low += half * bit
        if axis == 0:
            found_x = low
        elif axis == 1:
            found_y = low
        pos[n, axis] = low
        off = abs(low - e[PARALLELOGRAM])
        wrong += off
        if axis == 0:
            exact = 1 if off == 0 else 0
        elif off == 0:
            exact = min(exact + 1, 2)
        at_a = min(at_a + (1 if low == a else 0), 2)
        at_b = min(at_b + (1 if low == b else 0), 2)
    return wrong
