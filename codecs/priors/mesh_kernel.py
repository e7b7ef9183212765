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
from smalti.codecs.priors.mesh_gates import PATIENCE, Gates, add_face, close, next_gate, start_face
from smalti.codecs.priors.mesh_memory import (
    AT,
    BORDER,
    FLIPS,
    HITS,
    LEFT,
    LENGTH,
    NEW,
    OTHER,
    RIGHT,
    START,
    SYMMETRIES,
    Memory,
    mirrored,
    recall_third,
    remember_third,
    settle,
    spread,
    took_step,
)
from smalti.codecs.priors.mesh_mixing import DECODE, SKIP, decide
from smalti.codecs.priors.mesh_spots import Around, best_mates, code_spot, octave
from smalti.codecs.priors.mesh_tables import INPUTS, LINKS, PLACES, SPOTS, Array, Live

IS_BORDER, IS_RIGHT, IS_LEFT, IS_NEW, IS_KNOWN, NUMBER = range(6)
DAMAGED, SHORT = -1, -2
_FIRST = SPOTS * PLACES  # of the contexts about faces
_NUMBERS = _FIRST + LINKS * PLACES
_ROW, _CURVE = 300, 880


@register_jitable
def steep(pos: Array, o: int, p: int, q: int) -> int:
    """The angle at o between p and q in eighths of its cosine, 0 (flat open) to 8 (closed), 9 where a side has no length."""
    dot, pp, qq = np.int64(0), np.int64(0), np.int64(0)
    for axis in range(3):
        x, y = np.int64(pos[p, axis]) - pos[o, axis], np.int64(pos[q, axis]) - pos[o, axis]
        dot += x * y
        pp += x * x
        qq += y * y
    if pp == 0 or qq == 0:
        return 9
    square = (64 * dot // pp) * dot // qq  # 64 cos^2
    if square == 0:
        return 4
    size = 1 if square < 9 else (2 if square < 25 else (3 if square < 49 else 4))
    return 4 + size if dot > 0 else 4 - size


@register_jitable
def apart(pos: Array, v: int, flat: Array) -> int:
    return abs(pos[v, 0] - flat[0]) + abs(pos[v, 1] - flat[1]) + abs(pos[v, 2] - flat[2])


@register_jitable
def rank_of(kind: int, pos: Array, a: int, b: int, c: int) -> int:
    """How the gate's edge stands among the three of its face: 0 the longest alone, 1 between, 2 the shortest."""
    if kind > 2:
        return kind
    x, y, z = np.int64(0), np.int64(0), np.int64(0)
    for axis in range(3):
        x += (np.int64(pos[a, axis]) - pos[b, axis]) ** 2
        y += (np.int64(pos[b, axis]) - pos[c, axis]) ** 2
        z += (np.int64(pos[c, axis]) - pos[a, axis]) ** 2
    return 0 if x > max(y, z) else (2 if x <= min(y, z) else 1)


@register_jitable
def number(mode: int, state: Array, data: Array, known: Live, r: Around, which: int, value: int, count: int, cost: Array) -> int:
    """A number below `count`, from its highest bit on: which context set, 0..3. May read `count` and more."""
    length = 0
    while count - 1 >> length:
        length += 1
    out = np.int64(0)
    for k in range(length):
        level = length - 1 - k
        top = 1 if out == 0 else 0
        r.slots[0] = _NUMBERS + which * 1024 + level * 2 + top
        r.slots[1] = _NUMBERS + which * 1024 + 64 + (length * 32 + level) % 480 * 2 + top
        bit = decide(mode, state, data, known, r.slots, r.inputs, 2, _ROW + 200 + which, _ROW + 204, _ROW + 204, _CURVE + 140 + which, value >> level & 1, cost, 0)
        out = 2 * out + bit
    return out


@register_jitable
def other_vertex(mode: int, state: Array, data: Array, known: Live, g: Gates, pos: Array, r: Around, n: int, v: int, flat: Array, cost: Array) -> int:
    """A known vertex far from the gate: its rank by distance among the starts of the gates that opened last, or else its number."""
    total = g.count[0]
    seen = 0
    rank = np.int64(-1)
    vertices = r.near_vertex
    for k in range(4 * PATIENCE):
        i = total - 1 - k
        if i < 0 or seen == PATIENCE:
            break
        if g.open[i]:
            w = np.int64(g.start[i])
            key = apart(pos, w, flat) * 256 + seen
            j = seen
            while j > 0 and r.near_key[j - 1] > key:
                r.near_key[j] = r.near_key[j - 1]
                vertices[j] = vertices[j - 1]
                j -= 1
            r.near_key[j] = key
            vertices[j] = w
            seen += 1
    for j in range(seen):
        if rank < 0 and vertices[j] == v:
            rank = np.int64(j)
    found = number(mode, state, data, known, r, 0, rank if rank >= 0 else np.int64(seen), seen + 1, cost)
    if found < seen:
        return np.int64(vertices[found])
    if found > seen:
        return np.int64(-1)
    found = number(mode, state, data, known, r, 1, n - 1 - v, n, cost)
    return n - 1 - found


@register_jitable
def foretell(m: Memory, r: Around, a: int, b: int, right: int, left: int, vertices: int) -> tuple[int, int]:
    """Fill `mates` for the gate (a, b); what the two luckiest symmetries expect: 0 nothing, 1 border, 2 new, 3 right, 4 left, 5 other."""
    best, second = 0, 0
    best_luck, second_luck = -1, -1
    for op in range(SYMMETRIES):
        r.mates[op] = -1
        p, q = np.int64(m.mates[op, a]), np.int64(m.mates[op, b])
        if p < 0 or q < 0:
            continue
        v = recall_third(m, vertices, p, q) if op < 3 else recall_third(m, vertices, q, p)
        if v == -1:
            continue
        what = 1
        if v >= 0:
            r.mates[op] = v
            w = m.mates[op, v]
            what = 2 if w < 0 else (3 if w == right else (4 if w == left else 5))
        luck = m.luck[op]
        if luck > best_luck:
            second, second_luck = best, best_luck
            best, best_luck = what, luck
        elif luck > second_luck:
            second, second_luck = what, luck
    return best + 6 * octave(best_luck + 1), second


@register_jitable
def code_gate(
    mode: int, state: Array, data: Array, known: Live, g: Gates, m: Memory, r: Around, pos: Array, a: int, b: int, c: int, right: int,
    left: int, n: int, vertices: int, left_faces: int, past: int, v: int, cost: Array,
) -> int:  # fmt: skip
    """The third vertex of the face behind the gate, n for a new one, -1 for a border; -2 where a stream names none."""
    top = 1023
    best, second = foretell(m, r, a, b, right, left, vertices)
    for axis in range(3):
        r.flat[axis] = np.int64(pos[a, axis]) + pos[b, axis] - pos[c, axis]
    at = m.repeat[AT]
    again = (1 + np.int64(m.steps[at])) if at >= 0 else 0
    sure = again * 8 + (m.repeat[HITS] & 1) + 2 * min(m.repeat[LENGTH] >> 2, 3)
    fa, fb = min(np.int64(g.faces[a]), 11), min(np.int64(g.faces[b]), 11)
    ba, bb = min(np.int64(g.borders[a]), 2), min(np.int64(g.borders[b]), 2)
    rank = rank_of(0, pos, a, b, c)
    angle_right = steep(pos, b, a, right) if right >= 0 else 10
    angle_left = steep(pos, a, b, left) if left >= 0 else 10
    edge = abs(np.int64(pos[a, 0]) - pos[b, 0]) + abs(np.int64(pos[a, 1]) - pos[b, 1]) + abs(np.int64(pos[a, 2]) - pos[b, 2])
    far_right = octave(8 * apart(pos, right, r.flat) // (edge + 1)) if right >= 0 else 7
    far_left = octave(8 * apart(pos, left, r.flat) // (edge + 1)) if left >= 0 else 7
    same = 2 if right >= 0 and right == left else (1 if right >= 0 and left >= 0 else 0)
    unseen = vertices - n
    crowd = min(octave(unseen * 4 // (left_faces + 1)), 5) if unseen else 6
    apex_angle = steep(pos, c, a, b)
    right_faces = min(np.int64(g.faces[right]), 7) if right >= 0 else 8
    left_faces_at = min(np.int64(g.faces[left]), 7) if left >= 0 else 8
    slots = r.slots
    for question in range(4):
        bit = 0
        if question == IS_BORDER:
            bit = 1 if v == -1 else 0
        elif question == IS_RIGHT:
            if right < 0:
                continue
            bit = 1 if v == right else 0
        elif question == IS_LEFT:
            if left < 0 or left == right:
                continue
            bit = 1 if v == left else 0
        else:
            if n == vertices:
                continue
            bit = 1 if v == n else 0
        q = question
        slots[0] = q + 4 * (past & 1023)
        slots[1] = q + 4 * ((fa * 12 + fb) * 7 + (past & 3))
        slots[2] = q + 4 * (((fa * 3 + ba) * 3 + bb) * 8 + (past & 7))
        slots[3] = q + 4 * (((fb * 3 + bb) * 3 + ba) * 8 + (past & 7))
        slots[4] = q + 4 * ((angle_right * 12 + fb) * 5 + min(rank * 2, 4))
        slots[5] = q + 4 * ((angle_left * 12 + fa) * 5 + min(rank * 2, 4))
        slots[6] = q + 4 * ((angle_right * 11 + angle_left) * 8 + (past & 7))
        slots[7] = q + 4 * (sure * 10 + best % 6)
        slots[8] = q + 4 * (best * 6 + second)
        slots[9] = q + 4 * ((far_right * 8 + far_left) * 12 + rank * 4 + same)
        slots[10] = q + 4 * (((ba * 3 + bb) * 3 + rank) * 32 + (past & 31))
        slots[11] = q + 4 * (spread(past & 0xFFFFF) & 1023)
        slots[12] = q + 4 * (((crowd * 3 + same) * 3 + ba) * 3 + bb)
        slots[13] = q + 4 * ((apex_angle * 3 + rank) * 16 + (past & 15))
        slots[14] = q + 4 * ((far_right * 12 + angle_right) * 9 + right_faces)
        slots[15] = q + 4 * ((far_left * 12 + angle_left) * 9 + left_faces_at)
        slots[16] = q + 4 * (((angle_right * 8 + far_right) * 3 + rank) * 3 + bb)
        slots[17] = q + 4 * ((fa * 9 + right_faces) * 9 + left_faces_at)
        for k in range(LINKS):
            slots[k] = _FIRST + k * PLACES + slots[k]
        one = _ROW + q * 10 + (past & 7)
        two = _ROW + 40 + q * 40 + best % 6 * 6 + again % 6
        three = 750 + ((q * 3 + rank) * 3 + ba) * 3 + bb
        curve = _CURVE + q * 32 + rank * 8 + (past & 7)
        bit = decide(mode, state, data, known, slots, r.inputs, LINKS, one, two, three, curve, bit, cost, 0)
        if bit:
            return -1 if q == IS_BORDER else (right if q == IS_RIGHT else (left if q == IS_LEFT else n))
    if n == 0:
        return -2
    found = other_vertex(mode, state, data, known, g, pos, r, n, v, r.flat, cost)
    return found if 0 <= found < n else -2


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
    n, f, t, past, last_start = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(-1)
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
                    at = m.repeat[AT]
                    again = (1 + np.int64(m.steps[at])) if at >= 0 else 0
                    r.slots[0] = _NUMBERS + 3072 + corner
                    r.slots[1] = _NUMBERS + 3080 + corner * 8 + again
                    fresh = decide(links, state, data, known, r.slots, r.inputs, 2, _ROW + 210, _ROW + 211 + corner, _ROW + 214, _CURVE + 139, fresh, cost, 0)
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
            remember_third(m, vertices, b, a, -2)
            took_step(m, pos, t, BORDER, -1, 0)
            t += 1
            past = past << 2 & 0xFFFFF
            continue
        if reads:
            faces[f, 0], faces[f, 1], faces[f, 2] = b, a, v
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
