"""Which primitives stand for a shape: its connected parts, merged until there are few enough, or places of its surface, split."""

from __future__ import annotations

import numpy as np

from smalti.tokenizers.shape.primitives import KINDS, LEAST, LEVELS, MOST, NUMBERS, Primitives, corners, mirrored, signed

Array = np.ndarray
MAX_PARTS = 96  # the smallest ones beyond it are left out
_PLACES = 4000


def fitted(vertices: Array, faces: Array | None, counts: tuple[int, ...]) -> list[Primitives]:
    """Primitives of a shape in its cube as [-1, 1]^3, at most counts[i] coded ones each; as many different ones as there are.

    Parts are connected triangles; where they are too few, and for point clouds, places of the surface are split by planes.
    """
    points, part = _places(vertices, faces)
    levels = _merged(*_boxes(vertices, faces))
    coded = [_coded(boxes) for boxes, _ in levels]
    out: list[Primitives] = []
    for count in sorted(counts):
        at = max((i for i, (numbers, _) in enumerate(coded) if len(numbers) <= count), key=lambda i: len(levels[i][0]))
        found = _of_kinds(*coded[at], points, [np.isin(part, group) for group in levels[at][1]])
        if len(levels[0][0]) < count:
            boxes, pieces = _split(points, count)
            numbers, first = _coded(boxes)
            split = _of_kinds(numbers[:count], first[:count], points, pieces)
            found = split if _volume(split) < _volume(found) else found
        if len(found.all[0]) < MOST and not any(np.array_equal(found.numbers, other.numbers) for other in out):
            out.append(found)
    return out


def largest(vertices: Array, faces: Array | None, counts: tuple[int, ...]) -> list[Primitives]:
    """The largest parts alone, small ones left out, at most counts[i] coded ones each; none where `fitted` keeps all parts."""
    points, part = _places(vertices, faces)
    boxes, groups = _boxes(vertices, faces)
    numbers, first = _coded(boxes)
    all_of_them = _of_kinds(numbers, first, points, [np.isin(part, group) for group in groups]).numbers
    extent = corners(all_of_them[:, 2:].reshape(-1, 3, 2))
    extent = extent[:, 1] - extent[:, 0]
    order = np.argsort(-(extent[:, 0] * extent[:, 1] + extent[:, 1] * extent[:, 2] + extent[:, 2] * extent[:, 0]), kind="stable")
    return [Primitives(all_of_them[order[:count]]) for count in sorted(set(counts)) if count < len(order)]


def _of_kinds(numbers: Array, first: list[int], points: Array, members: list[Array]) -> Primitives:
    """Coded boxes as whatever primitive lies nearest to the surface that they stand for."""
    numbers = numbers.copy()
    for row, at in zip(numbers, first, strict=True):
        own = points[members[at]]
        if len(own) < 12:
            continue
        low, high = corners(row[2:].reshape(1, 3, 2))[0]
        away = [float(np.abs(signed(kind, low, high, *own.T)).mean()) for kind in range(KINDS)]
        away[0] *= 0.8  # a box unless another is clearly nearer
        row[0] = int(np.argmin(away))
    return Primitives(numbers)


def _volume(primitives: Primitives) -> float:
    box = corners(primitives.all[1])
    return float(np.prod(box[:, 1] - box[:, 0], axis=1).sum())


def _quantized(low: Array, high: Array) -> Array:
    return np.clip(np.rint((np.stack([low, high], -1) + 1) * (LEVELS / 2)), 0, LEVELS).astype(np.int64)


