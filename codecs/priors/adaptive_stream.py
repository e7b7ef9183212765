"""Tokens in and out of one stream of the adaptive prior: stage after stage, masks as stages of two entries.

Where masks begin is a stage of one or two tokens of its own, so that a stream without masks pays a few bits before anything is learnt
and nothing after.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smalti.codecs.coders.range_coder import check_end, decoder_state, encoder_state, finish
from smalti.codecs.priors import coding
from smalti.codecs.priors.adaptive_tables import HEADER, LEAST_BITS, MASKS, Live, Stored, live
from smalti.codecs.priors.adaptive_tree import codes, depth_of
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

Array = np.ndarray
_PRICE, _ENCODE, _DECODE = 0, 1, 2  # as in adaptive_kernel
_NONE = np.zeros(0, np.int32)
FILM = ("time", "row", "col")  # axes of a stage whose tokens foretell those of the step after them


@dataclass(frozen=True)
class _Path:
    """A stage as the kernel sees it: paths int32 (N,), -1 where absent, of `depth` bits; shape (3,): steps, rows, columns.

    timed: steps are pictures of a film, one after the other.
    """

    paths: Array
    shape: Array
    vocab: int
    timed: bool = False

    @property
    def depth(self) -> int:
        return depth_of(self.vocab)


_NOTHING = _Path(_NONE, np.zeros(3, np.int64), 1)


@dataclass(frozen=True)
class Number:
    """A number that was coded, and its bits where it was priced."""

    value: int
    bits: float


class Coder:
    """One direction of one stream. orders: per stage the tree's entries from left to right; a stage without one is in its own order."""

    def __init__(self, orders: Sequence[Array], known: Live, mode: int, state: Sequence[int], data: Array) -> None:
        self.orders, self.known, self.mode = orders, known, mode
        self.state, self.data = np.array(state, np.int64), data

    def stage(self, kind: int, path: _Path, earlier: _Path = _NOTHING) -> float:
        """Price, encode or decode one stage into or out of its paths; returns bits where priced. Raises BitstreamError."""
        from smalti.codecs.priors import adaptive_kernel

        k = self.known
        arrays = (k.slow, k.fast, k.seen, k.by_depth, k.by_agreement, k.corrections)
        before = (earlier.paths, earlier.shape, earlier.depth)
        form = (path.vocab, path.depth, path.shape, path.paths)
        bits = float(adaptive_kernel.run(self.mode, self.state, self.data, kind, *form, *before, *arrays, _timed_kind(kind, path)))
        if bits < 0:
            raise BitstreamError("a coder stream ends before its symbols do")
        return bits

    def number(self, value: int, vocab: int) -> Number:
        """A number below `vocab` that says where masks are."""
        path = _Path(codes(vocab)[value : value + 1].astype(np.int32), np.ones(3, np.int64), vocab)
        bits = self.stage(HEADER, path)
        return Number(int(np.searchsorted(codes(vocab), path.paths[0])), bits)

    def path_of(self, k: int, stage: Stage, array: Array | None, mask: Array | None) -> _Path:
        """A stage's tokens as paths, or room for them."""
        paths = np.zeros(stage.count, np.int32) if array is None else _ranks(array.ravel(), self._order(k, stage.vocab), stage.vocab)
        if mask is not None and paths.size:
            paths.reshape(-1, mask.size)[:, ~mask.ravel()] = -1
        return _Path(paths, _three(stage.shape), stage.vocab, tuple(name for name, _ in stage.axes) == FILM)

    def tokens_of(self, k: int, stage: Stage, path: _Path) -> Array:
        """The tokens of paths; 0 where absent."""
        depth, order = path.depth, self._order(k, stage.vocab)
        out = np.empty(len(path.paths), np.int32)
        for start in range(0, len(out), 1 << 20):  # pieces, since the product below needs int64
            part = path.paths[start : start + (1 << 20)].astype(np.int64)
            ranks = (np.maximum(part, 0) * stage.vocab + (1 << depth) - 1) >> depth
            entries = ranks if order is None else order[ranks]
            out[start : start + (1 << 20)] = np.where(part < 0, 0, entries)
        return out.reshape(stage.shape)

    def _order(self, k: int, vocab: int) -> Array | None:
        order = self.orders[k] if k < len(self.orders) else _NONE
        if len(order) not in (0, vocab):
            raise ModelError(
                f"stage {k} has {vocab} entries, this prior's tree has {len(order)}; use the model's own prior, or prime one on its tokens"
            )
        return order if len(order) else None


