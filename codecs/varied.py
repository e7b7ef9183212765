"""Which way to say a signal, of a tokenizer that has several (`contracts.VariedTokenizer`), and how much of it, for a file of a given size.

All ways are tried: of each the longest decodable prefix within the target, and of those the one nearest to the signal by the tokenizer's
own measure. Of equally near ones it is the smallest file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smalti.tokenizers.contracts import Target, VariedTokenizer
from smalti.tokenizers.signals import Signal
from smalti.tokenizers.tokens import Tokens


def best(tokenizer: VariedTokenizer, signal: Signal, ways: Sequence[Tokens], target: Target, size_of: Callable[[Tokens], int]) -> Tokens:
    """The tokens for a target of bytes, or of stages at most. ways: the signal's variants. size_of: bytes of a file of these tokens.

    Where nothing fits, those of the smallest file, which whoever writes it refuses by its size.
    """
    fitting = [found for way in ways if (found := _longest(way, target, size_of)) is not None]
    if not fitting:
        return min((way.prefix(way.layout.cuts[0]) for way in ways), key=size_of)
    distortions = tokenizer.distortions(signal, fitting)
    order = sorted(range(len(fitting)), key=lambda i: (distortions[i], size_of(fitting[i])))
    return fitting[order[0]]


def _longest(tokens: Tokens, target: Target, size_of: Callable[[Tokens], int]) -> Tokens | None:
    """The longest decodable prefix within the target; None where there is none."""
    for cut in reversed(tokens.layout.cuts):
        prefix = tokens.prefix(cut)
        if target.stages is not None and cut > target.stages:
            continue
        if target.bytes is None or size_of(prefix) <= target.bytes:
            return prefix
    return None
