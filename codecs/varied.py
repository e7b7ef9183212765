"""Which way to say a signal, of a tokenizer that has several (`contracts.VariedTokenizer`), and how much of it, in so many bytes.

All ways are tried: of each the longest decodable prefix that fits, by the prior's price, and of those the one nearest to the signal by the
tokenizer's own measure. Of equally near ones it is the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smalti.tokenizers.contracts import Prior, VariedTokenizer
from smalti.tokenizers.signals import Signal
from smalti.tokenizers.tokens import Tokens

SURE = 16  # bytes by which a price tells that a file fits, or does not: sizes and places of ways take more or fewer


@dataclass(frozen=True)
class _Fitting:
    """way: its number."""

    way: int
    tokens: Tokens
    bits: float


class Choice:
    """All ways to say one signal, and how near those are that were asked about: kept while files of several sizes are made of it."""

    def __init__(self, tokenizer: VariedTokenizer, signal: Signal, prior: Prior, size_of: Callable[[Tokens], int]) -> None:
        """size_of: bytes of a file of these tokens."""
        self.tokenizer, self.signal, self.prior, self.size_of = tokenizer, signal, prior, size_of
        self.ways = tokenizer.variants(signal)
        self._distortions: dict[tuple[int, int], float] = {}
        firsts = [way.prefix(way.layout.cuts[0]) for way in self.ways]
        self.smallest = min(firsts, key=size_of)
        self._beside = size_of(self.smallest) - sum(prior.price(self.smallest)) / 8

    def best(self, bytes: int) -> Tokens:
        """The tokens of a file of at most so many bytes; where nothing fits those of the smallest, which whoever writes it refuses."""
        fitting = [found for number, way in enumerate(self.ways) if (found := self._longest(number, way, bytes)) is not None]
        if not fitting:
            return self.smallest
        asked = [f for f in fitting if (f.way, len(f.tokens.arrays)) not in self._distortions]
        for f, distortion in zip(asked, self.tokenizer.distortions(self.signal, [f.tokens for f in asked]), strict=True):
            self._distortions[f.way, len(f.tokens.arrays)] = distortion
        return min(fitting, key=lambda f: (self._distortions[f.way, len(f.tokens.arrays)], f.bits)).tokens

    def _longest(self, number: int, tokens: Tokens, bytes: int) -> _Fitting | None:
        """The longest decodable prefix within so many bytes; None where there is none."""
        found = None
        for cut in tokens.layout.cuts:
            prefix = tokens.prefix(cut)
            bits = sum(self.prior.price(prefix))
            left = bytes - self._beside - bits / 8
            if left < -SURE or (left < SURE and self.size_of(prefix) > bytes):
                break
            found = _Fitting(number, prefix, bits)
        return found