def code(tokens: Tokens, known: int, coder: Coder) -> list[float]:
    """Put the stages from `known` on; returns the bits of each."""
    coding.check_known(tokens.layout, known)
    stages, masks = tokens.layout.stages, tokens.present
    held = masks[known - 1] if known else None
    first = next((k for k in range(known, len(stages)) if masks[k] is not None), len(stages))
    if tokens.layout.count - tokens.count > coding.MAX_FREE:
        raise UsageError(f"one stream holds at most {coding.MAX_FREE} absent tokens, found {tokens.layout.count - tokens.count}")
    bits, cost = [], 0.0
    if held is None and known < len(stages):
        cost += coder.number(first - known, len(stages) - known + 1).bits
        if first < len(stages):
            mask = masks[first]
            assert mask is not None
            if mask.size > coding.MAX_REGIONS:
                raise UsageError(f"masks have at most {coding.MAX_REGIONS} regions, found {mask.size}")
            cost += coder.number(mask.ndim, len(stages[first].axes) + 1).bits
    before = coder.path_of(known - 1, stages[known - 1], tokens.arrays[known - 1], masks[known - 1]) if known else _NOTHING
    for k in range(known, len(stages)):
        mask = masks[k]
        if mask is not None:
            cost += coder.stage(MASKS, _flags(mask, held))
            held = mask
        path = coder.path_of(k, stages[k], tokens.arrays[k], mask)
        bits.append(cost + coder.stage(min(k, MASKS - 1), path, before))
        before, cost = path, 0.0
    return bits


def price(tokens: Tokens, orders: Sequence[Array], knowledge: Live) -> list[float]:
    """Bits per stage; `knowledge` has learnt the tokens afterwards."""
    return code(tokens, 0, Coder(orders, knowledge, _PRICE, encoder_state(), np.zeros(0, np.uint8)))


def encode(tokens: Tokens, known: int, orders: Sequence[Array], knowledge: Stored) -> bytes:
    """One stream with the stages from `known` on. Raises UsageError."""
    coding.check_known(tokens.layout, known)
    if known == len(tokens.layout.stages):
        return b""
    decisions = sum(s.count * depth_of(s.vocab) for s in tokens.layout.stages[known:])
    room = decisions // 8 + decisions // 64 + 64  # more than that is rare, and is coded twice
    while True:
        coder = Coder(orders, live(knowledge), _ENCODE, encoder_state(), np.zeros(room, np.uint8))
        code(tokens, known, coder)
        if coder.state[2] <= room:
            return finish(coder.state, coder.data)
        room = int(coder.state[2])


