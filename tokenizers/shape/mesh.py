"""`mesh`: triangle meshes <-> two stages of tokens, `faces` and `vertices`; nothing is lost but the coordinates' finer digits.

There is nothing to train: the grid is that of `pose.py`, the order that of `mesh_walk.py`. Kept are all faces with their orientation,
those that have no area, those given twice, edges of any number of faces, and vertices that share a place. Not kept are vertices that no
face uses, and the numbering of vertices, the order of faces, and which corner of a face comes first. Shapes that lie on a grid of their
size already, such as decoded ones, come back exactly, and their tokens are the same again, unless parts of them share all their places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.shape import mesh_grid, mesh_walk
from smalti.tokenizers.shape.pose import pose_from
from smalti.tokenizers.signals import Shape, Signal
from smalti.tokenizers.tokens import Layout, Stage, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

Array = np.ndarray
FEWEST_BITS, MOST_BITS = 7, 10
MAX_FACES = 1 << 22


@dataclass(frozen=True)
class MeshConfig:
    """bits: of a coordinate, 7..10, of what `encode` gives; any of these decode. faces: at most so many, up to 2^22."""

    kind: ClassVar[str] = "mesh"
    bits: int = MOST_BITS
    faces: int = MAX_FACES

    def __post_init__(self) -> None:
        if not FEWEST_BITS <= self.bits <= MOST_BITS or not 1 <= self.faces <= MAX_FACES:
            raise UsageError(f"a mesh has {FEWEST_BITS}..{MOST_BITS} bits and 1..{MAX_FACES} faces, found {self.bits} and {self.faces}")


class Mesh:
    """Fulfils `contracts.StoredTokenizer` and `contracts.VariedTokenizer` for `Shape` signals with faces."""

    config_class: Any = MeshConfig

    def __init__(self, config: MeshConfig = MeshConfig(), fingerprint_of: str | None = None, name: str = "mesh") -> None:
        self.config = config
        self.name = name
        self.folder: Path | None = None
        self._fingerprint = fingerprint_of

    @classmethod
    def from_config(cls, config: MeshConfig) -> Mesh:
        """A tokenizer of that config."""
        return cls(config)

    @classmethod
    def from_tensors(cls, config: MeshConfig, tensors: Mapping[str, Array], fingerprint_of: str, name: str, device: str = "cpu") -> Mesh:
        """A tokenizer as stored; ModelError where there are tensors, of which it has none."""
        if tensors:
            raise ModelError(f"{name}: a mesh tokenizer has no tensors, found {', '.join(sorted(tensors))[:80]}")
        return cls(config, fingerprint_of, name)

    def tensors(self) -> dict[str, Array]:
        """None."""
        return {}

    def parameter_names(self) -> set[str]:
        """None."""
        return set()

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the config."""
        return self._fingerprint or fingerprint(to_dict(self.config), {})

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """For a size (scale, x, y, z, vertices, faces, bits); UsageError for what none of its meshes has."""
        pose_from(signal)
        size = dict(signal)
        vertices, faces, bits = (size.get(name, 0) for name in ("vertices", "faces", "bits"))
        if not FEWEST_BITS <= bits <= MOST_BITS or not 1 <= faces <= self.config.faces or not 1 <= vertices <= 3 * faces:
            raise UsageError(
                f"{self.name} has meshes of {FEWEST_BITS}..{MOST_BITS} bits, 1..{self.config.faces} faces and 1..3 vertices a face; "
                f"found {bits} bits, {faces} faces, {vertices} vertices"
            )
        # one mesh, so that no file cuts it into pieces, none of which would be a mesh
        stages = (
            Stage("faces", (("mesh", 1), ("face", faces), ("corner", 3)), vertices),
            Stage("vertices", (("mesh", 1), ("vertex", vertices), ("axis", 3)), 1 << bits),
        )
        return Layout(stages, (2,), signal)

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each; SignalError for point clouds and for more faces than the config allows."""
        return [self._encode(signal, self.config.bits) for signal in signals]

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """Meshes whose vertices lie in the middles of the grid's cells."""
        return [self._decode(item) for item in tokens]

    @property
    def encodes_nearest(self) -> bool:
        """Its bits are the most."""
        return True

    def variants(self, signal: Signal) -> list[Tokens]:
        """With the config's bits and with each fewer, down to 7."""
        return [self._encode(signal, bits) for bits in range(self.config.bits, FEWEST_BITS - 1, -1)]

    def distortions(self, signal: Signal, candidates: Sequence[Tokens]) -> list[float]:
        """The side of a cell as a share of the cube's."""
        return [2.0 ** -item.layout.size["bits"] for item in candidates]

    def sequence(self, tokens: Tokens) -> Array:
        """Faces one by one, for models of sequences: int32 (F, 9), z, y, x of each corner, all below 2^bits.

        The corner of least (z, y, x) comes first, the others follow in their orientation; faces are sorted by these nine.
        """
        tokens.check_prefix_of(self.layout(tokens.layout.signal), self.name)
        points = tokens.arrays[1][0].astype(np.int64)
        rows = points[mesh_walk.least_first(points, tokens.arrays[0][0].astype(np.int64))][:, :, ::-1].reshape(-1, 9)
        return rows[np.lexsort(rows.T[::-1])].astype(np.int32)

    def from_sequence(self, rows: Array, like: tuple[tuple[str, int], ...]) -> Tokens:
        """Tokens of such faces (F, 9), in any order; corners of one place become one vertex. like: a size, of which pose and bits are
        taken. UsageError for what is no such sequence."""
        size = dict(like)
        if rows.ndim != 2 or rows.shape[1] != 9 or rows.dtype.kind not in "iu" or not 1 <= len(rows) <= self.config.faces:
            raise UsageError(f"a sequence of faces is integers (F, 9) with F in 1..{self.config.faces}, found {rows.dtype} {rows.shape}")
        if rows.min() < 0 or rows.max() >> size.get("bits", 0):
            raise UsageError(f"coordinates have {size.get('bits', 0)} bits, found {rows.min()}..{rows.max()}")
        points, faces = np.unique(rows.reshape(-1, 3)[:, ::-1].astype(np.int64), axis=0, return_inverse=True)
        return self._told(points, faces.reshape(-1, 3), like[:4], size["bits"])

    def _encode(self, signal: Signal, bits: int) -> Tokens:
        if not isinstance(signal, Shape):
            raise SignalError(f"{self.name} takes shapes, found {type(signal).__name__}")
        if signal.faces is None or not len(signal.faces):
            raise SignalError(
                f"{self.name} takes triangle meshes, found {len(signal.vertices)} points without faces: use another model for points"
            )
        if len(signal.faces) > self.config.faces:
            raise SignalError(f"{self.name} takes up to {self.config.faces} faces, found {len(signal.faces)}: simplify the mesh")
        used, faces = np.unique(signal.faces, return_inverse=True)
        shape = replace(signal, vertices=signal.vertices[used], faces=None)
        pose = mesh_grid.pose_on_grid(shape, bits)
        points = mesh_grid.quantized(pose, shape.vertices, bits)
        return self._told(points, faces.reshape(-1, 3), pose.signal, bits)

    def _told(self, points: Array, faces: Array, pose: tuple[tuple[str, int], ...], bits: int) -> Tokens:
        order, told = mesh_walk.walked(points, faces)
        counts = (("vertices", len(order)), ("faces", len(told)), ("bits", bits))
        return Tokens(self.layout((*pose, *counts)), (told[None].astype(np.int32), points[order][None].astype(np.int32)))

    def _decode(self, tokens: Tokens) -> Signal:
        tokens.check_prefix_of(self.layout(tokens.layout.signal), self.name)
        tokens.check_unmasked(self.name)
        pose, bits = pose_from(tokens.layout.signal), tokens.layout.size["bits"]
        return Shape(mesh_grid.places(pose, tokens.arrays[1][0], bits), tokens.arrays[0][0].astype(np.int64))
