"""Tokens in and out of one rANS stream, for priors whose tables do not depend on the tokens: a model per stage.

The presence masks travel in the same stream. Tokens without masks pay 0.006 bit for them. `FORMAT.md`, section "Coder payload".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from smalti.codecs.coders.rans import Decoder, Encoder
from smalti.codecs.coders.tables import Model, Table, table, uniform
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

Array = np.ndarray
MAX_TOKENS = 1 << 28
MAX_REGIONS = 1 << 24
MAX_FREE = 1 << 25  # tokens that cost nothing (absent, or of a codebook with one entry): a few bytes must not ask for gigabytes
_ANY = table(np.array([65280, 256]))  # are there masks at all
_LEVELS = 64  # a mask's density: level / 63, of which 0 is "none" and 63 "all", without flags


class Puts(Protocol):
    """Where symbols under tables go."""

    def put(self, symbols: Array, model: Model) -> None:
        """Append symbols (N,)."""


class Takes(Protocol):
    """Where symbols under tables come from."""

    def take(self, count: int, model: Model) -> Array:
        """The next symbols (count,)."""


def encode(tokens: Tokens, known: int, models: Sequence[Model]) -> bytes:
    """One stream with the stages from `known` on; `models` has one per stage of the tokens. Raises UsageError."""
    check_known(tokens.layout, known)
    if tokens.layout.count - tokens.count > MAX_FREE:
        raise UsageError(f"one stream holds at most {MAX_FREE} absent tokens, found {tokens.layout.count - tokens.count}")
    coder = Encoder(_size(tokens.layout, known))
    _put(coder, tokens, known, models)
    return coder.finish()


def price(tokens: Tokens, models: Sequence[Model]) -> list[float]:
    """Bits per stage under the models, the cost of its mask included."""
    check_known(tokens.layout, 0)
    return _put(Encoder(0), tokens, 0, models)


def decode(data: bytes, layout: Layout, known: Tokens | None, models: Sequence[Model]) -> Tokens:
    """The tokens that `encode` coded; `known` are the stages before. Raises BitstreamError for anything else."""
    first = len(known.arrays) if known is not None else 0
    if known is not None and known.layout.stages != layout.stages[:first]:
        raise ModelError("the known tokens have other stages than the layout that is decoded")
    try:
        check_known(layout, first)
    except UsageError as error:
        raise BitstreamError(str(error)) from error
    arrays = list(known.arrays) if known is not None else []
    masks = list(known.present) if known is not None else []
    stages = layout.stages[first:]
    coder = Decoder(data, _size(layout, first))
    held = masks[-1] if masks else None
    start, axes = (first, 0) if held is not None else take_header(coder, stages, first)
    absent = 0
    for k, stage in enumerate(stages, first):
        mask = take_mask(coder, stage, held, axes) if k >= start else None
        held = mask
        if mask is None:
            arrays.append(coder.take(stage.count, models[k]).reshape(stage.shape))
        else:
            lead = stage.shape[: len(stage.shape) - mask.ndim]
            there = int(mask.sum())
            absent += math.prod(lead) * (mask.size - there)
            if absent > MAX_FREE:
                raise BitstreamError(f"more than {MAX_FREE} absent tokens in one stream")
            array = np.zeros(stage.shape, np.int32)
            array[..., mask] = coder.take(math.prod(lead) * there, models[k]).reshape(*lead, there)
            arrays.append(array)
        masks.append(mask)
    coder.finish()
    return Tokens(layout, tuple(arrays), tuple(masks))


def _put(coder: Encoder, tokens: Tokens, known: int, models: Sequence[Model]) -> list[float]:
    """Put the stages from `known` on; returns the bits each added."""
    stages, masks = tokens.layout.stages, tokens.present
    held = masks[known - 1] if known else None
    bits, before = [], 0.0
    if held is None and known < len(stages):
        put_header(coder, stages[known:], masks[known:])
    for array, mask, model in zip(tokens.arrays[known:], masks[known:], models[known:], strict=True):
        if mask is not None:
            put_mask(coder, mask, held)
            held = mask
        coder.put((array if mask is None else array[..., mask]).ravel(), model)
        bits.append(coder.bits - before)
        before = coder.bits
    return bits


def put_header(coder: Puts, stages: Sequence[Stage], masks: Sequence[Array | None]) -> None:
    """Whether there are masks, from which of these stages on, and over how many axes."""
    first = next((i for i, mask in enumerate(masks) if mask is not None), None)
    coder.put(np.array([first is not None], np.int64), _ANY)
    if first is None:
        return
    mask = masks[first]
    assert mask is not None
    if mask.size > MAX_REGIONS:
        raise UsageError(f"masks have at most {MAX_REGIONS} regions, found {mask.size}")
    coder.put(np.array([first]), uniform(len(stages)))
    coder.put(np.array([mask.ndim]), uniform(len(stages[first].axes) + 1))


def take_header(coder: Takes, stages: Sequence[Stage], first: int) -> tuple[int, int]:
    """The first stage that has a mask, and over how many trailing axes; a stage after the last one where none has."""
    if not stages or not coder.take(1, _ANY)[0]:
        return first + len(stages), 0
    start = int(coder.take(1, uniform(len(stages)))[0])
    return first + start, int(coder.take(1, uniform(len(stages[start].axes) + 1))[0])


def put_mask(coder: Puts, mask: Array, held: Array | None) -> None:
    """A stage's mask; `held` is the one of the stage before."""
    flags = mask.ravel() if held is None else mask[held]
    there = int(flags.sum())
    level = 0 if there == 0 else _LEVELS - 1 if there == flags.size else min(max(63 * there // flags.size, 1), 62)
    coder.put(np.array([level]), uniform(_LEVELS))
    if 0 < level < _LEVELS - 1:
        coder.put(flags.astype(np.int64), _density(level))


def take_mask(coder: Takes, stage: Stage, held: Array | None, axes: int) -> Array:
    """What `put_mask` put, over the `axes` last axes where it is the first one; raises BitstreamError."""
    shape = held.shape if held is not None else stage.shape[len(stage.shape) - axes :]
    if shape != stage.shape[len(stage.shape) - len(shape) :] or math.prod(shape) > MAX_REGIONS:
        raise BitstreamError(f"a mask over regions {shape} does not fit stage {stage.name} of shape {stage.shape}")
    level = int(coder.take(1, uniform(_LEVELS))[0])
    count = math.prod(shape) if held is None else int(held.sum())
    if 0 < level < _LEVELS - 1:
        flags = coder.take(count, _density(level)).astype(bool)
        if not 0 < int(flags.sum()) < count:
            raise BitstreamError("a mask is coded flag by flag though all its flags are equal")
    else:
        flags = np.full(count, level > 0)
    if held is None:
        return flags.reshape(shape)
    mask = np.zeros(shape, bool)
    mask[held] = flags
    return mask


def _density(level: int) -> Table:
    there = round(65536 * level / 63)
    return table(np.array([65536 - there, there]))


def _size(layout: Layout, known: int) -> int:
    return sum(stage.count for stage in layout.stages[known:])


def check_known(layout: Layout, known: int) -> None:
    """Raises UsageError for stages or sizes that no stream holds."""
    if not 0 <= known <= len(layout.stages):
        raise UsageError(f"known stages lie in 0..{len(layout.stages)}, found {known}")
    if layout.count > MAX_TOKENS:
        raise UsageError(f"one stream holds at most 2^28 tokens, found a layout of {layout.count}")
    free = sum(stage.count for stage in layout.stages if stage.vocab == 1)
    if free > MAX_FREE:
        raise UsageError(f"one stream holds at most {MAX_FREE} tokens of codebooks with one entry, found {free}")
