"""The border of what is known of a mesh: half-edges of faces, with nothing on their other side yet.

A gate (a, b) asks for the face (b, a, v). The gates that leave a vertex, and those that reach it, are lists, the newest first; who looks
for one gives up after `PATIENCE` of them, so that no mesh makes this slow. Numba
compiles it into `mesh_kernel.run`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

Array = np.ndarray
PATIENCE = 64


class Gates(NamedTuple):
    """start, end, apex: int32 (G,), a gate's vertices and the third of its face. open: uint8 (G,). out_next, out_before, in_next,
    in_before: int32 (G,), lists at vertices, -1 at their ends. out_first, in_first: int32 (V,). waiting: int32 (G,), a stack.
    totals: int64 (3,): gates, height of the stack, the gate that is next before all of them or -1. faces, borders: int32 (V,), at one."""

    start: Array
    end: Array
    apex: Array
    open: Array
    out_next: Array
    out_before: Array
    in_next: Array
    in_before: Array
    out_first: Array
    in_first: Array
    waiting: Array
    totals: Array
    faces: Array
    borders: Array


def gates(vertices: int, faces: int) -> Gates:
    """None yet."""
    g = 3 * faces
    return Gates(
        start=np.zeros(g, np.int32), end=np.zeros(g, np.int32), apex=np.zeros(g, np.int32), open=np.zeros(g, np.uint8),
        out_next=np.full(g, -1, np.int32), out_before=np.full(g, -1, np.int32), in_next=np.full(g, -1, np.int32),
        in_before=np.full(g, -1, np.int32), out_first=np.full(vertices, -1, np.int32), in_first=np.full(vertices, -1, np.int32),
        waiting=np.zeros(g, np.int32), totals=np.array([0, 0, -1]), faces=np.zeros(vertices, np.int32),
        borders=np.zeros(vertices, np.int32),
    )  # fmt: skip


@register_jitable
def close(g: Gates, i: int) -> None:
    """Take a gate out of the lists."""
    g.open[i] = 0
    before, after = g.out_before[i], g.out_next[i]
    if before >= 0:
        g.out_next[before] = after
    else:
        g.out_first[g.start[i]] = after
    if after >= 0:
        g.out_before[after] = before
    before, after = g.in_before[i], g.in_next[i]
    if before >= 0:
        g.in_next[before] = after
    else:
        g.in_first[g.end[i]] = after
    if after >= 0:
        g.in_before[after] = before


@register_jitable
def open_or_close(g: Gates, p: int, q: int, apex: int) -> int:
    """A face has the half-edge (p, q): closes the gate (q, p) if there is one, else opens (p, q). The gate that was opened, or -1."""
    i = g.out_first[q]
    for _ in range(PATIENCE):
        if i < 0:
            break
        if g.end[i] == p:
            close(g, i)
            return -1
        i = g.out_next[i]
    n = g.totals[0]
    g.totals[0] = n + 1
    g.start[n], g.end[n], g.apex[n], g.open[n] = p, q, apex, 1
    g.out_next[n], g.in_next[n] = g.out_first[p], g.in_first[q]
    if g.out_first[p] >= 0:
        g.out_before[g.out_first[p]] = n
    if g.in_first[q] >= 0:
        g.in_before[g.in_first[q]] = n
    g.out_first[p] = n
    g.in_first[q] = n
    return n


@register_jitable
def wait(g: Gates, i: int) -> None:
    if i >= 0:
        g.waiting[g.totals[1]] = i
        g.totals[1] += 1


@register_jitable
def next_gate(g: Gates) -> int:
    """The gate to go on at, or -1: the one around the same vertex, else the one that came last."""
    i = g.totals[2]
    g.totals[2] = -1
    if i >= 0 and g.open[i]:
        return i
    while g.totals[1]:
        g.totals[1] -= 1
        i = int(g.waiting[g.totals[1]])
        if g.open[i]:
            return i
    return -1


@register_jitable
def add_face(g: Gates, a: int, b: int, v: int) -> None:
    """The face (b, a, v) lies behind a gate (a, b) that is closed already."""
    g.faces[a] += 1
    g.faces[b] += 1
    g.faces[v] += 1
    wait(g, open_or_close(g, a, v, b))
    g.totals[2] = open_or_close(g, v, b, a)


@register_jitable
def start_face(g: Gates, a: int, b: int, c: int) -> None:
    """The face (a, b, c), behind no gate."""
    g.faces[a] += 1
    g.faces[b] += 1
    g.faces[c] += 1
    wait(g, open_or_close(g, a, b, c))
    wait(g, open_or_close(g, b, c, a))
    wait(g, open_or_close(g, c, a, b))
