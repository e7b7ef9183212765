"""What shapes can be said by in few bytes without learning, or with a library of shapes: three rivals, each the best of a search.

- Draco after decimation: over numbers of triangles, bits of coordinates and compression levels, small parts dropped first. Its stream is a
  whole file, which says where the shape lies: it pays for nothing else.
- One bounding box for each connected part, the largest ones first, over bits of coordinates.
- The nearest of the training shapes, by its number: two bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.shape.closeness import Closeness, places_on
from smalti.tokenizers.shape.parts import part_of_faces
from smalti.tokenizers.shape.pose import pose_of
from smalti.tokenizers.shape.simplified import largest_parts
from smalti.tokenizers.signals import Shape

Array = np.ndarray
FileBytes = bytes
POSE = 8  # bytes that say where a shape lies and how large it is, as our own files of these shapes mostly do
CONTAINER = 26  # of our files of shapes, beside pose and payload: paid by rivals that have no file of their own
_TARGETS = (12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 200, 250, 320, 400, 500)
_BITS = (4, 5, 6, 7, 8)
_LEVELS = (7, 8, 10)
_KEPT = (1.0, 0.9, 0.75, 0.5, 0.3)  # share of the surface that is kept at least


@dataclass(frozen=True)
class Offer:
    """A way to say a shape: bytes of the whole file, and what comes back, in the shape's own units. data: the file, where it is one."""

    name: str
    bytes: int
    shape: Shape
    data: FileBytes = b""


def draco(
    shape: Shape, largest: int, targets: Sequence[int] = _TARGETS, bits: Sequence[int] = _BITS, shares: Sequence[float] = _KEPT
) -> Iterator[Offer]:
    """All of Draco's offers of at most `largest` bytes. targets: numbers of triangles; bits: of coordinates; shares: of the surface that is
    kept at least. All but the shares ascending."""
    try:
        import DracoPy  # noqa: F401
        import fast_simplification
    except ImportError:
        raise ModelError("the rivals need DracoPy and fast-simplification: pip install 'smalti[codecs,shape]'") from None
    assert shape.faces is not None
    seen = set()
    middle, side = shape.vertices.mean(0), float(np.ptp(shape.vertices, axis=0).max()) or 1.0
    for kept in shares:
        whole = largest_parts(shape.vertices, shape.faces, kept)
        vertices, faces = whole.vertices, whole.faces
        assert faces is not None
        # in the file's units and in its own size: decimation in float32 depends on them, for better or worse
        for shift, scale in ((np.zeros(3), 1.0), (middle, side)):
            points = ((vertices - shift) / scale).astype(np.float32)
            for target in targets:
                thin, few = points, faces
                if target < len(faces):
                    thin, few = fast_simplification.simplify(points, faces.astype(np.int32), target_count=target, agg=7)
                thin, few = _used(np.asarray(thin, np.float64) * scale + shift, np.asarray(few, np.int64))
                key = (thin.tobytes(), few.tobytes())
                if len(few) < 1 or key in seen or len(few) > 2 * target + 100:
                    continue
                seen.add(key)
                yield from _encoded(thin, few, largest, bits)


def _encoded(vertices: Array, faces: Array, largest: int, choices: Sequence[int]) -> Iterator[Offer]:
    import DracoPy

    for bits in choices:
        try:
            data = min((DracoPy.encode(vertices, faces, quantization_bits=bits, compression_level=level) for level in _LEVELS), key=len)
        except DracoPy.EncodingFailedException:  # no face has an area on so coarse a grid
            continue
        if len(data) > largest:
            return
        back = DracoPy.decode(data)
        found = Shape(np.asarray(back.points, np.float64), np.asarray(back.faces, np.int64).reshape(-1, 3))
        yield Offer(f"draco {len(faces)} triangles {bits} bits", len(data), found, data)