def part_of_faces(vertices: Array, faces: Array) -> Array:
    """The connected part of each triangle, vertices in the same place being one: int64 (F,)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    _, welded = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
    corner = welded.reshape(-1)[faces]
    ends = np.concatenate([corner[:, [0, 1]], corner[:, [1, 2]]])
    size = int(welded.max()) + 1
    label = connected_components(coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (size, size)), directed=False)[1]
    return np.unique(label[corner[:, 0]], return_inverse=True)[1].reshape(-1)


def _places(vertices: Array, faces: Array | None) -> tuple[Array, Array]:
    """(places on the surface (n, 3), the part of each)."""
    if faces is None or not len(faces):
        points = vertices[:: max(1, len(vertices) // _PLACES)]
        return points, np.zeros(len(points), np.int64)
    corner = vertices[faces]
    part = part_of_faces(vertices, faces)
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    at = np.searchsorted(np.cumsum(area), np.linspace(0, area.sum(), _PLACES, endpoint=False), side="right").clip(0, len(area) - 1)
    inner = np.einsum("nk,nkc->nc", np.random.default_rng(0).dirichlet([1, 1, 1], _PLACES), corner[at])
    some = np.unique(faces.reshape(-1), return_index=True)[1]
    some = some[:: max(1, len(some) // _PLACES)]
    return np.concatenate([inner, vertices[faces.reshape(-1)[some]]]), np.concatenate([part[at], part[some // 3]])


def _boxes(vertices: Array, faces: Array | None) -> tuple[Array, list[Array]]:
    """(boxes (n, 3, 2) of connected parts in whole numbers, equal and enclosed ones once, large ones first; their parts)."""
    if faces is None or not len(faces):
        return _quantized(vertices.min(0), vertices.max(0))[None], [np.zeros(1, np.int64)]
    part = part_of_faces(vertices, faces)
    low, high = np.full((part.max() + 1, 3), np.inf), np.full((part.max() + 1, 3), -np.inf)
    for k in range(3):
        np.minimum.at(low, part, vertices[faces[:, k]])
        np.maximum.at(high, part, vertices[faces[:, k]])
    boxes = _quantized(low, high)
    kept: list[int] = []
    for at in np.argsort(-np.prod(boxes[:, :, 1] - boxes[:, :, 0] + 1, axis=1), kind="stable")[: 4 * MAX_PARTS]:
        held = boxes[kept]
        if not ((boxes[at, :, 0] >= held[:, :, 0]) & (boxes[at, :, 1] <= held[:, :, 1])).all(1).any():
            kept.append(int(at))
    return boxes[kept[:MAX_PARTS]], [np.array([at]) for at in kept[:MAX_PARTS]]


def _merged(boxes: Array, groups: list[Array]) -> list[tuple[Array, list[Array]]]:
    """All boxes, then one fewer each time: the two whose common box adds least are made one; with the parts that each stands for."""
    levels = [(boxes, groups)]
    while len(boxes) > 1:
        low = np.minimum(boxes[:, None, :, 0], boxes[None, :, :, 0])
        high = np.maximum(boxes[:, None, :, 1], boxes[None, :, :, 1])
        own = np.prod(boxes[:, :, 1] - boxes[:, :, 0] + 1.5, axis=1)
        added = np.prod(high - low + 1.5, axis=2) - own[:, None] - own[None]
        added[np.tril_indices(len(boxes))] = np.inf
        i, j = np.unravel_index(np.argmin(added), added.shape)
        joint = np.stack([low[i, j], high[i, j]], -1)
        free = [
            k
            for k in range(len(boxes))
            if k not in (i, j) and not ((boxes[k, :, 0] >= joint[:, 0]) & (boxes[k, :, 1] <= joint[:, 1])).all()
        ]
        groups = [*(groups[k] for k in free), np.concatenate([groups[k] for k in range(len(boxes)) if k not in free])]
        boxes = np.concatenate([boxes[free], joint[None]])
        levels.append((boxes, groups))
    return levels


def _split(points: Array, count: int) -> tuple[Array, list[Array]]:
    """Boxes of that many pieces of a set of points, and which points: the piece and the plane that save most volume are split next."""
    pieces = [np.arange(len(points))]
    plans = [_best_plane(points)]
    while len(pieces) < count:
        at = int(np.argmax([gain for gain, _, _ in plans]))
        gain, axis, place = plans[at]
        if gain <= 0:
            break
        piece = pieces.pop(at)
        plans.pop(at)
        below = points[piece, axis] < place
        for part in (piece[below], piece[~below]):
            pieces.append(part)
            plans.append(_best_plane(points[part]))
    return np.array([_quantized(points[p].min(0), points[p].max(0)) for p in pieces]), pieces


def _best_plane(points: Array) -> tuple[float, int, float]:
    """(volume saved, axis, place) of the best plane across one axis; 0 where none saves any."""
    best = (0.0, 0, 0.0)
    if len(points) < 16:
        return best
    floor = 2 * LEAST
    whole = np.prod(np.maximum(np.ptp(points, axis=0), floor))
    for axis in range(3):
        order = points[np.argsort(points[:, axis], kind="stable")]
        back = order[::-1]
        first = np.maximum(np.maximum.accumulate(order) - np.minimum.accumulate(order), floor).prod(1)[:-1]
        second = np.maximum(np.maximum.accumulate(back) - np.minimum.accumulate(back), floor).prod(1)[::-1][1:]
        saved = np.where(np.diff(order[:, axis]) > 1e-9, whole - first - second, -np.inf)
        saved[:4], saved[-4:] = -np.inf, -np.inf
        at = int(np.argmax(saved))
        if saved[at] > best[0]:
            best = (float(saved[at]), axis, float(order[at + 1, axis]))
    return best


def _coded(sides: Array) -> tuple[Array, list[int]]:
    """(boxes (n, 3, 2) as coded ones, the largest first, mirror images found to within a step: int64 (m, 8); which one each was)."""
    left = np.argsort(-np.prod(sides[:, :, 1] - sides[:, :, 0] + 1, axis=1), kind="stable").tolist()
    out, first = [], []
    while left:
        at = left.pop(0)
        box, symmetry, group = sides[at].copy(), 0, [sides[at]]
        for axis in range(3):
            if abs(int(box[axis].sum()) - LEVELS) <= 1 and box[axis, 1] - box[axis, 0] > 1:
                box[axis, 0] = LEVELS - box[axis, 1]
                symmetry += 2 * 3**axis
                continue
            found = {_near(sides, left, mirrored(member, axis)) for member in group}
            if -1 not in found and len(found) == len(group):
                group += [sides[f] for f in found]
                left = [b for b in left if b not in found]
                symmetry += 3**axis
        out.append([0, symmetry, *box.reshape(-1).tolist()])
        first.append(at)
    return np.array(out, np.int64).reshape(-1, NUMBERS), first


def _near(sides: Array, among: list[int], wanted: Array) -> int:
    return next((i for i in among if np.abs(sides[i] - wanted).max() <= 1), -1)
