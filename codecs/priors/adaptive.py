"""Adaptive context mixing: each token is a path in a tree of the codebook, each decision of it mixed from what neighbours foretell.

Contexts are the node alone, paths of tokens to the left and above, and of the stage before; `adaptive_kernel.LOOK` lists them. Counters
learn while a stream is coded and start from what training tokens taught them: integers beside the model, at most 2 MB. All is integer
arithmetic in one loop for both directions, so that no machine can decode otherwise. Sources: `adaptive_tables.py`, `adaptive_tree.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from smalti.codecs.media.files import write_atomically
from smalti.codecs.priors import adaptive_stream as stream
from smalti.codecs.priors.adaptive_tables import SHAPES, Stored, live, stored, unprimed
from smalti.codecs.priors.adaptive_tree import LARGEST
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.tokens import MAX_STAGES, Layout, Tokens

Array = np.ndarray
FORMAT = "smalti.adaptive-prior.1"
UNPRIMED = b"ADAP"


@dataclass(frozen=True, eq=False)
class AdaptivePrior:
    """`contracts.Prior` that fits every layout; with trees, only those of their vocabularies.

    orders: per stage an int32 vector, the tree's entries from left to right, or an empty one for entries in their own order; later stages
    have none. known: what counters start from. Raises ModelError for orders that are none. The id is `ADAP` without both, else a hash.
    """

    orders: tuple[Array, ...] = ()
    known: Stored | None = None
    id: bytes = field(init=False)
    _start: Stored = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.orders) > MAX_STAGES:
            raise ModelError(f"an adaptive prior has trees for up to {MAX_STAGES} stages, found {len(self.orders)}")
        object.__setattr__(self, "orders", tuple(_checked(order) for order in self.orders))
        object.__setattr__(self, "_start", self.known if self.known is not None else unprimed())
        object.__setattr__(self, "id", self._hash() if self.orders or self.known is not None else UNPRIMED)

    @staticmethod
    def prime(
        orders: Sequence[Array], tokens: Sequence[Tokens], passes: int = 1, progress: Callable[[int], None] | None = None
    ) -> AdaptivePrior:
        """A prior that has learnt tokens in the given order; progress is told how many items are done. Raises UsageError."""
        if not tokens:
            raise UsageError("an adaptive prior is primed on at least one item of tokens, found none")
        trees = AdaptivePrior(tuple(orders)).orders
        knowledge = live(unprimed())
        for done in range(passes * len(tokens)):
            stream.price(tokens[done % len(tokens)], trees, knowledge)
            if progress is not None:
                progress(done + 1)
        return AdaptivePrior(trees, stored(knowledge))

    def price(self, tokens: Tokens) -> list[float]:
        """Bits per stage."""
        return stream.price(tokens, self.orders, live(self._start))

    def encode(self, tokens: Tokens, known: int = 0) -> bytes:
        """Code the stages from `known` on."""
        return stream.encode(tokens, known, self.orders, self._start)

    def decode(self, data: bytes, layout: Layout, known: Tokens | None = None) -> Tokens:
        """Exactly what was encoded; raises BitstreamError for anything else."""
        return stream.decode(data, layout, known, self.orders, self._start)

    def save(self, path: str | Path) -> None:
        """Write trees and counters as safetensors, all or nothing; UsageError where the place cannot be written."""
        from safetensors.numpy import save

        arrays = {name: getattr(self._start, name) for name, _, _ in SHAPES}
        orders = {f"order{k:02d}": order for k, order in enumerate(self.orders)}
        write_atomically(path, save(arrays | orders, metadata={"format": FORMAT}))

    @staticmethod
    def load(path: str | Path) -> AdaptivePrior:
        """Read and check what `save` wrote; raises ModelError."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                names = sorted(set(file.keys()) - {name for name, _, _ in SHAPES})
                form = (file.metadata() or {}).get("format")
                if form != FORMAT or names != [f"order{k:02d}" for k in range(len(names))]:
                    raise ModelError(f"{path}: no adaptive prior: format {form!r}, tensors {', '.join(names)[:80]}")
                known = Stored(*(file.get_tensor(name) for name, _, _ in SHAPES))
                return AdaptivePrior(tuple(file.get_tensor(name) for name in names), known)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: can't be read as an adaptive prior: {error}") from error

    def _hash(self) -> bytes:
        sha = hashlib.sha256()
        for order in self.orders:
            sha.update(len(order).to_bytes(4, "little") + order.astype("<i4").tobytes())
        for name, kind, _ in SHAPES:
            sha.update(getattr(self._start, name).astype(kind.newbyteorder("<")).tobytes())
        return sha.digest()[:4]


def _checked(order: Array) -> Array:
    values = np.asarray(order)
    if values.ndim != 1 or values.dtype.kind not in "iu" or len(values) > LARGEST:
        raise ModelError(f"a tree's order is one axis of at most {LARGEST} integers, found {values.dtype} {values.shape}")
    if not np.array_equal(np.sort(values), np.arange(len(values))):
        raise ModelError("a tree's order holds each entry once")
    return np.ascontiguousarray(values, dtype=np.int32)
