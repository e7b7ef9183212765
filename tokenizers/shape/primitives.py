"""Shapes as a few primitives: boxes, cylinders and ellipsoids, one for each part, mirror images said once.

Coordinates are whole numbers 0..LEVELS over the shape's cube, so a mirror image at its middle is exact. A coded primitive has eight
numbers: its kind (0 box, 1..3 cylinder along x, y, z, 4 ellipsoid, all filling the same box), its symmetry, and for each axis the lower
and the upper side. The symmetry has one base-3 digit an axis: 0 none, 1 there is a mirror image too, 2 it is its own mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray
LEVELS = 96  # a step is a ninety-sixth of the cube's side
NUMBERS = 8
KINDS, SYMMETRIES = 5, 27
LEAST = 0.012  # half of the least thickness, in half sides of the cube
MOST = 96  # that are drawn, images included
_ROUND = 24  # sides of a cylinder's polygon


@dataclass(frozen=True)
class Primitives:
    """Coded primitives: int64 (n, 8) of kind, symmetry, then lower and upper side by axis."""

    numbers: Array

    @property
    def half_thickness(self) -> Array:
        """Half of the shortest side of each coded primitive, in half sides of the cube: float64 (n,)."""
        return (self.numbers[:, 3::2] - self.numbers[:, 2::2]).min(1, initial=LEVELS) / LEVELS

    @property
    def all(self) -> tuple[Array, Array]:
        """(kinds int64 (m,), sides int64 (m, 3, 2)) of all of them, images included, equal ones once: the first MOST. (From files come
        any: each takes time to draw.)"""
        kinds, sides = [], []
        for kind, symmetry, *rest in self.numbers.tolist():
            images = [np.array(rest, np.int64).reshape(3, 2)]
            for axis in range(3):
                if symmetry // 3**axis % 3 == 1:
                    images += [mirrored(box, axis) for box in images]
            sides += images
            kinds += [kind] * len(images)
        rows = np.column_stack([np.array(kinds, np.int64), np.array(sides, np.int64).reshape(-1, 6)])
        first = np.sort(np.unique(rows, axis=0, return_index=True)[1])[:MOST]
        return rows[first, 0], rows[first, 1:].reshape(-1, 3, 2)


def mirrored(sides: Array, axis: int) -> Array:
    """Sides (..., 3, 2) on the other side of the cube's middle."""
    out = sides.copy()
    out[..., axis, :] = LEVELS - sides[..., axis, ::-1]
    return out


def corners(sides: Array) -> Array:
    """Lower and upper corners in the cube as [-1, 1]^3: float64 (m, 2, 3), each at least LEAST thick on both sides of its middle."""
    box = np.swapaxes(sides, 1, 2) * (2 / LEVELS) - 1
    middle, half = box.mean(1, keepdims=True), np.maximum((box[:, 1:] - box[:, :1]) / 2, LEAST)
    return np.concatenate([middle - half, middle + half], 1)


def distance(primitives: Primitives, axes: tuple[Array, Array, Array], reach: float) -> Array:
    """Signed distance of their union on a grid of these coordinates, cut off at +-reach: float32; +reach without any.

    Inside it is that of the deepest one, a lower bound of the depth; near ellipses that are no circles it is of first order.
    """
    out = np.full(tuple(len(a) for a in axes), reach, np.float32)
    kinds, sides = primitives.all
    for kind, (low, high) in zip(kinds, corners(sides), strict=True):
        # beyond `reach` nothing changes, so only the block around it is looked at
        take = tuple(slice(np.searchsorted(a, low[k] - reach), np.searchsorted(a, high[k] + reach)) for k, a in enumerate(axes))
        if any(s.start == s.stop for s in take):
            continue
        x, y, z = (a[s].astype(np.float32) for a, s in zip(axes, take, strict=True))
        block = signed(int(kind), low, high, x[:, None, None], y[None, :, None], z[None, None, :])
        out[take] = np.minimum(out[take], block)
    return np.maximum(out, -reach)


