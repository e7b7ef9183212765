"""Which way to say a signal, of a tokenizer that has several (`contracts.VariedTokenizer`), and how much of it, for a file of a given size.

All ways are tried: of each the longest decodable prefix that fits, by the prior's price, and of those the one nearest to the signal by the
tokenizer's own measure. Of equally near ones it is the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smalti.tokenizers.contracts import Prior, Target, VariedTokenizer
from smalti.tokenizers.signals import Signal
from smalti.tokenizers.tokens import Tokens

SURE = 4  # bytes by which a price tells that a file fits, or does not


@dataclass(frozen=True)
class _Fitting:
    tokens: Tokens
    bits: float


def best(
    tokenizer: VariedTokenizer,
    signal: Signal,
    ways: Sequence[Tokens],
    target: Target,
    prior: Prior,
    size_of: Callable[[Tokens], int],
) -> Tokens:
    """The tokens for a target of bytes, or of stages at most. ways: the signal's variants. size_of: bytes of a file of these tokens.

    Where nothing fits, those of the smallest file, which whoever writes it refuses by its size.
    """
    firsts = [way.prefix(way.layout.cuts[0]) for way in ways]
    smallest = min(firsts, key=lambda first: sum(prior.price(first)))
    # beside its payload a file has as many bytes as the smallest one, to within a few: near the target it is written to see
    beside = size_of(smallest) - sum(prior.price(smallest)) / 8
    fitting = [found for way in ways if (found := _longest(way, target, prior, beside, size_of)) is not None]
    if not fitting:
        return smallest
    distortions = tokenizer.distortions(signal, [f.tokens for f in fitting])
    return fitting[min(range(len(fitting)), key=lambda i: (distortions[i], fitting[i].bits))].tokens


def _longest(tokens: Tokens, target: Target, prior: Prior, beside: float, size_of: Callable[[Tokens], int]) -> _Fitting | None:
    """The longest decodable prefix within the target; None where there is none."""
    found = None
    for cut in tokens.layout.cuts:
        if target.stages is not None and cut > target.stages:
            break
        prefix = tokens.prefix(cut)
        bits = sum(prior.price(prefix))
        if target.bytes is not None:
            left = target.bytes - beside - bits / 8
            if left < -SURE or (left < SURE and size_of(prefix) > target.bytes):
                break
        found = _Fitting(prefix, bits)
    return found
