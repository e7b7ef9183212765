"""What of a stream's tokens came through, and which did not: for files with damaged or missing chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from smalti.codecs.bitstream import parts, reading
from smalti.codecs.bitstream.chunked import Chunked, Part
from smalti.codecs.bitstream.file import File
from smalti.codecs.bitstream.streams import StreamInfo
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

Array = np.ndarray
LEAST_SHARE = 64  # a stage counts as lost if fewer than one in so many of its tokens are left: a few bytes must not claim a huge picture


@dataclass(frozen=True)
class Loss:
    """Tokens [start, stop) of `count` along an axis of a stage (counted from 0) that did not come through. dropped: the stage is left out
    of the result, since it or one before it has too little left."""

    stage: int
    axis: str
    start: int
    stop: int
    count: int
    dropped: bool = False


@dataclass(frozen=True)
class Salvage:
    """tokens: 0 where they were lost. received: per stage a boolean array of its shape. losses: by stage, then place."""

    tokens: Tokens
    received: tuple[Array, ...]
    losses: tuple[Loss, ...]


@dataclass(frozen=True)
class _Stretch:
    """Steps [start, stop) of a stage along the array axis `axis`, and their tokens and mask where they came through."""

    axis: int
    start: int
    stop: int
    tokens: tuple[Array, Array | None] | None


def salvage(file: File, layout: Layout | None, prior: Prior, stream: int = 0, stages: int | None = None) -> Salvage:
    """Whatever can be decoded of a stream, or of its first `stages`.

    file: parsed not strictly. layout and prior as for `File.tokens`. Raises BitstreamError where too little of the first stages is left.
    """
    info = file.streams[stream]
    full = reading.layout_of(info, layout)
    reading.check_prior(info, prior)
    if stages is not None and (stages not in full.cuts or stages > info.stages):
        raise UsageError(f"it holds {info.stages} stages, of which {', '.join(map(str, full.cuts))} decode; asked for {stages}")
    if not isinstance(file.content, Chunked):
        tokens = file.tokens(layout, prior, stream, stages)
        return Salvage(tokens, tuple(np.ones(stage.shape, bool) for stage in tokens.layout.stages), ())
    own = [part for part in file.content.parts if part.stream == stream]
    count = min(info.stages, stages or info.stages)
    found = _groups(own, info, full, prior, count) if info.grouped else _still(own, info, full, prior, count)
    enough = next((k for k, stretches in enumerate(found) if not _enough(full.stages[k], stretches)), count)
    kept = max((cut for cut in full.cuts if cut <= enough), default=0)
    if not kept:
        raise BitstreamError("too little of the first stages is left to decode any")
    losses = _losses(found[:kept], full)
    losses += [Loss(k, "", 0, full.stages[k].count, full.stages[k].count, True) for k in range(kept, count)]
    arrays: list[Array] = []
    masks: list[Array | None] = []
    received: list[Array] = []
    for stage, stretches in zip(full.stages[:kept], found, strict=False):
        array, mask, there = _joined(stage, stretches, masks[-1] if masks else None)
        arrays.append(array)
        masks.append(mask)
        received.append(there)
    return Salvage(parts.checked(full.prefix(kept), arrays, masks), tuple(received), tuple(losses))


def _still(own: Sequence[Part], info: StreamInfo, layout: Layout, prior: Prior, count: int) -> list[list[_Stretch]]:
    by_place = {(part.stage, part.segment): part for part in own}
    found: list[list[_Stretch]] = []
    held: Tokens | None = None
    for k, stage in enumerate(layout.stages[:count]):
        borders = parts.stage_bounds(stage, info.unit)
        stretches = []
        for s in range(len(borders) - 1):
            piece = _piece(by_place.get((k, s)), layout, held, borders, prior)
            stretches.append(_Stretch(0, borders[s], borders[s + 1], (piece.arrays[k], piece.present[k]) if piece is not None else None))
        found.append(stretches)
        if not _enough(stage, stretches):
            break  # nothing stands on it
        before = held.present[-1] if held is not None else None
        array, mask, _ = _joined(stage, stretches, before)
        arrays, masks = (held.arrays, held.present) if held is not None else ((), ())
        held = parts.checked(Layout(layout.stages[: k + 1], (k + 1,), layout.signal), (*arrays, array), (*masks, mask))
    return found


def _piece(part: Part | None, layout: Layout, held: Tokens | None, borders: list[int], prior: Prior) -> Tokens | None:
    """One segment, decoded with the stages before as they are: where these have losses that the prior looked at, it is lost as well, which
    its hash tells."""
    if part is None or part.last != (part.segment + 2 == len(borders)):
        return None
    try:
        return reading.still_piece(part, layout, held, borders, prior)
    except BitstreamError:
        return None


def _groups(own: Sequence[Part], info: StreamInfo, layout: Layout, prior: Prior, count: int) -> list[list[_Stretch]]:
    reading.check_groups([], info, layout)
    borders = parts.group_bounds(layout, info.unit)
    axis, steps = parts.group_axis(layout), max(parts.group_steps(layout), 1)
    pieces: list[tuple[int, int, Tokens | None]] = []
    end = 0
    for part in sorted((part for part in own if part.segment + 1 < len(borders)), key=lambda part: part.segment):
        start, stop = borders[part.segment], borders[part.segment + 1]
        if start < end:
            continue  # comes twice in a damaged file
        if end < start:
            pieces.append((end, start, None))  # one for all groups of the gap: many may be missing
        pieces.append((start, stop, _group(part, parts.group_layout(layout, start, stop), prior, count)))
        end = stop
    if end < borders[-1]:
        pieces.append((end, borders[-1], None))
    found = []
    for k, stage in enumerate(layout.stages[:count]):
        place = [name for name, _ in stage.axes].index(axis)
        ratio = stage.shape[place] // steps
        stretches = []
        for start, stop, piece in pieces:
            tokens = (piece.arrays[k], piece.present[k]) if piece is not None and k < len(piece.arrays) else None
            stretches.append(_Stretch(place, start * ratio, stop * ratio, tokens))
        found.append(stretches)
    return found


def _group(part: Part, whole: Layout, prior: Prior, count: int) -> Tokens | None:
    """The leading levels of a group that decode."""
    piece: Tokens | None = None
    for k in range(count):
        try:
            piece = reading.decoded(part.blobs[k], Layout(whole.stages[: k + 1], (k + 1,), whole.signal), piece, prior)
        except BitstreamError:
            break
    return piece


def _enough(stage: Stage, stretches: Sequence[_Stretch]) -> bool:
    """Whether something can stand in for what was lost: for a step that no line has left there is nothing."""
    if any(stretch.tokens is None and stretch.axis == stage.step_axis for stretch in stretches):
        return False
    left = sum(stretch.tokens[0].size for stretch in stretches if stretch.tokens is not None)
    return any(stretch.tokens is not None for stretch in stretches) and LEAST_SHARE * left >= stage.count


def _losses(found: Sequence[Sequence[_Stretch]], layout: Layout) -> list[Loss]:
    """Lost stretches, neighbours as one."""
    losses: list[Loss] = []
    for k, stretches in enumerate(found):
        axes = layout.stages[k].axes
        before: Loss | None = None
        for stretch in stretches:
            if stretch.tokens is not None:
                before = None
                continue
            axis, count = axes[stretch.axis] if axes else ("", 1)
            if before is not None:
                losses[-1] = before = replace(before, stop=stretch.stop)
                continue
            before = Loss(k, axis, stretch.start, stretch.stop, count)
            losses.append(before)
    return losses


def _joined(stage: Stage, stretches: Sequence[_Stretch], before: Array | None) -> tuple[Array, Array | None, Array]:
    """(tokens, mask, received) of a stage. Where a stretch was lost, the stage holds what the one before it does; before: its mask."""
    array, received = np.zeros(stage.shape, np.int32), np.zeros(stage.shape, bool)
    held = [stretch.tokens[1] for stretch in stretches if stretch.tokens is not None]
    masked = next((mask for mask in held if mask is not None), None)
    mask: Array | None = None
    if masked is not None:
        shape = stage.shape[len(stage.shape) - masked.ndim :]
        mask = before.copy() if before is not None and before.shape == shape else np.ones(shape, bool)
    elif before is not None:
        mask = before.copy()
    for stretch in stretches:
        if stretch.tokens is None:
            continue
        place: tuple[slice, ...] = (slice(None),) * stretch.axis + (slice(stretch.start, stretch.stop),)
        place = place if stage.axes else ()
        array[place], received[place] = stretch.tokens[0], True
        own = stretch.tokens[1]
        if (own is None) != (masked is None) or (own is not None and masked is not None and own.ndim != masked.ndim):
            raise BitstreamError("only some segments of a stage have masks")
        if own is not None and mask is not None:
            lead = stretch.axis - (len(stage.axes) - own.ndim)
            mask[(slice(None),) * lead + (slice(stretch.start, stretch.stop),) if lead >= 0 else ...] = own
    return array, mask, received