def signed(kind: int, low: Array, high: Array, *place: Array) -> Array:
    """Signed distance to one primitive that fills the box low..high, at x, y, z that broadcast: float32."""
    middle, half = ((low + high) / 2).astype(np.float32), ((high - low) / 2).astype(np.float32)
    from_middle = [p.astype(np.float32) - m for p, m in zip(place, middle, strict=True)]
    if kind == 4:
        return _elliptic(from_middle, half)
    flat = [np.abs(p) - h for p, h in zip(from_middle, half, strict=True)]
    if kind:
        across = [k for k in range(3) if k != kind - 1]
        flat = [flat[kind - 1], _elliptic([from_middle[k] for k in across], half[across])]
    inside = flat[0]
    outside = np.maximum(flat[0], 0) ** 2
    for side in flat[1:]:
        inside = np.maximum(inside, side)
        outside = outside + np.maximum(side, 0) ** 2
    return np.where(inside > 0, np.sqrt(outside), inside)


def _elliptic(from_middle: list[Array], half: Array) -> Array:
    """Distance to an ellipse or ellipsoid, of first order: exact for circles and spheres."""
    near = sum((p / h) ** 2 for p, h in zip(from_middle, half, strict=True))
    slope = sum((p / h**2) ** 2 for p, h in zip(from_middle, half, strict=True))
    near, slope = np.sqrt(near), np.sqrt(slope)
    return np.where(near > 1e-3, near * (near - 1) / np.maximum(slope, 1e-9), -half.min()).astype(np.float32)


def triangles(primitives: Primitives) -> tuple[Array, Array]:
    """Each as a closed mesh of its own: vertices float64 (V, 3) in the cube as [-1, 1]^3, faces int64 (F, 3)."""
    vertices, faces, count = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], 0
    for kind, (low, high) in zip(*(f(primitives) for f in (lambda p: p.all[0], lambda p: corners(p.all[1]))), strict=True):
        unit, triangle = _UNITS[int(kind)]
        vertices.append(unit * (high - low) / 2 + (high + low) / 2)
        faces.append(triangle + count)
        count += len(unit)
    return np.concatenate(vertices), np.concatenate(faces)


def _unit_box() -> tuple[Array, Array]:
    vertices = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)]) * 2.0 - 1
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    return vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _revolved(profile: Array, axis: int) -> tuple[Array, Array]:
    """A closed surface of revolution: profile (n, 2) of radius and height, its ends on the axis."""
    turn = 2 * np.pi * np.arange(_ROUND) / _ROUND
    rings = [np.stack([r * np.cos(turn), r * np.sin(turn), np.full(_ROUND, h)], 1) for r, h in profile[1:-1]]
    vertices = np.concatenate([*rings, [[0, 0, profile[0, 1]]], [[0, 0, profile[-1, 1]]]])
    i, j = np.arange(_ROUND), (np.arange(_ROUND) + 1) % _ROUND
    faces = []
    for k in range(len(rings) - 1):
        a, b = k * _ROUND, (k + 1) * _ROUND
        faces += [np.stack([a + i, a + j, b + j], 1), np.stack([a + i, b + j, b + i], 1)]
    last, bottom, top = (len(rings) - 1) * _ROUND, len(vertices) - 2, len(vertices) - 1
    faces += [np.stack([np.full(_ROUND, bottom), j, i], 1), np.stack([np.full(_ROUND, top), last + i, last + j], 1)]
    # a rotation of the axes keeps what is outside
    return np.roll(vertices, axis + 1, 1), np.concatenate(faces).astype(np.int64)


def _units() -> list[tuple[Array, Array]]:
    cylinder = np.array([[0, -1], [1, -1], [1, 1], [0, 1]], np.float64)
    angle = np.linspace(-np.pi / 2, np.pi / 2, 11)
    ball = np.stack([np.cos(angle), np.sin(angle)], 1)
    return [_unit_box(), *(_revolved(cylinder, axis) for axis in range(3)), _revolved(ball, 2)]


_UNITS = _units()
