"""Tokens <-> the ids of a document in a stream, by one table per layout."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from smalti.prepare.packs import patterns
from smalti.prepare.packs.vocabulary import Vocabulary
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Layout, Tokens

Array = np.ndarray
KEPT = 256  # tables at hand; pictures of one size share one, long sounds have their own
KEPT_PLACES = 2**22  # in all of them, at 24 bytes each


@dataclass(frozen=True, eq=False)
class Weave:
    """Where each token of a layout stands in its document, and the special ids around and between them.

    take: int64 (length,), number of the token there, -1 for a special id. base: int64 (length,), what is added to it, or the special id.
    size: int64 (length,), how many ids may stand there, 1 for a special one: what a sampler needs to know.
    """

    layout: Layout
    take: Array
    base: Array
    size: Array

    @property
    def length(self) -> int:
        """Ids of the document."""
        return len(self.take)

    def ids(self, codes: Array) -> Array:
        """int64 (N, length) of documents' codes (N, count): their stages' tokens, one stage after the other, in C order.

        BitstreamError for a code outside its stage's vocabulary, which would mean something else in the stream.
        """
        out = np.tile(self.base, (len(codes), 1))
        held = np.flatnonzero(self.take >= 0)
        if len(held):
            found = codes[:, self.take[held]].astype(np.int64)
            if np.any((found < 0) | (found >= self.size[held])):
                raise BitstreamError("a code outside its stage's vocabulary; the codes are damaged: smalti verify says where")
            out[:, held] += found
        return out

    def codes(self, ids: Array) -> Array:
        """int32 (count,): exactly what the ids (length,) were made of. BitstreamError where they are none of this layout's."""
        if ids.shape != (self.length,):
            raise BitstreamError(f"a document of {ids.size} ids, expected {self.length} of its layout; the pack is damaged, write it again")
        found = ids.astype(np.int64) - self.base
        wrong = np.flatnonzero((found < 0) | (found >= self.size))
        if len(wrong):
            at = int(wrong[0])
            low, high = int(self.base[at]), int(self.base[at] + self.size[at] - 1)
            raise BitstreamError(f"id {int(ids[at])} at place {at} of a document, expected {low}..{high}; another vocabulary or pattern")
        held = self.take >= 0
        codes = np.empty(self.layout.count, np.int32)
        codes[self.take[held]] = found[held]
        return codes


@dataclass(frozen=True)
class Weaver:
    """Makes and keeps the tables of one vocabulary and pattern. bos: whether documents begin with that id; all end with `eod`."""

    vocabulary: Vocabulary
    pattern: str
    row_ends: bool = True
    bos: bool = True
    _kept: dict[tuple[str, Layout], Weave] = field(default_factory=dict, compare=False, repr=False)

    def weave(self, modality: str, layout: Layout) -> Weave:
        """The table of a layout. UsageError where the vocabulary or the pattern does not fit it."""
        key = modality, layout
        if key not in self._kept:
            made = self._made(modality, layout)
            held = made.length + sum(weave.length for weave in self._kept.values())
            while self._kept and (len(self._kept) >= KEPT or held > KEPT_PLACES):
                held -= self._kept.pop(next(iter(self._kept))).length
            self._kept[key] = made
        return self._kept[key]

    def _made(self, modality: str, layout: Layout) -> Weave:
        body = patterns.places(layout, self.pattern, self.row_ends)
        vocabulary = self.vocabulary
        ranges = [vocabulary.of_stage(modality, stage.name, stage.vocab) for stage in layout.stages]
        stage_of = np.repeat(np.arange(len(ranges)), [stage.count for stage in layout.stages])
        held = body >= 0
        stages = stage_of[body[held]]
        base, size = np.empty(len(body), np.int64), np.ones(len(body), np.int64)
        base[held] = np.array([r.base for r in ranges])[stages]
        size[held] = np.array([stage.vocab for stage in layout.stages])[stages]
        base[body == patterns.ROW_END] = vocabulary.special("row-end")
        base[body == patterns.EMPTY] = vocabulary.special("empty")
        before = [vocabulary.special(name) for name in ([*(["bos"] if self.bos else []), f"begin-{modality}"])]
        after = [vocabulary.special(name) for name in (f"end-{modality}", "eod")]
        around = len(before), len(after)
        return Weave(
            layout,
            np.pad(np.where(held, body, -1), around, constant_values=-1),
            np.concatenate([before, base, after]),
            np.pad(size, around, constant_values=1),
        )

    def ids(self, modality: str, tokens: Tokens) -> Array:
        """The ids of one document, in the vocabulary's type."""
        flat = self.weave(modality, tokens.layout).ids(flat_codes(tokens)[None])[0]
        return flat.astype(self.vocabulary.dtype)

    def tokens(self, modality: str, layout: Layout, ids: Array) -> Tokens:
        """The tokens that `ids` were made of; BitstreamError where these are none of such a layout."""
        return tokens_of(layout, self.weave(modality, layout).codes(ids))


def flat_codes(tokens: Tokens) -> Array:
    """int32 (count,): the stages' tokens one after the other. UsageError where some are absent."""
    if any(mask is not None for mask in tokens.present):
        raise UsageError("tokens that hold only some regions cannot be packed; tokenize without a size, so that all are there")
    return np.concatenate([array.ravel() for array in tokens.arrays])


def tokens_of(layout: Layout, codes: Array) -> Tokens:
    """The inverse of `flat_codes`."""
    arrays, at = [], 0
    for stage in layout.stages:
        arrays.append(np.ascontiguousarray(codes[at : at + stage.count], np.int32).reshape(stage.shape))
        at += stage.count
    return Tokens(layout, tuple(arrays))
