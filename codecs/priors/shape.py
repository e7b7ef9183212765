"""The prior of `shape-basis`: fixed probabilities of binary decisions in the contexts of `shape_model.py`, fitted to training shapes.

Files of shapes have some dozen bytes of payload: nothing can be learned while coding, so all is known before. Integers only. Tokens of
simplified meshes, which that tokenizer has too, go to a `MeshPrior`, which is part of this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from smalti.codecs.coders.range_coder import check_end, decode_bit, decoder_state, encode_bit, encoder_state, finish, overrun
from smalti.codecs.media.files import write_atomically
from smalti.codecs.priors.mesh import MeshPrior
from smalti.codecs.priors.shape_model import CONTEXTS, HALF, Walk, plan_of
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Tokens

Array = np.ndarray
FORMAT = "smalti.shape-prior.1"
OWN = ("levels", "families", "classes", "chances")
_ONE = 1 << 16


class _Pricer:
    """Sums the bits of decisions."""

    def __init__(self, cost: Sequence[tuple[float, float]]) -> None:
        self.cost, self.bits = cost, 0.0

    def bit(self, context: int, value: int) -> int:
        self.bits += 1.0 if context == HALF else self.cost[context][value]
        return value


class Counter:
    """Counts decisions by context: what tables are fitted to."""

    def __init__(self) -> None:
        self.counts = np.zeros((CONTEXTS, 2), np.int64).tolist()

    def bit(self, context: int, value: int) -> int:
        if context != HALF:
            self.counts[context][value] += 1
        return value


class _Writer:
    def __init__(self, chances: Sequence[int], skip: bool) -> None:
        self.chances, self.skip = chances, skip
        self.state, self.out = encoder_state(), bytearray(1 << 16)

    def bit(self, context: int, value: int) -> int:
        if not self.skip:
            if self.state[2] + 8 > len(self.out):
                self.out += bytes(len(self.out))
            encode_bit(self.state, self.out, value, _ONE >> 1 if context == HALF else self.chances[context])
        return value


class _Reader:
    """Reads decisions; while `skip` is set they are known and cost nothing."""

    def __init__(self, chances: Sequence[int], data: bytes) -> None:
        self.chances, self.data, self.skip = chances, data, False
        self.state = decoder_state(data)

    def bit(self, context: int, value: int) -> int:
        if self.skip:
            return value
        if overrun(self.state, self.data):
            raise BitstreamError("a coder stream ends before its symbols do")
        return decode_bit(self.state, self.data, _ONE >> 1 if context == HALF else self.chances[context])


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """`contracts.Prior` for tokens of `shape-basis`.

    levels: int16 (classes, C), how large each coefficient is expected to be, in quarters of octaves over the first step. families: uint8
    (C,), of each component. classes: int16 (classes,), from how many primitives on each holds, the first 0. chances: uint16 (CONTEXTS,),
    of a 1, in 65536ths. mesh: for tokens of stages `faces` and `vertices`.
    """

    levels: Array
    families: Array
    classes: Array
    chances: Array
    mesh: MeshPrior = field(default_factory=MeshPrior)
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        wanted = {"levels": (np.int16, (len(self.classes), len(self.families))), "families": (np.uint8, (len(self.families),))}
        wanted |= {"classes": (np.int16, (len(self.classes),)), "chances": (np.uint16, (CONTEXTS,))}
        sha = hashlib.sha256()
        for name, (kind, shape) in wanted.items():
            tensor = getattr(self, name)
            if tensor.dtype != kind or tensor.shape != shape:
                raise ModelError(f"a shape prior has {name} of {np.dtype(kind)} {shape}, found {tensor.dtype} {tensor.shape}")
            sha.update(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")).tobytes())
        if not 1 <= len(self.classes) <= 8 or self.classes[0] or self.families.max(initial=0) > 15 or not self.chances.all():
            raise ModelError("a shape prior has 1..8 classes from 0 on, families below 16, and no chance of 0")
        sha.update(self.mesh.id)
        object.__setattr__(self, "id", sha.digest()[:4])

    @staticmethod
    def fit(tokens: Sequence[Tokens], levels: Array, families: Array, classes: Sequence[int], mesh: MeshPrior | None = None) -> ShapePrior:
        """Chances from counts plus .4 (each context has few)."""
        counter = Counter()
        for item in tokens:
            walk = Walk(plan_of(item.layout, len(families)), levels, families, classes)
            for k, array in enumerate(item.arrays):
                walk.stage(k, array, counter)
        counts = np.array(counter.counts, np.float64)
        chances = np.clip(np.rint((counts[:, 1] + 0.4) / (counts.sum(1) + 0.8) * _ONE), 16, _ONE - 16).astype(np.uint16)
        return ShapePrior(levels.astype(np.int16), families.astype(np.uint8), np.array(classes, np.int16), chances, mesh or MeshPrior())

    def price(self, tokens: Tokens) -> list[float]:
        """Bits per stage."""
        if _is_mesh(tokens.layout):
            return self.mesh.price(tokens)
        walk = self._walk(tokens.layout)
        _unmasked(tokens)
        chances = self.chances / _ONE
        pricer = _Pricer(list(zip((-np.log2(1 - chances)).tolist(), (-np.log2(chances)).tolist(), strict=True)))
        out = []
        for k, array in enumerate(tokens.arrays):
            before = pricer.bits
            walk.stage(k, array, pricer)
            out.append(pricer.bits - before)
        return out

    def encode(self, tokens: Tokens, known: int = 0) -> bytes:
        """Code the stages from `known` on."""
        if _is_mesh(tokens.layout):
            return self.mesh.encode(tokens, known)
        walk = self._walk(tokens.layout)
        _unmasked(tokens)
        if known >= len(tokens.arrays):
            return b""
        writer = _Writer(self.chances.tolist(), True)
        for k, array in enumerate(tokens.arrays):
            writer.skip = k < known
            walk.stage(k, array, writer)
        return finish(writer.state, writer.out)

    def decode(self, data: bytes, layout: Layout, known: Tokens | None = None) -> Tokens:
        """Exactly what was encoded; raises BitstreamError for anything else."""
        if _is_mesh(layout):
            return self.mesh.decode(data, layout, known)
        walk = self._walk(layout)
        held = known.arrays if known is not None else ()
        if known is not None:
            _unmasked(known)
        if len(held) >= len(layout.stages):
            if data:
                raise BitstreamError(f"{len(data)} bytes for no tokens")
            return Tokens(layout, tuple(held))
        reader = _Reader(self.chances.tolist(), data)
        arrays = []
        for k in range(len(layout.stages)):
            reader.skip = k < len(held)
            arrays.append(walk.stage(k, held[k] if k < len(held) else None, reader))
        check_end(reader.state, data)
        tokens = Tokens(layout, tuple(arrays))
        # there are longer ways to tell the same tokens, and numbers beyond the last; an encoder writes none of them
        if self.encode(tokens, len(held)) != data:
            raise BitstreamError("a coder stream tells its tokens in a way that no encoder does: damage")
        return tokens

    def save(self, path: str | Path) -> None:
        """Write it as safetensors, all or nothing; UsageError where the place cannot be written."""
        from safetensors.numpy import save

        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in OWN} | self.mesh.tensors("mesh.")
        write_atomically(path, save(tensors, metadata={"format": FORMAT}))

    @staticmethod
    def load(path: str | Path) -> ShapePrior:
        """Read and check what `save` wrote; raises ModelError."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise ModelError(f"{path}: no shape prior")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: can't be read as a shape prior: {error}") from error
        if missing := [name for name in OWN if name not in tensors]:
            raise ModelError(f"{path}: no shape prior: tensor {missing[0]} is missing")
        levels, families, classes, chances = (tensors.pop(name) for name in OWN)
        return ShapePrior(levels, families, classes, chances, MeshPrior.from_tensors(tensors, str(path), "mesh."))

    def _walk(self, layout: Layout) -> Walk:
        return Walk(plan_of(layout, len(self.families)), self.levels.astype(np.int64), self.families, self.classes.tolist())


def _is_mesh(layout: Layout) -> bool:
    return layout.stages[0].name == "faces"


def _unmasked(tokens: Tokens) -> None:
    if any(mask is not None for mask in tokens.present):
        raise UsageError("shapes have no regions: their tokens are whole")
