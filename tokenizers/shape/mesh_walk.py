"""The order in which a mesh is told: faces by a walk over its edges, vertices numbered by first use.

A gate (a, b) is a half-edge of a face that was told; behind it lies an untold face with the half-edge (b, a), which is told from b on. The
walk goes on around b; the gate on the other side waits, and the one that came last is next. Where none is left it starts at the next face.
Each half-edge opens a gate or closes one, so edges of three faces and more, flipped neighbours and repeated faces are all told. Time and
memory grow with the faces.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def walked(points: Array, faces: Array) -> tuple[Array, Array]:
    """(order, faces): vertices int64 (V,) as they are told, and int64 (F, 3) over that order.

    points: int64 (V, 3), all used. Parts that share no vertex are told one after the other, small ones last, equal ones together; each
    starts at the face whose vertices have the least coordinates. Ties are broken by the order of the input.
    """
    count = len(points)
    rotated = least_first(points, faces)
    part = _parts(count, rotated)
    sizes = np.bincount(part, minlength=count)[part]
    corners = points[rotated].reshape(-1, 9)
    own = np.lexsort((*corners.T[::-1], part))
    first = np.zeros(count, np.int64)  # of each part: its least face
    heads = own[np.concatenate([[True], np.diff(part[own]) != 0])]
    by_place = heads[np.lexsort((*corners[heads].T[::-1], -sizes[heads]))]
    first[part[by_place]] = np.arange(len(by_place))
    rotated = rotated[np.lexsort((*corners.T[::-1], first[part]))]
    told = _kernel()(rotated, *_half_edges(count, rotated))
    flat = told.ravel()
    values, at = np.unique(flat, return_index=True)
    order = values[np.argsort(at)]
    number = np.empty(count, np.int64)
    number[order] = np.arange(len(order))
    return order, number[told]


def least_first(points: Array, faces: Array) -> Array:
    """The faces (F, 3) turned, without changing their orientation, so that their corners' places, by (z, y, x), are the least of the three
    ways; of equal ways the first."""
    order = np.lexsort((points[:, 0], points[:, 1], points[:, 2]))
    fresh = np.concatenate([[False], (np.diff(points[order], axis=0) != 0).any(1)])
    rank = np.empty(len(points), np.int64)
    rank[order] = np.cumsum(fresh)  # equal places, equal ranks
    corners, many = rank[faces], len(points)
    ways = [corners[:, k] * many + corners[:, (k + 1) % 3] for k in range(3)]  # equal in two corners: equal in all three
    turn = np.argmin(ways, axis=0)
    return np.take_along_axis(faces, (turn[:, None] + np.arange(3)) % 3, 1)


def _parts(count: int, faces: Array) -> Array:
    """int64 (F,): the number of the connected part that a face belongs to, below `count`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    start, end = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)[faces[:, 0]]


def _half_edges(count: int, faces: Array) -> tuple[Array, Array, Array, Array]:
    """Half-edges 3 f + k by equal (start, end): sorted int64 (3F,), each one's group, the group opposite to each or -1, groups' starts."""
    ends = np.roll(faces, -1, 1).ravel()
    keys = faces.ravel() * count + ends
    order = np.argsort(keys, kind="stable")
    fresh = np.concatenate([[True], np.diff(keys[order]) != 0])
    group = np.empty(len(keys), np.int64)
    group[order] = np.cumsum(fresh) - 1
    starts = np.flatnonzero(fresh)
    distinct = keys[order][starts]
    across = ends * count + faces.ravel()
    place = np.minimum(np.searchsorted(distinct, across), len(distinct) - 1)
    return order, group, np.where(distinct[place] == across, place, -1), np.append(starts, len(keys))


def _walk(faces: Array, order: Array, group: Array, across: Array, starts: Array) -> Array:
    total, groups = len(order), len(starts) - 1
    told = np.empty_like(faces)
    done = np.zeros(len(faces), np.uint8)
    cursor = starts[:-1].copy()  # of a group: the next half-edge whose face may be untold
    newest = np.full(groups, -1, np.int64)  # its gate that opened last
    older = np.full(total, -1, np.int64)
    is_open = np.zeros(total, np.uint8)
    waiting = np.empty(total, np.int64)
    height, turn, n, start = 0, -1, 0, 0
    while n < len(faces):
        gate = turn
        turn = -1
        while gate < 0 or not is_open[gate]:
            if height == 0:
                gate = -1
                break
            height -= 1
            gate = waiting[height]
        if gate < 0:
            while done[start]:
                start += 1
            face, corner = start, 0
        else:
            is_open[gate] = 0
            behind = across[gate]
            if behind < 0:
                continue
            while cursor[behind] < starts[behind + 1] and done[order[cursor[behind]] // 3]:
                cursor[behind] += 1
            if cursor[behind] == starts[behind + 1]:
                continue
            face, corner = order[cursor[behind]] // 3, order[cursor[behind]] % 3
        done[face] = 1
        for k in range(3):
            told[n, k] = faces[face, (corner + k) % 3]
        n += 1
        for k in range(0 if gate < 0 else 1, 3):
            h = 3 * face + (corner + k) % 3
            facing = across[h]
            found = -1
            if facing >= 0:
                while newest[facing] >= 0 and not is_open[newest[facing]]:
                    newest[facing] = older[newest[facing]]
                found = newest[facing]
            if found >= 0:
                is_open[found] = 0
                continue
            is_open[h] = 1
            older[h] = newest[group[h]]
            newest[group[h]] = h
            if gate >= 0 and k == 2:
                turn = h
            else:
                waiting[height] = h
                height += 1
    return told


_compiled: list[Any] = []


def _kernel() -> Any:
    """The walk compiled by numba on first use, kept on disk; it loads numba, half a second."""
    if not _compiled:
        import numba

        try:
            _compiled.append(numba.njit(cache=True)(_walk))
        except RuntimeError:  # no place to keep it
            _compiled.append(numba.njit(_walk))
    return _compiled[0]
