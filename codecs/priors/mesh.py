"""Triangle meshes as a walk over their faces: each step and each coordinate mixed from what the mesh so far foretells.

It fits tokens of two stages, faces and vertices, as `tokenizers/shape/mesh.py` makes them: faces in the order of a walk, vertices
numbered by first use. Any other tokens, and any order that no walk gives, are coded by the unprimed adaptive prior behind a byte that no
walk begins with. All is integer arithmetic in one loop for both directions. Sources: the gates are those of Rossignac, "Edgebreaker"
(1999), and Gumhold and Strasser, "Real time compression of triangle mesh connectivity" (1998); parallelograms are Touma and Gotsman's
(1998); mixing as in `adaptive.py`. Ours: contexts from mirror images, half turns and repeated parts, and coordinates told bit by bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from smalti.codecs.media.files import write_atomically
from smalti.codecs.priors import mesh_stream as stream
from smalti.codecs.priors.mesh_tables import NAMES, Stored, live, stored, unprimed
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Tokens

Array = np.ndarray
FORMAT = "smalti.mesh-prior.1"
UNPRIMED = b"MESH"


@dataclass(frozen=True, eq=False)
class MeshPrior:
    """`contracts.Prior` that fits every layout and suits meshes. known: what counters start from; the id is `MESH` without, else a hash."""

    known: Stored | None = None
    id: bytes = field(init=False)
    _start: Stored = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_start", self.known if self.known is not None else unprimed())
        object.__setattr__(self, "id", self._hash() if self.known is not None else UNPRIMED)

    @staticmethod
    def prime(tokens: Sequence[Tokens], passes: int = 1, progress: Callable[[int], None] | None = None) -> MeshPrior:
        """A prior that has learnt meshes in the given order; progress is told how many are done. Raises UsageError."""
        if not tokens:
            raise UsageError("a mesh prior is primed on at least one mesh, found none")
        knowledge = live(unprimed())
        for done in range(passes * len(tokens)):
            stream.learn(tokens[done % len(tokens)], knowledge)
            if progress is not None:
                progress(done + 1)
        return MeshPrior(stored(knowledge))

    def price(self, tokens: Tokens) -> list[float]:
        """Bits per stage."""
        return stream.price(tokens, self._start)

    def encode(self, tokens: Tokens, known: int = 0) -> bytes:
        """Code the stages from `known` on."""
        return stream.encode(tokens, known, self._start)

    def decode(self, data: bytes, layout: Layout, known: Tokens | None = None) -> Tokens:
        """Exactly what was encoded; raises BitstreamError for anything else."""
        return stream.decode(data, layout, known, self._start)

    def save(self, path: str | Path) -> None:
        """Write it as safetensors, all or nothing; UsageError where the place cannot be written."""
        from safetensors.numpy import save

        write_atomically(path, save(self.tensors() or {name: getattr(self._start, name) for name in NAMES}, metadata={"format": FORMAT}))

    def tensors(self, before: str = "") -> dict[str, Array]:
        """What counters start from, names with `before` in front; nothing of an unprimed one."""
        return {before + name: getattr(self.known, name) for name in NAMES} if self.known is not None else {}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Array], where: str, before: str = "") -> MeshPrior:
        """Of `tensors`; ModelError for others."""
        if not tensors:
            return MeshPrior()
        if set(tensors) != {before + name for name in NAMES}:
            raise ModelError(f"{where}: no mesh prior: tensors {', '.join(tensors)[:80]}")
        return MeshPrior(Stored(*(tensors[before + name] for name in NAMES)))

    @staticmethod
    def load(path: str | Path) -> MeshPrior:
        """Read and check what `save` wrote; raises ModelError."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                form, tensors = (file.metadata() or {}).get("format"), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: can't be read as a mesh prior: {error}") from error
        if form != FORMAT or not tensors:
            raise ModelError(f"{path}: no mesh prior: format {form!r}, tensors {', '.join(tensors)[:80]}")
        return MeshPrior.from_tensors(tensors, str(path))

    def _hash(self) -> bytes:
        sha = hashlib.sha256()
        for name in NAMES:
            array = getattr(self._start, name)
            sha.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return sha.digest()[:4]
