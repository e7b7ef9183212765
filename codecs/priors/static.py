"""One fixed table per stage: how often each entry occurs, wherever it stands.

A stage's table is one int32 vector. Vocabularies up to 4096: K frequencies of sum 2^16. Up to 2^18: first the frequencies of the top
digits (symbol // 4096), then, for each top digit, those of its low digits; each part sums to 2^16. Larger ones: the empty vector, which
stands for the uniform model. The prior's id is a hash of these integers; tables are stored as they are, never fitted again at load.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from smalti.codecs.coders.tables import DIGIT, Model, Split, Table, quantize, table, uniform
from smalti.codecs.media.files import write_atomically
from smalti.codecs.priors import coding
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.tokens import MAX_STAGES, Layout, Tokens

Array = np.ndarray
LARGEST = 1 << 18  # vocabularies above this have no table
_FORMAT = "smalti.static-prior.1"


@dataclass(frozen=True, eq=False)
class StaticPrior:
    """`contracts.Prior` over fixed tables, one per stage index; raises ModelError for tables that are none."""

    tables: tuple[Array, ...]
    id: bytes = field(init=False)
    _models: tuple[Model | None, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.tables) <= MAX_STAGES:
            raise ModelError(f"a static prior has tables for 1..{MAX_STAGES} stages, found {len(self.tables)}")
        tables = tuple(_frozen(t) for t in self.tables)
        sha = hashlib.sha256()
        for t in tables:
            sha.update(len(t).to_bytes(4, "little") + t.astype("<i4").tobytes())
        object.__setattr__(self, "tables", tables)
        object.__setattr__(self, "_models", tuple(_model(t) for t in tables))
        object.__setattr__(self, "id", sha.digest()[:4])

    @staticmethod
    def fit(tokens: Sequence[Tokens]) -> StaticPrior:
        """Tables from counts plus one half (Krichevsky-Trofimov); absent tokens do not count. All tokens share their vocabularies."""
        if not tokens:
            raise UsageError("a static prior is fitted to at least one item of tokens, found none")
        longest = max(tokens, key=lambda t: len(t.arrays)).layout.stages
        counts = [np.zeros(s.vocab if s.vocab <= LARGEST else 0, np.int64) for s in longest]
        for item in tokens:
            for k, (stage, array, mask) in enumerate(zip(item.layout.stages, item.arrays, item.present, strict=True)):
                if stage.vocab != longest[k].vocab:
                    raise UsageError(f"stage {stage.name} has {stage.vocab} entries in one item and {longest[k].vocab} in another")
                if len(counts[k]):
                    counts[k] += np.bincount((array if mask is None else array[..., mask]).ravel(), minlength=stage.vocab)
        return StaticPrior(tuple(_fitted(2 * c + 1) for c in counts))

    @staticmethod
    def of_weights(weights: Sequence[Array | None], vocabularies: Sequence[int]) -> StaticPrior:
        """Tables from how much each entry of each stage is expected, float (K,); uniform where that is None."""
        found = [np.ones(vocab) if given is None else given for given, vocab in zip(weights, vocabularies, strict=True)]
        return StaticPrior(tuple(_fitted(np.rint(item * (2**20 / max(item.max(), 1e-9))).astype(np.int64) + 1) for item in found))

    def price(self, tokens: Tokens) -> list[float]:
        """Bits per stage."""
        return coding.price(tokens, self._for(tokens.layout))

    def encode(self, tokens: Tokens, known: int = 0) -> bytes:
        """Code the stages from `known` on."""
        return coding.encode(tokens, known, self._for(tokens.layout))

    def decode(self, data: bytes, layout: Layout, known: Tokens | None = None) -> Tokens:
        """Exactly what was encoded; raises BitstreamError for anything else."""
        return coding.decode(data, layout, known, self._for(layout))

    def save(self, path: str | Path) -> None:
        """Write the tables as safetensors, all or nothing; UsageError where the place cannot be written."""
        from safetensors.numpy import save

        write_atomically(path, save({f"stage{i:02d}": t for i, t in enumerate(self.tables)}, metadata={"format": _FORMAT}))

    @staticmethod
    def load(path: str | Path) -> StaticPrior:
        """Read and check tables that `save` wrote; raises ModelError."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                names = sorted(file.keys())
                form = (file.metadata() or {}).get("format")
                if form != _FORMAT or names != [f"stage{i:02d}" for i in range(len(names))]:
                    raise ModelError(f"{path}: no static prior: format {form!r}, tensors {', '.join(names)[:80]}")
                return StaticPrior(tuple(file.get_tensor(name) for name in names))
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: can't be read as a static prior: {error}") from error

    def _for(self, layout: Layout) -> list[Model]:
        if len(layout.stages) > len(self.tables):
            raise ModelError(
                f"this prior ({self.id.hex()}) has tables for {len(self.tables)} stages, the tokens have {len(layout.stages)}; "
                "use the model's own prior, or fit one to its tokens"
            )
        models = []
        for stage, own, model in zip(layout.stages, self.tables, self._models, strict=False):
            if stage.vocab != _vocab(len(own)) if len(own) else stage.vocab <= LARGEST:
                raise ModelError(
                    f"stage {stage.name} has {stage.vocab} entries, this prior's ({self.id.hex()}) table has "
                    f"{_vocab(len(own)) if len(own) else f'more than {LARGEST}'}; use the model's own prior, or fit one to its tokens"
                )
            models.append(uniform(stage.vocab) if model is None else model)
        return models


def _vocab(length: int) -> int:
    """K from a vector's length K or ceil(K / 4096) + K."""
    return length if length <= DIGIT else length - -(-length // (DIGIT + 1))


def _frozen(values: Array) -> Array:
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iu" or len(values) > LARGEST + LARGEST // DIGIT:
        raise ModelError(f"a stage's table is one axis of integers for at most {LARGEST} entries, found {values.dtype} {values.shape}")
    if values.size and (values.min() < 1 or values.max() > 1 << 16):
        raise ModelError(f"table frequencies lie in 1..{1 << 16}, found {values.min()}..{values.max()}")
    return np.ascontiguousarray(values, dtype=np.int32)


def _model(values: Array) -> Model | None:
    if not len(values):
        return None
    if len(values) <= DIGIT:
        return table(values)
    vocab = _vocab(len(values))
    tops = len(values) - vocab
    if tops != -(-vocab // DIGIT):
        raise ModelError(f"no vocabulary has a table of {len(values)} frequencies")
    low = values[tops:]
    lows: tuple[Table, ...] = tuple(table(low[i * DIGIT : (i + 1) * DIGIT]) for i in range(tops))
    return Split(table(values[:tops]), tuple(range(tops + 1)), lows)


def _fitted(weights: Array) -> Array:
    if len(weights) <= DIGIT:
        return quantize(weights) if len(weights) else np.zeros(0, np.int32)
    blocks = [weights[i : i + DIGIT] for i in range(0, len(weights), DIGIT)]
    return np.concatenate([quantize(np.array([b.sum() for b in blocks])), *map(quantize, blocks)])
