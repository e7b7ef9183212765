"""Which tokens a TOKENS chunk holds: rows of one stage, or all levels of a group: a stretch of time, or of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

Array = np.ndarray
_TARGET_BITS = 8 * 8192  # of a chunk of a still signal before entropy coding
MANY_LEVELS, LEVEL_BYTES = 16, 800  # of a group, before entropy coding
MAX_SEGMENTS = 256  # of one stage of a still signal: its place then takes at most two bytes


def is_timed(layout: Layout) -> bool:
    """Whether all stages have a time axis in whole multiples of the first stage's."""
    steps = [dict(stage.axes).get("time") for stage in layout.stages]
    return all(s is not None and steps[0] is not None and s % max(steps[0], 1) == 0 for s in steps)


def rows(stage: Stage) -> int:
    return stage.shape[0] if stage.axes else 1


def bounds(count: int, segments: int) -> list[int]:
    """Borders of that many segments of `count` rows or steps."""
    return [count * s // segments for s in range(segments + 1)]


def stage_bounds(stage: Stage, unit: int) -> list[int]:
    """Row borders of a still stage's segments, at least 2^unit tokens each; at most MAX_SEGMENTS of them."""
    each = stage.count // max(rows(stage), 1)
    least = max(-(-(1 << unit) // max(each, 1)), -(-rows(stage) // MAX_SEGMENTS), 1)
    return bounds(rows(stage), max(1, rows(stage) // least))


def group_axis(layout: Layout) -> str:
    """The axis along which all stages can be cut into the same groups: time, or the first one where all have equal axes; "" for none.

    Lines of tokens (first axis `step`) have none: a group of steps is no region, and one of rows would be cut along another axis than rows
    are elsewhere.
    """
    if is_timed(layout):
        return "time"
    axes = layout.stages[0].axes
    return axes[0][0] if axes and axes[0][0] != "step" and all(stage.axes == axes for stage in layout.stages) else ""


def group_steps(layout: Layout) -> int:
    """Steps of the coarsest stage along the axis of the groups."""
    return dict(layout.stages[0].axes)[group_axis(layout)]


def group_count(layout: Layout, unit: int) -> int:
    """How many groups a stream has, at least 2^unit steps of the coarsest stage each. A reader compares it before `group_bounds` makes a
    list of them."""
    return max(1, group_steps(layout) >> unit)


def group_bounds(layout: Layout, unit: int) -> list[int]:
    """Step borders of a stream's groups."""
    return bounds(group_steps(layout), group_count(layout, unit))


def group_tokens(tokens: Tokens, start: int, stop: int) -> Tokens:
    """The tokens of steps [start, stop), of all stages; `layout.signal` stays that of the whole."""
    if is_timed(tokens.layout):
        return tokens.segment(start, stop)
    return cut_rows(tokens, tokens.layout.stages[0].axes, start, stop)


def choose_unit(tokens: Tokens) -> int:
    """The unit exponent that gives still chunks of about 4..8 KiB before entropy coding; integers only, so the same everywhere."""
    first = tokens.layout.stages[0].axes
    masked = any(m is not None and m.ndim == len(s.axes) for s, m in zip(tokens.layout.stages, tokens.present, strict=True))
    if masked and any(stage.axes != first for stage in tokens.layout.stages):
        return 28  # a mask over rows can't be cut where stages have other rows: one chunk a stage
    bits = sum(stage.count * (stage.vocab - 1).bit_length() for stage in tokens.layout.stages)
    return min(max((_TARGET_BITS * tokens.layout.count // max(bits, 1)).bit_length() - 1, 10), 28)


def choose_group_unit(tokens: Tokens) -> int:
    """The unit exponent that gives groups of at least 1 KiB before entropy coding; of many levels more, since each costs about 6 bytes a
    group: 32 levels in groups of 2 KiB would be a tenth of the file, so they stay below a hundredth."""
    steps, count = group_steps(tokens.layout), len(tokens.arrays)
    least = 2048 if count < MANY_LEVELS else LEVEL_BYTES * count
    bits = sum(stage.count * (stage.vocab - 1).bit_length() for stage in tokens.layout.stages)
    return min((8 * least * steps // max(bits, 1)).bit_length(), 28)


def rows_layout(layout: Layout, k: int, start: int, stop: int) -> Layout:
    """Stages 0..k, of which stage k and earlier ones with the same axes are cut to rows [start, stop)."""
    axes = layout.stages[k].axes
    stages = tuple(_cut(stage, stop - start) if stage.axes == axes else stage for stage in layout.stages[: k + 1])
    return Layout(stages, (k + 1,), layout.signal)


def rows_tokens(tokens: Tokens, k: int, start: int, stop: int) -> Tokens:
    """The tokens of `rows_layout`."""
    return cut_rows(levels(tokens, k + 1), tokens.layout.stages[k].axes, start, stop)


def cut_rows(tokens: Tokens, axes: tuple[tuple[str, int], ...], start: int, stop: int) -> Tokens:
    """Tokens of which the stages with these axes are cut to rows [start, stop); the others stay whole."""
    stages, arrays, masks = list(tokens.layout.stages), list(tokens.arrays), list(tokens.present)
    for j, stage in enumerate(stages):
        if axes and stage.axes == axes:
            stages[j], arrays[j] = _cut(stage, stop - start), arrays[j][start:stop]
            mask = masks[j]
            masks[j] = mask[start:stop] if mask is not None and mask.ndim == len(axes) else mask
    return checked(Layout(tuple(stages), tokens.layout.cuts, tokens.layout.signal), arrays, masks)


def _cut(stage: Stage, count: int) -> Stage:
    return Stage(stage.name, ((stage.axes[0][0], count), *stage.axes[1:]), stage.vocab) if stage.axes else stage


def group_layout(layout: Layout, start: int, stop: int) -> Layout:
    """The layout of `group_tokens`."""
    axis, steps = group_axis(layout), max(group_steps(layout), 1)
    stages = []
    for stage in layout.stages:
        axes = tuple((name, (stop - start) * (size // steps) if name == axis else size) for name, size in stage.axes)
        stages.append(Stage(stage.name, axes, stage.vocab))
    return Layout(tuple(stages), layout.cuts, layout.signal)


def levels(tokens: Tokens, k: int) -> Tokens:
    """The first k stages, whether or not they decode."""
    return Tokens(Layout(tokens.layout.stages[:k], (k,), tokens.layout.signal), tokens.arrays[:k], tokens.present[:k])


def stage_digest(tokens: Tokens, k: int) -> str:
    """SHA-256 (hex) of stage k alone, its mask included."""
    return Tokens(Layout(tokens.layout.stages[k : k + 1], (1,)), tokens.arrays[k : k + 1], tokens.present[k : k + 1]).digest()


def join(layout: Layout, pieces: Sequence[Tokens], axis: str) -> Tokens:
    """Pieces one after the other along the axis of that name; raises BitstreamError where their masks do not fit."""
    arrays, masks = [], []
    for k, stage in enumerate(layout.stages):
        place = [name for name, _ in stage.axes].index(axis)
        arrays.append(join_arrays([p.arrays[k] for p in pieces], place))
        masks.append(join_masks([p.present[k] for p in pieces], place, len(stage.axes)))
    return checked(layout, arrays, masks)


def join_arrays(pieces: Sequence[Array], place: int) -> Array:
    """Arrays one after the other along an axis; scalars come alone."""
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, place)


def join_masks(pieces: Sequence[Array | None], place: int, axes: int) -> Array | None:
    """Masks along the array axis `place` of `axes`; masks that do not reach that axis must be equal."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    if all(mask is None for mask in pieces):
        return None
    full = [mask for mask in pieces if mask is not None]
    if first is None or len(full) != len(pieces) or len({mask.ndim for mask in full}) > 1:
        raise BitstreamError("only some segments of a stage have masks")
    lead = place - (axes - first.ndim)
    if lead >= 0:
        return np.concatenate(full, lead)
    if any(not np.array_equal(first, mask) for mask in full):
        raise BitstreamError("the segments of a stage hold different regions")
    return first


def checked(layout: Layout, arrays: Sequence[Array], masks: Sequence[Array | None]) -> Tokens:
    """Tokens whose parts came from a file; raises BitstreamError where they do not fit together."""
    try:
        return Tokens(layout, tuple(arrays), tuple(masks))
    except UsageError as error:
        raise BitstreamError(f"the file's tokens do not fit together: {error}") from error
