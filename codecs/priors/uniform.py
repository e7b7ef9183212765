"""Every entry is equally likely: log2 K bits a token. What a file costs without any knowledge of its tokens."""

from __future__ import annotations

from smalti.codecs.coders.tables import Model, uniform
from smalti.codecs.priors import coding
from smalti.tokenizers.tokens import Layout, Tokens


class UniformPrior:
    """`contracts.Prior` with equal probabilities; it fits every layout."""

    id = b"UNIF"

    def price(self, tokens: Tokens) -> list[float]:
        """Bits per stage."""
        return coding.price(tokens, _models(tokens.layout))

    def encode(self, tokens: Tokens, known: int = 0) -> bytes:
        """Code the stages from `known` on."""
        return coding.encode(tokens, known, _models(tokens.layout))

    def decode(self, data: bytes, layout: Layout, known: Tokens | None = None) -> Tokens:
        """Exactly what was encoded; raises BitstreamError for anything else."""
        return coding.decode(data, layout, known, _models(layout))


def _models(layout: Layout) -> list[Model]:
    return [uniform(stage.vocab) for stage in layout.stages]