def decode(data: bytes, layout: Layout, known: Tokens | None, orders: Sequence[Array], knowledge: Stored) -> Tokens:
    """The tokens that `encode` coded; `known` are the stages before. Raises BitstreamError for anything else."""
    first = len(known.arrays) if known is not None else 0
    if known is not None and known.layout.stages != layout.stages[:first]:
        raise ModelError("the known tokens have other stages than the layout that is decoded")
    try:
        coding.check_known(layout, first)
    except UsageError as error:
        raise BitstreamError(str(error)) from error
    arrays = list(known.arrays) if known is not None else []
    masks = list(known.present) if known is not None else []
    if first == len(layout.stages):
        if data:
            raise BitstreamError(f"a coder stream of no symbols has {len(data)} bytes")
        return Tokens(layout, tuple(arrays), tuple(masks))
    coder = Coder(orders, live(knowledge), _DECODE, decoder_state(data), np.frombuffer(data, np.uint8).copy())
    stages = layout.stages
    held, start, axes = (masks[-1], first, 0) if masks and masks[-1] is not None else (None, len(stages), 0)
    if held is None:
        start = first + coder.number(0, len(stages) - first + 1).value
        axes = coder.number(0, len(stages[start].axes) + 1).value if start < len(stages) else 0
    before = coder.path_of(first - 1, stages[first - 1], arrays[-1], masks[-1]) if first else _NOTHING
    absent = 0
    for k in range(first, len(stages)):
        stage, mask = stages[k], None
        if k >= start:
            held = mask = _take_mask(coder, stage, held, axes, len(data))
            there = int(mask.sum())
            lead = math.prod(stage.shape[: len(stage.shape) - mask.ndim])
            absent += lead * (mask.size - there)
            if absent > coding.MAX_FREE:
                raise BitstreamError(f"more than {coding.MAX_FREE} absent tokens in one stream")
            _refuse_impossible(lead * there, stage.vocab, len(data))
        else:
            _refuse_impossible(stage.count, stage.vocab, len(data))
        path = coder.path_of(k, stage, None, mask)
        coder.stage(min(k, MASKS - 1), path, before)
        arrays.append(coder.tokens_of(k, stage, path))
        masks.append(mask)
        before = path
    check_end(coder.state, data)
    return Tokens(layout, tuple(arrays), tuple(masks))


def _flags(mask: Array, held: Array | None) -> _Path:
    paths = mask.astype(np.int32).ravel()
    if held is not None:
        paths[~held.ravel()] = -1
    return _Path(paths, _three(mask.shape), 2)


def _take_mask(coder: Coder, stage: Stage, held: Array | None, axes: int, size: int) -> Array:
    shape = held.shape if held is not None else stage.shape[len(stage.shape) - axes :]
    if shape != stage.shape[len(stage.shape) - len(shape) :] or math.prod(shape) > coding.MAX_REGIONS:
        raise BitstreamError(f"a mask over regions {shape} does not fit stage {stage.name} of shape {stage.shape}")
    _refuse_impossible(math.prod(shape) if held is None else int(held.sum()), 2, size)
    path = _flags(np.zeros(shape, bool), held)
    coder.stage(MASKS, path)
    return (path.paths > 0).reshape(shape)


def _refuse_impossible(count: int, vocab: int, size: int) -> None:
    # a token takes at least one decision less than the longest path, and each costs LEAST_BITS: refused before anything is allocated
    least = count * max(depth_of(vocab) - 1, 1 if vocab > 1 else 0) * LEAST_BITS
    if least > 8 * size + 64:
        raise BitstreamError(f"{count} tokens can't come from {size} bytes")


def _ranks(tokens: Array, order: Array | None, vocab: int) -> Array:
    depth = depth_of(vocab)
    place = None
    if order is not None:
        place = np.empty(vocab, np.int64)
        place[order] = np.arange(vocab)
    out = np.empty(len(tokens), np.int32)
    for start in range(0, len(out), 1 << 20):
        part = tokens[start : start + (1 << 20)]
        out[start : start + (1 << 20)] = ((part.astype(np.int64) if place is None else place[part]) << depth) // vocab
    return out


def _timed_kind(kind: int, path: _Path) -> int:
    """Kind of a stage's steps after the first: they have counters and weights of their own, in kinds that few stages leave free."""
    return min(kind, 3) + 4 if path.timed and kind < MASKS else -1


def _three(shape: tuple[int, ...]) -> Array:
    """Steps, rows, columns: axes before the last two run together, axes that are not there have size 1."""
    full = (1, 1, 1, *shape)
    return np.array([math.prod(full[:-2]), full[-2], full[-1]], np.int64)
