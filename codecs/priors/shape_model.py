"""What `ShapePrior` knows of a shape's tokens: which decision comes next, and in what context. One walk serves pricing, coding, counting.

The layout is that of `shape-basis`: a plan, primitives of eight numbers, then scales of coefficients. FORMAT.md has all of this in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.tokens import Layout

Array = np.ndarray
HALF = -1  # the context of decisions that are even
_BUCKETS, _RECENT, _SPREAD = 24, 4, 3
_WINDOW = 6
_RECENT_OF = (0, 1, 2, 2, 3, 3, 3)  # of how many of the last six of a family were not 0
# where each kind of decision has its contexts
_COUNT, _FINE = 0, 128
_KIND, _SYMMETRY = _FINE + 32, _FINE + 56
_SEEN = _SYMMETRY + 72
_RANK = _SEEN + 72
_RAW = _RANK + 32
_MIRROR = _RAW + 288
_ZERO = _MIRROR + 1
_MORE = _ZERO + _BUCKETS * _RECENT * _SPREAD
_REFINED = _MORE + _BUCKETS * 6
_TOWARDS = _REFINED + _BUCKETS * 4 * 2
_BEYOND = _TOWARDS + 4
CONTEXTS = _BEYOND + 1


class Decisions(Protocol):
    """Where decisions go to or come from."""

    def bit(self, context: int, value: int) -> int:
        """One decision, 0 or 1: the value where it is known, else what is read."""


@dataclass(frozen=True)
class Plan:
    """What a layout says: finenesses within a factor of two, most primitives, levels of a coordinate, largest coefficient, scales."""

    finenesses: int
    most: int
    levels: int
    largest: int
    components: tuple[int, ...]


def plan_of(layout: Layout, count: int) -> Plan:
    """ModelError where the layout is not that of `shape-basis`, or has more components than the prior's `count`."""
    stages = layout.stages
    shapes = [stage.shape for stage in stages]
    fits = len(stages) >= 2 and shapes[0] == (1,) and len(shapes[1]) == 2 and shapes[1][1] == 8 and 1 <= shapes[1][0] <= 64
    components = tuple(shape[0] for shape in shapes[2:] if len(shape) == 1)
    vocabs = {stage.vocab for stage in stages[2:]}
    if (
        not fits
        or len(components) != len(stages) - 2
        or list(components) != sorted(components)
        or components[-1:] > (count,)
        or stages[0].vocab % (shapes[1][0] + 1)
        or not 1 <= stages[0].vocab // (shapes[1][0] + 1) <= 4
        or not 27 <= stages[1].vocab <= 128
        or len(vocabs) > 1
        or any(vocab % 2 == 0 or vocab > 255 for vocab in vocabs)
    ):
        raise ModelError("this prior is for tokens of shape-basis; use the model's own prior")
    largest = (stages[2].vocab - 1) // 2 if len(stages) > 2 else 0
    return Plan(stages[0].vocab // (shapes[1][0] + 1), shapes[1][0], stages[1].vocab - 1, largest, components)


class Walk:
    """Goes through the stages of one shape's tokens in order. levels: int (classes, C), families: int (C,), classes: first counts."""

    def __init__(self, plan: Plan, levels: Array, families: Array, classes: Sequence[int]) -> None:
        self.plan = plan
        self.levels, self.families, self.classes = levels, families.tolist(), classes
        self.count = self.fineness = 0
        self.values: list[int] = []  # of coefficients, in steps of the last scale
        self.spread = [0] * (max(self.families, default=0) + 1)

    def stage(self, k: int, array: Array | None, to: Decisions) -> Array:
        """Stage k, given or (array None) read; what comes back is int32 of the stage's shape."""
        if k == 0:
            return self._plan(array, to)
        return self._primitives(array, to) if k == 1 else self._scale(k - 2, array, to)

    def _plan(self, array: Array | None, to: Decisions) -> Array:
        given = divmod(int(array[0]), self.plan.finenesses) if array is not None else (0, 0)
        self.count = min(_tree(to, _COUNT, given[0], 7), self.plan.most)
        self.fineness = min(_tree(to, _FINE + 4 * self._class(), given[1], 2), self.plan.finenesses - 1)
        return np.array([self.count * self.plan.finenesses + self.fineness], np.int32)

    def _class(self) -> int:
        return sum(self.count >= least for least in self.classes) - 1

    def _primitives(self, array: Array | None, to: Decisions) -> Array:
        """Rows beyond the plan's count are told from zeros by one decision each, since any tokens can be written."""
        out = np.zeros((self.plan.most, 8), np.int32)
        sides = _Sides(self.plan.levels)
        for i in range(self.count):
            out[i] = self._primitive(array[i].tolist() if array is not None else None, min(i, 2), sides, to)
        rest = array[self.count :].reshape(-1).tolist() if array is not None else None
        if to.bit(_BEYOND, int(rest is not None and any(rest))):
            flat = [_tree(to, HALF, rest[i] if rest is not None else 0, 7) for i in range((self.plan.most - self.count) * 8)]
            out[self.count :] = np.minimum(flat, self.plan.levels).reshape(-1, 8)
        return out

    def _primitive(self, row: list[int] | None, place: int, sides: _Sides, to: Decisions) -> list[int]:
        usual = row is None or (row[0] < 8 and row[1] < 27)
        if not to.bit(_BEYOND, int(not usual)):
            kind = _tree(to, _KIND + 8 * place, row[0] if row is not None else 0, 3)
            digits: list[int] = []
            for axis in range(3):
                digit = row[1] // 3**axis % 3 if row is not None else 0
                context = _SYMMETRY + 2 * (axis + 3 * (digits[-1] if digits else 0) + 9 * (place > 0) + 18 * (kind > 0))
                some = to.bit(context, int(digit > 0))
                digits.append(some and 1 + to.bit(context + 1, int(digit == 2)))
            out = [min(kind, self.plan.levels), sum(d * 3**a for a, d in enumerate(digits))]
        else:
            out = [min(_tree(to, HALF, row[j] if row is not None else 0, 7), self.plan.levels) for j in range(2)]
            digits = [0, 0, 0]
        for axis in range(3):
            out += sides.code(axis, digits[axis], place, row[2 + 2 * axis : 4 + 2 * axis] if row is not None else None, to)
        return out

    def _scale(self, scale: int, array: Array | None, to: Decisions) -> Array:
        largest = self.plan.largest
        given = (array.astype(np.int64) - largest).tolist() if array is not None else None
        components = self.plan.components[scale]
        level = self.levels[min(self._class(), len(self.levels) - 1)][:components] + 4 * scale + self.fineness
        buckets = np.clip((level + 24) // 2, 0, _BUCKETS - 1).tolist()
        known, values = len(self.values), self.values
        recent = [0] * len(self.spread)  # the last few of each family, as bits
        out = []
        for k in range(components):
            family, bucket = self.families[k], buckets[k]
            last = _RECENT_OF[recent[family].bit_count()]
            value = given[k] if given is not None else 0
            if k >= known:
                spread = min(self.spread[family], 4) // 2
                if some := to.bit(_ZERO + (bucket * _RECENT + last) * _SPREAD + spread, int(value != 0)):
                    negative = to.bit(HALF, int(value < 0))
                    size = 1
                    while size < largest and to.bit(_MORE + bucket * 6 + min(size, 6) - 1, int(abs(value) > size)):
                        size += 1
                    value = -size if negative else size
                else:
                    value = 0
                values.append(value)
            else:
                before = values[k]
                size = min(abs(before), 3)
                if some := to.bit(_REFINED + (bucket * 4 + size) * 2 + (last > 0), int(value != 0)):
                    away = to.bit(_TOWARDS + size if size else HALF, int((value < 0) == (before < 0)))
                    size = 1
                    while size < largest and to.bit(_BEYOND, int(abs(value) > size)):
                        size += 1
                    value = -size if (before < 0) == bool(away) else size
                values[k] = 2 * before + value
            recent[family] = (recent[family] << 1 | some) & (1 << _WINDOW) - 1
            self.spread[family] += some
            out.append(value)
        # what is not refined at this scale keeps its step; scales never shrink, so there is none
        return (np.array(out, np.int64) + largest).astype(np.int32)


class _Sides:
    """Sides of primitives, many of which lie where an earlier one's do, or their mirror images."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self.seen = [[levels, 0] for _ in range(3)]

    def code(self, axis: int, digit: int, place: int, given: Sequence[int] | None, to: Decisions) -> list[int]:
        low = self._side(axis, 0, digit, place, given[0] if given is not None else None, 0, to)
        if digit == 2 and to.bit(_MIRROR, int(given is None or given[1] == self.levels - low)):
            high = self.levels - low
        else:
            high = self._side(axis, 1, digit, place, given[1] if given is not None else None, low, to)
        for side in (self.levels - low, self.levels - high, low, high):
            if side in self.seen[axis]:
                self.seen[axis].remove(side)
            self.seen[axis].insert(0, side)
        return [low, high]

    def _side(self, axis: int, which: int, digit: int, place: int, value: int | None, low: int, to: Decisions) -> int:
        seen = self.seen[axis]
        rank = seen.index(value) if value is not None and value in seen else 16
        if to.bit(_SEEN + (axis * 2 + which) * 9 + digit * 3 + place, int(rank < min(len(seen), 16))):
            at = 0
            while at < min(len(seen), 16) - 1 and to.bit(_RANK + which * 16 + at, int(rank > at)):
                at += 1
            return seen[at]
        whole = self.levels + 1
        number = (value - low) % whole if value is not None else 0
        # the upper bits in context, the lower three even
        top = _tree(to, _RAW + 16 * (which * 9 + axis * 3 + digit), number >> 3, 4)
        return (min(top << 3 | _tree(to, HALF, number & 7, 3), self.levels) + low) % whole


def _tree(to: Decisions, base: int, value: int, bits: int) -> int:
    """A number by its bits, highest first, each in the context of those before; HALF: all even."""
    node = 1
    for shift in range(bits - 1, -1, -1):
        node = node << 1 | to.bit(base + node if base != HALF else HALF, value >> shift & 1)
    return node - (1 << bits)
