"""How the tokens of each stage are spread, over all documents: what tells a corpus of one grey token from a good one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smalti.prepare.records import DocumentLayout
from smalti.tokenizers.errors import BitstreamError

TOGETHER = 2**20  # tokens that are gathered at a time
TOP_SHARE, LEAST_USED = 0.5, 0.01
LEAST_SAID = 0.15  # of the bits that entries could carry; coefficients of shapes, 70 % of them 0, have 0.2 to 0.3
ENOUGH = 1000  # tokens below which nobody can tell
LARGEST_HISTOGRAM = 2**20  # entries; a larger vocabulary (corners of huge meshes) is counted by remainder


@dataclass
class Spread:
    """Of a stage of a model. State: counts of each code, documents and the largest vocabulary so far."""

    vocab: int = 0
    documents: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, codes: np.ndarray, documents: int, vocab: int) -> None:
        self.vocab, self.documents = max(self.vocab, vocab), self.documents + documents
        found = np.bincount(codes % LARGEST_HISTOGRAM if vocab > LARGEST_HISTOGRAM else codes, minlength=len(self.counts))
        found[: len(self.counts)] += self.counts
        self.counts = found

    def to_json(self) -> dict[str, Any]:
        """entropy_bits: of order 0, a token. used: share of the entries that occur, or could among so few tokens. top_share: of the most
        frequent one."""
        tokens = int(self.counts.sum())
        shares = self.counts[self.counts > 0] / max(tokens, 1)
        reachable = max(min(self.vocab, tokens), 1)
        return {
            "vocab": self.vocab,
            "documents": self.documents,
            "tokens": tokens,
            "entropy_bits": round(float(-(shares * np.log2(shares)).sum()) + 0.0, 6),
            "used": round(len(shares) / reachable, 6),
            "top_share": round(float(shares.max(initial=0)), 6),
        }


class Statistics:
    """Spreads by model and stage. State: those."""

    def __init__(self) -> None:
        self.spreads: dict[tuple[int, str], Spread] = {}

    def add_unit(self, array: np.ndarray, documents: np.ndarray, layouts: tuple[DocumentLayout, ...], name: str) -> None:
        """All documents of a unit, those of one layout at a time. BitstreamError for a code outside its vocabulary."""
        for number, entry in enumerate(layouts):
            starts = documents["start"][documents["layout"] == number]
            at = 0
            for stage in entry.layout.stages:
                spread = self.spreads.setdefault((entry.model, stage.name), Spread())
                for codes, held in _gathered(array, starts + at, stage.count):
                    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < stage.vocab:
                        raise BitstreamError(
                            f"{name}: a code of {int(codes.max())} in stage {stage.name} of {stage.vocab} entries; damaged"
                        )
                    spread.add(codes, held, stage.vocab)
                at += stage.count

    def of_model(self, model: int) -> list[dict[str, Any]]:
        """The stages of a model that occur, by name in order of appearance."""
        return [{"name": name, **spread.to_json()} for (owner, name), spread in self.spreads.items() if owner == model]


def _gathered(array: np.ndarray, starts: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, int]]:
    """(codes, documents) of stretches of that many tokens, as int64."""
    if not count:
        yield np.zeros(0, np.int64), len(starts)
        return
    step = max(1, TOGETHER // count)
    for first in range(0, len(starts), step):
        part = np.asarray(starts[first : first + step])
        if len(part) == 1:  # of a long film, say
            for place in range(int(part[0]), int(part[0]) + count, TOGETHER):
                yield np.asarray(array[place : min(place + TOGETHER, int(part[0]) + count)]).astype(np.int64), int(place == int(part[0]))
            continue
        yield np.asarray(array[(part[:, None] + np.arange(count)).ravel()]).astype(np.int64), len(part)


def degenerate(stages: list[dict[str, Any]]) -> str:
    """Why the tokens of a model say hardly anything, "" where they do say something.

    Its stages count together, by their tokens: a stage of motion is "none" for most of a still film, and rows of primitives that a shape
    does not need are empty, which is as it should be.
    """
    counted = [stage for stage in stages if stage["vocab"] > 1]
    tokens = sum(stage["tokens"] for stage in counted)
    if tokens < ENOUGH:
        return ""
    top = sum(stage["top_share"] * stage["tokens"] for stage in counted) / tokens
    used = sum(stage["used"] * stage["tokens"] for stage in counted) / tokens
    said = sum(stage["entropy_bits"] * stage["tokens"] for stage in counted) / sum(math.log2(s["vocab"]) * s["tokens"] for s in counted)
    if top > TOP_SHARE and said < LEAST_SAID:
        return f"{top:.0%} of its tokens are the most frequent one of their stage, and all say {said:.1%} of the bits that they could"
    return f"{used:.2%} of its entries are used" if used < LEAST_USED else ""
