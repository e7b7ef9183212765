"""Where a shape lies and how large it is, in whole numbers: the size of a shape in `Layout.signal` and in files.

A unit is a power of two. The cube around a shape has its centre on whole units, and half of its side is 128 to 255 of them; so a shape
fills its cube to within a hundredth, and lies in it to within half a unit. FORMAT.md has the numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Shape

Array = np.ndarray
MANTISSA = 128
MAX_PLACE = 2**31 - 1  # of a centre, in units: as a zigzag below 2^32
_EXPONENTS = (-1000, 900)  # far inside what float64 holds, so that no product over- or underflows
NAMES = ("scale", "x", "y", "z")


@dataclass(frozen=True)
class Pose:
    """The cube of a shape. exponent: a unit is 2^exponent. half: of its side, in units, 128..255. place: its centre, in units."""

    exponent: int
    half: int
    place: tuple[int, int, int]

    @property
    def unit(self) -> float:
        return math.ldexp(1.0, self.exponent)

    @property
    def centre(self) -> Array:
        """float64 (3,), in the shape's own units."""
        return np.asarray(self.place, np.float64) * self.unit

    @property
    def radius(self) -> float:
        """Half of the cube's side, in the shape's own units."""
        return self.half * self.unit

    def inwards(self, points: Array) -> Array:
        """Points (..., 3) with the cube as [-1, 1]; the shape itself may reach half a unit (1/256 at most) beyond."""
        return (points - self.centre) / self.radius

    def outwards(self, points: Array) -> Array:
        """The inverse of `inwards`, as float64."""
        return np.asarray(points, np.float64) * self.radius + self.centre

    @property
    def signal(self) -> tuple[tuple[str, int], ...]:
        """As in `Layout.signal`."""
        scale = MANTISSA * _zigzag(self.exponent) + self.half - MANTISSA
        return tuple(zip(NAMES, (scale, *(_zigzag(p) for p in self.place)), strict=True))


def pose_of(shape: Shape) -> Pose:
    """The pose of a shape's vertices, of those that faces use where it has any. SignalError for none, and for what is not finite,
    has no extent, or lies too far from the origin for its size."""
    points = shape.used
    if not len(points):
        raise SignalError("the shape has no vertices")
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points).all(1)).sum())
        raise SignalError(f"{bad} of {len(points)} vertices are not finite (NaN or infinite); remove them")
    low, high = points.min(0), points.max(0)
    with np.errstate(over="ignore"):
        radius, centre = float((high / 2 - low / 2).max()), low / 2 + high / 2
    if radius == 0:
        raise SignalError(f"the shape has no extent: its {len(points)} vertices lie in one place")
    exponent = math.frexp(radius)[1] - 8
    half = math.ceil(math.ldexp(radius, -exponent))
    if half > 2 * MANTISSA - 1:
        exponent, half = exponent + 1, MANTISSA
    if not _EXPONENTS[0] <= exponent <= _EXPONENTS[1]:
        raise SignalError(f"the shape is {2 * radius:.3g} large, beyond what is kept; scale it")
    place = np.rint(np.ldexp(centre, -exponent))
    if np.abs(place).max() > MAX_PLACE:
        raise SignalError(
            f"the shape is {2 * radius:.3g} large and lies {np.abs(centre).max():.3g} from the origin: too far for its size; move it"
        )
    return Pose(exponent, half, (int(place[0]), int(place[1]), int(place[2])))


def pose_from(signal: tuple[tuple[str, int], ...]) -> Pose:
    """The pose of a `Layout.signal`; UsageError for what is none."""
    size = dict(signal)
    if any(name not in size for name in NAMES):
        raise UsageError(f"the size of a shape has {', '.join(NAMES)}; found {signal}")
    exponent, half = _unzigzag(size["scale"] // MANTISSA), MANTISSA + size["scale"] % MANTISSA
    if not _EXPONENTS[0] <= exponent <= _EXPONENTS[1] or any(not 0 <= size[name] < 2**32 for name in NAMES):
        raise UsageError(f"a shape of that size or place is not kept: {signal}")
    return Pose(exponent, half, (_unzigzag(size["x"]), _unzigzag(size["y"]), _unzigzag(size["z"])))


def _zigzag(n: int) -> int:
    return 2 * n if n >= 0 else -2 * n - 1


def _unzigzag(n: int) -> int:
    return n // 2 if n % 2 == 0 else -(n + 1) // 2
