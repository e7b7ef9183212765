"""What the mesh prior remembers of the mesh so far: which coordinates occur, which vertices mirror each other, where steps repeat.

Nothing here decides what is coded, only what is expected; tables of bounded size may forget. Numba compiles it into `mesh_kernel.run`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

Array = np.ndarray
BORDER, RIGHT, LEFT, NEW, OTHER, START = range(6)  # steps of a walk
SYMMETRIES = 5  # mirrors in x, y, z, and half turns about y and z
FLIPS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 0]], np.int64)
MEMORY = 1 << 20  # entries of a table at most
CONTEXT = 4  # steps that must agree before a repetition is tried
AT, LENGTH, HITS = 0, 1, 2  # of a repetition: next step of what is repeated or -1; steps that agreed; last positions, a bit each


class Memory(NamedTuple):
    """tree: int32 (3, 2^(bits + 1)), how often coordinates below a node occur. by_one, by_two: last vertex with that x, that (x, y).
    where: vertex by hashed position. third: by hashed half-edge key and vertex, -2 for a border. mates: int32 (SYMMETRIES, V), the vertex
    on the other side or -1. luck: int64 (SYMMETRIES,), the last outcomes, a bit each. shift: int64 (3, 3), how often mirrored places
    differ by -1, 0, 1. steps, step_vertex, step_sum: int32 (S,), kinds of steps, new vertices, hashes. vertex_from: int32 (V,), the
    neighbour that a vertex is told from. seen_at: int32, step by hash. repeat: int64 (3,). signs: int64 (3,), of a repetition's axes."""

    tree: Array
    by_one: Array
    by_two: Array
    where: Array
    third: Array
    third_key: Array
    mates: Array
    luck: Array
    shift: Array
    steps: Array
    step_vertex: Array
    step_sum: Array
    vertex_from: Array
    seen_at: Array
    repeat: Array
    signs: Array


def _size(count: int) -> int:
    return min(MEMORY, 1 << max(4, int(count - 1).bit_length() + 1))


def memory(vertices: int, faces: int, bits: int) -> Memory:
    """Of nothing yet."""
    steps = 6 * faces  # a start has 3 and up to 3 borders
    half_edges = _size(4 * faces)
    return Memory(
        np.zeros((3, 2 << bits), np.int32),
        np.full(1 << bits, -1, np.int32),
        np.full(1 << 16, -1, np.int32),
        np.full(_size(2 * vertices), -1, np.int32),
        np.full(half_edges, -1, np.int32),
        np.full(half_edges, -1, np.int64),
        np.full((SYMMETRIES, vertices), -1, np.int32),
        np.zeros(SYMMETRIES, np.int64),
        np.zeros((3, 3), np.int64),
        np.zeros(steps, np.int8),
        np.full(steps, -1, np.int32),
        np.zeros(steps, np.int32),
        np.zeros(vertices, np.int32),
        np.full(_size(2 * faces), -1, np.int32),
        np.array([-1, 0, 0]),
        np.ones(3, np.int64),
    )


@register_jitable
def spread(x: int) -> int:
    """A hash below 2^31."""
    x = (x ^ (x >> 15)) * 0x2C1B3C6D & 0xFFFFFFFF
    x = (x ^ (x >> 12)) * 0x297A2D39 & 0xFFFFFFFF
    return (x ^ (x >> 15)) >> 1


@register_jitable
def place_of(x: int, y: int, z: int, size: int) -> int:
    return spread((x * 0x9E3779B1 + y * 0x85EBCA77 + z * 0xC2B2AE3D) & 0xFFFFFFFF) & (size - 1)


@register_jitable
def key_place(key: int, size: int) -> int:
    return spread((key ^ (key >> 31)) & 0xFFFFFFFF) & (size - 1)


@register_jitable
def remember_third(m: Memory, vertices: int, p: int, q: int, v: int) -> None:
    """The half-edge (p, q) belongs to a face whose third vertex is v, or to none: -2."""
    key = np.int64(p) * vertices + q
    place = key_place(key, len(m.third))
    m.third[place] = v
    m.third_key[place] = key


@register_jitable
def recall_third(m: Memory, vertices: int, p: int, q: int) -> int:
    """What `remember_third` was told; -1 if nothing."""
    key = np.int64(p) * vertices + q
    place = key_place(key, len(m.third))
    return int(m.third[place]) if m.third_key[place] == key else -1


@register_jitable
def find_at(m: Memory, pos: Array, x: int, y: int, z: int) -> int:
    """A vertex at that place, or -1."""
    v = int(m.where[place_of(x, y, z, len(m.where))])
    if v >= 0 and pos[v, 0] == x and pos[v, 1] == y and pos[v, 2] == z:
        return v
    return -1


@register_jitable
def usual_shift(m: Memory, axis: int) -> int:
    best = 1
    for k in (0, 2):
        if m.shift[axis, k] > m.shift[axis, best]:
            best = k
    return best - 1


