"""What lies behind a gate of a mesh: nothing, or a face whose third vertex is the one on the right or left, a new one, or another.

Each is a decision, mixed from how the border lies, what was found near by, and what mirror images and repeated parts foretell. Numba
compiles it into `mesh_kernel.run`.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from smalti.codecs.priors.mesh_gates import PATIENCE, Gates
from smalti.codecs.priors.mesh_memory import AT, HITS, LENGTH, SYMMETRIES, Memory, recall_third, spread
from smalti.codecs.priors.mesh_mixing import decide
from smalti.codecs.priors.mesh_spots import Around, octave
from smalti.codecs.priors.mesh_tables import LINKS, PLACES, SPOTS, Array, Live

IS_BORDER, IS_RIGHT, IS_LEFT, IS_NEW, IS_KNOWN, NUMBER = range(6)
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
        bit = decide(
            mode, state, data, known, r.slots, r.inputs, 2, _ROW + 200 + which, _ROW + 204, _ROW + 205, _CURVE + 140 + which,
            value >> level & 1, cost, 0,
        )  # fmt: skip
        out = 2 * out + bit
    return int(out)


@register_jitable
def other_vertex(
    mode: int, state: Array, data: Array, known: Live, g: Gates, pos: Array, r: Around, n: int, v: int, flat: Array, cost: Array
) -> int:
    """A known vertex far from the gate: its rank by distance among the starts of the gates that opened last, or else its number."""
    total = g.totals[0]
    seen = 0
    rank = np.int64(-1)
    vertices = r.near_vertex
    for k in range(4 * PATIENCE):
        i = total - 1 - k
        if i < 0 or seen == PATIENCE:
            break
        if g.open[i]:
            near = np.int64(g.start[i])
            key = apart(pos, near, flat) * 256 + seen
            j = seen
            while j > 0 and r.near_key[j - 1] > key:
                r.near_key[j] = r.near_key[j - 1]
                vertices[j] = vertices[j - 1]
                j -= 1
            r.near_key[j] = key
            vertices[j] = near
            seen += 1
    for j in range(seen):
        if rank < 0 and vertices[j] == v:
            rank = np.int64(j)
    found = number(mode, state, data, known, r, 0, rank if rank >= 0 else np.int64(seen), seen + 1, cost)
    if found > seen:
        return -1
    w = int(vertices[found]) if found < seen else n - 1 - number(mode, state, data, known, r, 1, n - 1 - v, n, cost)
    for j in range(found):  # told the shortest way, or it is no stream of ours
        if vertices[j] == w:
            return -1
    return w


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
    best, second = foretell(m, r, a, b, right, left, vertices)
    for axis in range(3):
        r.flat[axis] = np.int64(pos[a, axis]) + pos[b, axis] - pos[c, axis]
    at = m.repeat[AT]
    again = (1 + int(m.steps[at])) if at >= 0 else 0
    sure = again * 8 + (m.repeat[HITS] & 1) + 2 * min(m.repeat[LENGTH] >> 2, 3)
    fa, fb = min(int(g.faces[a]), 11), min(int(g.faces[b]), 11)
    ba, bb = min(int(g.borders[a]), 2), min(int(g.borders[b]), 2)
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
    right_faces = min(int(g.faces[right]), 7) if right >= 0 else 8
    left_faces_at = min(int(g.faces[left]), 7) if left >= 0 else 8
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
    return found if 0 <= found < n and found != right and found != left else -2


@register_jitable
def is_fresh(mode: int, state: Array, data: Array, known: Live, m: Memory, r: Around, corner: int, fresh: int, cost: Array) -> int:
    """Whether a corner of a face that starts anew is a new vertex."""
    at = m.repeat[AT]
    again = (1 + int(m.steps[at])) if at >= 0 else 0
    r.slots[0] = _NUMBERS + 3072 + corner
    r.slots[1] = _NUMBERS + 3080 + corner * 8 + again
    rows = _ROW + 210
    return decide(mode, state, data, known, r.slots, r.inputs, 2, rows, rows + 1 + corner, rows + 4, _CURVE + 139, fresh, cost, 0)
