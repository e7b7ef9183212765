"""Patterns: in which order the tokens of a document's stages stand in a stream for a language model.

A pattern takes the places of all tokens (numbers of the stages' arrays, one after the other, in C order) and lays them out in a line, with
`ROW_END` after each row of a picture and `EMPTY` where a delayed level has nothing yet. What it takes and what it gives are numbers of
places, so that one table serves both directions and all documents of a layout.

- `flatten`: one place after the other, the levels of each together; time outermost, so that sound is written frame by frame.
- `delay`: level k comes k steps later, all levels of a step together (MusicGen, arXiv 2306.05284). Steps are of time, or places of a
picture.
- `coarse-first`: one stage after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import numpy as np

from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import Layout, Stage

Array = np.ndarray
EMPTY, ROW_END = -1, -2


def places(layout: Layout, pattern: str, row_ends: bool) -> Array:
    """int64 (length of the stream,): the number of the token that stands there, or EMPTY or ROW_END.

    row_ends: mark the ends of rows, where stages have rows; not with `delay`, where levels of different columns stand together.
    UsageError where the pattern is unknown, or not made for such a layout.
    """
    if pattern not in PATTERNS:
        raise UsageError(f"no pattern {pattern!r}; choose one of {', '.join(PATTERNS)}")
    arrays, at = [], 0
    for stage in layout.stages:
        arrays.append(np.arange(at, at + stage.count, dtype=np.int64).reshape(stage.shape))
        at += stage.count
    return PATTERNS[pattern](layout.stages, arrays, row_ends)


def _flatten(stages: tuple[Stage, ...], arrays: list[Array], row_ends: bool) -> Array:
    bundles = _bundles(stages, arrays)
    parts = [_rows(names, bundle) if row_ends else bundle for names, bundle in bundles]
    steps = parts[0].shape[0] if bundles[0][0][:1] == ("time",) else 0
    if steps and all(names[:1] == ("time",) and len(part) % steps == 0 for (names, _), part in zip(bundles, parts, strict=True)):
        return np.concatenate([part.reshape(steps, -1) for part in parts], axis=1).ravel()
    return np.concatenate([part.ravel() for part in parts])


def _coarse_first(stages: tuple[Stage, ...], arrays: list[Array], row_ends: bool) -> Array:
    parts = []
    for stage, array in zip(stages, arrays, strict=True):
        names, part = _time_first(stage, array)
        parts.append((_rows(names, part[..., None]) if row_ends else part).ravel())
    return np.concatenate(parts)


def _delay(stages: tuple[Stage, ...], arrays: list[Array], row_ends: bool) -> Array:
    bundles = _bundles(stages, arrays)
    if len(bundles) > 1:
        raise UsageError("the pattern delay needs levels of one shape, and these stages differ; use flatten or coarse-first")
    names, bundle = bundles[0]
    levels = bundle.shape[-1]
    steps = bundle.shape[0] if names[:1] == ("time",) else bundle.size // levels
    if not steps:
        return np.empty(0, np.int64)
    given = bundle.reshape(steps, -1, levels)
    out = np.full((steps + levels - 1, given.shape[1], levels), EMPTY, np.int64)
    for level in range(levels):
        out[level : level + steps, :, level] = given[:, :, level]
    return out.ravel()


PATTERNS: dict[str, Callable[[tuple[Stage, ...], list[Array], bool], Array]] = {
    "flatten": _flatten,
    "delay": _delay,
    "coarse-first": _coarse_first,
}


def _bundles(stages: tuple[Stage, ...], arrays: list[Array]) -> list[tuple[tuple[str, ...], Array]]:
    """(names of axes, places (*axes, levels)) of each run of stages with equal axes, time first."""
    found = []
    for _, run in groupby(zip(stages, arrays, strict=True), key=lambda pair: pair[0].axes):
        turned = [_time_first(stage, array) for stage, array in run]
        found.append((turned[0][0], np.stack([array for _, array in turned], -1)))
    return found


def _time_first(stage: Stage, array: Array) -> tuple[tuple[str, ...], Array]:
    """Names of axes and the array, its axis `time` in front, if it has one."""
    names = tuple(name for name, _ in stage.axes)
    if "time" not in names:
        return names, array
    axis = names.index("time")
    return ("time", *names[:axis], *names[axis + 1 :]), np.moveaxis(array, axis, 0)


def _rows(names: tuple[str, ...], bundle: Array) -> Array:
    """A mark after each row of places (..., row, col, levels); rows of regions that lines of tokens describe are none."""
    if names[-2:] != ("row", "col") or "step" in names:
        return bundle
    rows = bundle.reshape(*bundle.shape[:-2], -1) if bundle.size else np.empty((*bundle.shape[:-2], 0), np.int64)
    return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, 1)], constant_values=ROW_END)