@register_jitable
def mirrored(m: Memory, op: int, axis: int, value: int, top: int) -> int:
    """Where a coordinate lies on the other side."""
    if FLIPS[op, axis] == 0:
        return value
    return min(max(top - value + usual_shift(m, axis), 0), top)


@register_jitable
def settle(m: Memory, pos: Array, v: int, expected: Array, top: int) -> None:
    """Remember a vertex that now has its place; expected: int64 (SYMMETRIES,), whom it was foretold to mirror, or -1."""
    x, y, z = np.int64(pos[v, 0]), np.int64(pos[v, 1]), np.int64(pos[v, 2])
    for axis in range(3):
        node = np.int64(pos[v, axis]) + top + 1
        while node > 0:
            m.tree[axis, node] += 1
            node >>= 1
    m.by_one[x] = v
    m.by_two[spread(x * 1024 + y) & 0xFFFF] = v
    m.where[place_of(x, y, z, len(m.where))] = v
    for op in range(SYMMETRIES):
        w = np.int64(-1)
        if expected[op] >= 0:
            e = expected[op]
            near = True
            for axis in range(3):
                d = pos[e, axis] + pos[v, axis] - top if FLIPS[op, axis] else pos[e, axis] - pos[v, axis]
                near = near and -2 <= d <= 2
            m.luck[op] = (m.luck[op] * 2 + (1 if near else 0)) & 15
            if near:
                w = e
        if w < 0:
            for k in range(9):
                first, second = (0, -1, 1)[k % 3], (0, -1, 1)[k // 3]
                if w < 0 and (op > 2 or second == 0):
                    fx = top - x + first if FLIPS[op, 0] else x
                    fy = top - y + first if FLIPS[op, 1] else y
                    if op == 4:
                        fy = top - y + second
                    fz = top - z + (first if op == 2 else second) if FLIPS[op, 2] else z
                    w = find_at(m, pos, fx, fy, fz)
        if w >= 0:
            m.mates[op, v] = w
            m.mates[op, w] = v
            for axis in range(3):
                if FLIPS[op, axis]:
                    d = pos[w, axis] + pos[v, axis] - top
                    if -1 <= d <= 1 and op < 3:
                        m.shift[axis, d + 1] += 1


@register_jitable
def took_step(m: Memory, pos: Array, t: int, kind: int, v: int, told_from: int) -> None:
    """Remember step t: kind, its new vertex or -1, and the neighbour that vertex is told from."""
    m.steps[t] = kind
    m.step_vertex[t] = v
    total = np.int64(kind)
    if v >= 0:
        m.vertex_from[v] = told_from
        for axis in range(3):
            d = abs(np.int64(pos[v, axis]) - pos[told_from, axis])
            total = total * 1031 + ((d + 2) >> 2) + 1
    m.step_sum[t] = spread(total & 0xFFFFFFFF)
    at = m.repeat[AT]
    if at >= 0:
        if m.steps[at] == kind:
            w = m.step_vertex[at]
            if v >= 0 and w >= 0:
                near = True
                for axis in range(3):
                    d = np.int64(pos[v, axis]) - pos[told_from, axis]
                    e = np.int64(pos[w, axis]) - pos[m.vertex_from[w], axis]
                    near = near and -1 <= abs(d) - abs(e) <= 1
                    if abs(d) > 1 and abs(e) > 1:
                        m.signs[axis] = 1 if (d > 0) == (e > 0) else -1
                m.repeat[HITS] = (m.repeat[HITS] * 2 + (1 if near else 0)) & 7
            m.repeat[AT] = at + 1
            m.repeat[LENGTH] += 1
        else:
            m.repeat[AT] = -1
    if kind == START and m.repeat[AT] < 0:
        return
    if t >= CONTEXT:
        h = np.int64(0)
        for k in range(CONTEXT):
            h = (h * 0x2C1B3C6D + m.step_sum[t - k]) & 0xFFFFFFFF
        place = spread(h) & (len(m.seen_at) - 1)
        if m.repeat[AT] < 0 or m.repeat[HITS] & 3 == 0:
            _try_repeat(m, pos, t, np.int64(m.seen_at[place]))
        m.seen_at[place] = t


@register_jitable
def _try_repeat(m: Memory, pos: Array, t: int, at: int) -> None:
    if at < 0:
        return
    length = 0
    vertices = 0
    while length < 16 and length <= at and m.step_sum[at - length] == m.step_sum[t - length]:
        v, w = m.step_vertex[t - length], m.step_vertex[at - length]
        if v >= 0 and w >= 0:
            for axis in range(3):
                d = np.int64(pos[v, axis]) - pos[m.vertex_from[v], axis]
                e = np.int64(pos[w, axis]) - pos[m.vertex_from[w], axis]
                if vertices == 0:
                    m.signs[axis] = 1
                if abs(d) > 1 and abs(e) > 1 and vertices < 3:
                    m.signs[axis] = 1 if (d > 0) == (e > 0) else -1
            vertices += 1
        length += 1
    if length >= CONTEXT and vertices > 0:
        m.repeat[AT] = at + 1
        m.repeat[LENGTH] = length
        m.repeat[HITS] = 3
