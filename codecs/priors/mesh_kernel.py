"""The mesh prior's loop over faces: price, encode or decode them and their vertices, learning on the way; the same lines in all directions.

A walk goes from gate to gate (`mesh_gates.py`). At each it says: border, or the face's third vertex: the next border edge's on the right or
left, a new one, or another that is known; without gates a face starts anew. Everything between tokens and bytes is int64 arithmetic.
Imported only where needed: numba loads half a second. `FORMAT.md`, section "Mesh", says the same in words.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from smalti.codecs.coders.compiled import compiled
from smalti.codecs.coders.range_coder import overrun
from smalti.codecs.priors.mesh_gates import Gates, add_face, close, next_gate, start_face
from smalti.codecs.priors.mesh_links import code_gate, is_fresh, number, rank_of
from smalti.codecs.priors.mesh_memory import (
    AT,
    BORDER,
    HITS,
    LEFT,
    LENGTH,
    NEW,
    OTHER,
    RIGHT,
    START,
    Memory,
    remember_third,
    settle,
    took_step,
)
from smalti.codecs.priors.mesh_mixing import DECODE
from smalti.codecs.priors.mesh_spots import Around, code_spot
from smalti.codecs.priors.mesh_tables import Array, Live

DAMAGED, SHORT = -1, -2


@register_jitable
def passed_by(g: Gates, borders: int, first: int, second: int) -> bool:
    """Whether one of the last gates, called a border, leads to the face that comes next: no stream of ours says so."""
    for k in range(borders):
        i = g.waiting[len(g.waiting) - 1 - k]
        if g.end[i] == first and g.start[i] == second:
            return True
    return False


@register_jitable
def set_points(r: Around, pos: Array, a: int, b: int, c: int, right: int, left: int, middle: int) -> None:
    for k in range(5):
        v = (a, b, c, right, left)[k]
        r.there[k] = 1 if v >= 0 else 0
        for axis in range(3):
            r.points[k, axis] = np.int64(pos[v, axis]) if v >= 0 else middle


@compiled
def run(
    links: int, spots: int, state: Array, data: Array, bits: int, pos: Array, faces: Array, known: Live, g: Gates, m: Memory, r: Around,
    strains: Array, cost: Array,
) -> int:  # fmt: skip
    """Walk over all faces; 0, or DAMAGED or SHORT where a stream cannot be one of ours.

    links, spots: PRICE, ENCODE, DECODE or SKIP (known, or of no interest) for faces and for coordinates. state, data: of the range coder.
    pos: int32 (V, 3) below 2^bits. faces: int32 (F, 3), vertices numbered by first use. known: `mesh_tables.Live`. g, m, r: of nothing
    yet. strains: int32 (V,). cost: float64 (2,), grows by bits of faces and of coordinates where they are priced.
    """
    n, f, t, past, last_start = 0, 0, 0, 0, -1
    borders = 0  # gates that were called so since the last face
    vertices, top = len(pos), (1 << bits) - 1
    mode = DECODE if links == DECODE or spots == DECODE else 0
    reads = links == DECODE
    while f < len(faces):
        if mode == DECODE and t % 64 == 0 and overrun(state, data):
            return SHORT
        i = next_gate(g)
        if i < 0:
            past = 0
            if m.repeat[AT] < 0 and last_start >= 0:
                m.repeat[AT], m.repeat[LENGTH], m.repeat[HITS] = last_start, 0, 0
                m.signs[:] = 1
            last_start = t
            for corner in range(3):
                before = (n - 1) if corner == 0 else np.int64(faces[f, 0])
                second = before if corner < 2 else np.int64(faces[f, 1])
                v = n if n < vertices else np.int64(-1)
                fresh = 0 if reads else (1 if faces[f, corner] == n else 0)
                if n < vertices and n > 0:
                    fresh = is_fresh(links, state, data, known, m, r, corner, fresh, cost)
                elif n == 0:
                    fresh = 1
                else:
                    fresh = 0
                if fresh:
                    r.mates[:] = -1
                    set_points(r, pos, second, before, before, -1, -1, top >> 1)
                    strains[n] = code_spot(spots, state, data, known, m, pos, n, bits, r, 3 + corner, 8, cost)
                    v = n
                    n += 1
                else:
                    v = n - 1 - number(links, state, data, known, r, 2, n - 1 - faces[f, corner], n, cost)
                    if v < 0:
                        return DAMAGED
                if reads:
                    faces[f, corner] = v
                if fresh:
                    settle(m, pos, v, r.mates, top)
                took_step(m, pos, t, START if corner == 0 else (NEW if fresh else OTHER), v if fresh else -1, before if before >= 0 else v)
                t += 1
            a, b, c = np.int64(faces[f, 0]), np.int64(faces[f, 1]), np.int64(faces[f, 2])
            if reads and passed_by(g, borders, a, b):
                return DAMAGED
            borders = 0
            start_face(g, a, b, c)
            remember_third(m, vertices, a, b, c)
            remember_third(m, vertices, b, c, a)
            remember_third(m, vertices, c, a, b)
            f += 1
            continue
        a, b, c = np.int64(g.start[i]), np.int64(g.end[i]), np.int64(g.apex[i])
        close(g, i)
        right, left = np.int64(-1), np.int64(-1)
        if g.out_first[b] >= 0:
            right = np.int64(g.end[g.out_first[b]])
        if g.in_first[a] >= 0:
            left = np.int64(g.start[g.in_first[a]])
        v = np.int64(-1)
        if not reads and faces[f, 0] == b and faces[f, 1] == a:
            v = np.int64(faces[f, 2])
        v = code_gate(links, state, data, known, g, m, r, pos, a, b, c, right, left, n, vertices, len(faces) - f, past, v, cost)
        if v == -2:
            return DAMAGED
        if v == -1:
            g.borders[a] += 1
            g.borders[b] += 1
            g.waiting[len(g.waiting) - 1 - borders] = i  # the stack does not reach so far: this gate was on it
            borders += 1
            remember_third(m, vertices, b, a, -2)
            took_step(m, pos, t, BORDER, -1, 0)
            t += 1
            past = past << 2 & 0xFFFFF
            continue
        if reads:
            if passed_by(g, borders, b, a):
                return DAMAGED
            faces[f, 0], faces[f, 1], faces[f, 2] = b, a, v
        borders = 0
        kind = RIGHT if v == right else (LEFT if v == left else (NEW if v == n else OTHER))
        if v == n:
            set_points(r, pos, a, b, c, right, left, top >> 1)
            strain = np.int64(strains[a]) + strains[b] + strains[c]
            strains[n] = min(code_spot(spots, state, data, known, m, pos, n, bits, r, rank_of(0, pos, a, b, c), strain, cost), 4096)
            n += 1
            settle(m, pos, v, r.mates, top)
        took_step(m, pos, t, kind, v if kind == NEW else -1, a)
        t += 1
        past = (past << 2 | (1 if kind == RIGHT else (2 if kind == LEFT else 3))) & 0xFFFFF
        remember_third(m, vertices, b, a, v)
        remember_third(m, vertices, a, v, b)
        remember_third(m, vertices, v, b, a)
        add_face(g, a, b, v)
        f += 1
    return 0 if n == vertices else DAMAGED