def boxes(shape: Shape, largest: int) -> Iterator[Offer]:
    """The boxes of the largest parts, as many as fit into each number of bytes up to `largest`."""
    assert shape.faces is not None
    pose = pose_of(shape)
    points = pose.inwards(shape.vertices)
    part = part_of_faces(points, shape.faces)
    low, high = np.full((part.max() + 1, 3), np.inf), np.full((part.max() + 1, 3), -np.inf)
    for corner in range(3):
        np.minimum.at(low, part, points[shape.faces[:, corner]])
        np.maximum.at(high, part, points[shape.faces[:, corner]])
    extent = high - low
    order = np.argsort(-(extent[:, 0] * extent[:, 1] + extent[:, 1] * extent[:, 2] + extent[:, 2] * extent[:, 0]), kind="stable")
    for bits in (5, 6, 7, 8):
        steps = 2**bits - 1
        sides = np.rint((np.stack([low, high], 1)[order].clip(-1, 1) + 1) / 2 * steps) / steps * 2 - 1
        sides = sides[np.sort(np.unique(sides.reshape(len(sides), 6), axis=0, return_index=True)[1])]
        for count in sorted({1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, len(sides)}):
            size = CONTAINER + POSE + 1 + -(-count * 6 * bits // 8)
            if count <= len(sides) and size <= largest:
                vertices, faces = _box_mesh(sides[:count])
                yield Offer(f"{count} boxes of {bits} bits", size, Shape(pose.outwards(vertices), faces))


class Library:
    """Training shapes to be found again. Each is known by places on its surface in its cube."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.shapes = [(pose_of(shape).inwards(shape.vertices), shape.faces) for shape in shapes]
        self.places = [places_on(*shape, count=256) for shape in self.shapes]

    def offer(self, shape: Shape) -> Offer:
        """The nearest one in this shape's cube: of those whose places are nearest, the nearest surface."""
        from scipy.spatial import cKDTree

        pose = pose_of(shape)
        own = pose.inwards(shape.vertices)
        some = places_on(own, shape.faces, 256)
        tree = cKDTree(places_on(own, shape.faces))
        rough = [tree.query(p)[0].mean() + cKDTree(p).query(some)[0].mean() for p in self.places]
        measure = Closeness(own, shape.faces)
        best = min(np.argsort(rough)[:16], key=lambda i: measure(*_mesh(self.shapes[i])))
        vertices, faces = self.shapes[best]
        return Offer(f"training shape {best}", CONTAINER + POSE + 2, Shape(pose.outwards(vertices), faces))


def measured(shape: Shape, offers: Iterable[Offer]) -> list[tuple[float, Offer]]:
    """Offers with how far each is from the shape, as `Closeness` tells it."""
    pose = pose_of(shape)
    measure = Closeness(pose.inwards(shape.vertices), shape.faces)
    return [(measure(*_mesh((pose.inwards(offer.shape.vertices), offer.shape.faces))), offer) for offer in offers]


def best_within(offers: Sequence[tuple[float, Offer]], bytes: int) -> Offer | None:
    """The nearest offer that has at most so many bytes."""
    fitting = [item for item in offers if item[1].bytes <= bytes]
    return min(fitting, key=lambda item: item[0])[1] if fitting else None


def _mesh(shape: tuple[Array, Array | None]) -> tuple[Array, Array]:
    vertices, faces = shape
    return vertices, np.zeros((0, 3), np.int64) if faces is None else faces


def _used(vertices: Array, faces: Array) -> tuple[Array, Array]:
    used, index = np.unique(faces, return_inverse=True)
    return vertices[used], index.reshape(-1, 3)


def _box_mesh(sides: Array) -> tuple[Array, Array]:
    """Closed boxes from (n, 2, 3) corners."""
    pick = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    vertices = np.stack([sides[:, pick[:, k], k] for k in range(3)], -1).reshape(-1, 3)
    return vertices, (faces[None] + 8 * np.arange(len(sides))[:, None, None]).reshape(-1, 3)
