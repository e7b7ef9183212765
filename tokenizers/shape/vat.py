"""`shape-vat`: shapes of any kind <-> scales of tokens of growing counts, coarse to fine; any number of scales decodes.

What goes in is read by places on its surface, what comes out is a mesh, drawn by marching cubes from coarse to fine. Where a shape lies
and how large it is is kept beside the tokens, as `pose.py` has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.nets.precision import full_precision
from smalti.tokenizers.nets.stored import filled, halvable, tensors_of
from smalti.tokenizers.shape.extraction import refined, surface
from smalti.tokenizers.shape.field import REACH, WALL
from smalti.tokenizers.shape.places import places_of
from smalti.tokenizers.shape.pose import pose_from, pose_of
from smalti.tokenizers.shape.vat_network import ShapeVatConfig, ShapeVatNet
from smalti.tokenizers.signals import Shape, Signal
from smalti.tokenizers.tokens import Layout, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

Array = np.ndarray
BATCH = 16  # shapes that the transformers see at a time


class ShapeVat:
    """Fulfils `contracts.Tokenizer` for `Shape` signals: meshes, closed or not, and point clouds; what comes out is a mesh."""

    config_class: Any = ShapeVatConfig

    def __init__(self, net: ShapeVatNet, fingerprint_of: str | None = None, name: str = "shape-vat", device: str = "cpu") -> None:
        self.net = net.eval().requires_grad_(False).to(device)
        self.config: ShapeVatConfig = net.config
        self.name = name
        self.device = torch.device(device)
        self.folder: Path | None = None  # of the model it was loaded from, for the prior that lies there
        self._fingerprint = fingerprint_of

    @classmethod
    def from_config(cls, config: ShapeVatConfig) -> ShapeVat:
        """A tokenizer with untrained weights, from torch's random state."""
        return cls(ShapeVatNet(config))

    @classmethod
    def from_tensors(
        cls, config: ShapeVatConfig, tensors: Mapping[str, Array], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> ShapeVat:
        """A tokenizer from stored tensors of any float type; ModelError names the first that is missing, unknown or of another shape."""
        return cls(filled(ShapeVatNet(config), tensors, name), fingerprint_of, name, device)

    def tensors(self) -> dict[str, Array]:
        """All weights and tables by name: what is saved and fingerprinted."""
        return tensors_of(self.net)

    def parameter_names(self) -> set[str]:
        """Tensors that may be stored in half precision: not those of the quantizer."""
        return halvable(self.net)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(to_dict(self.config), self.tensors())
        return self._fingerprint

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a shape of (("scale", ...), ("x", ...), ("y", ...), ("z", ...)), as `pose.py` has them."""
        pose = pose_from(signal)
        if len(signal) != len(pose.signal):
            raise UsageError(f"{self.name} keeps no triangles: a shape's size is {', '.join(n for n, _ in pose.signal)}, found {signal}")
        return self.net.quantizer.layout((self.config.latents,), ("token",), pose.signal)

    @torch.inference_mode()
    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each shape."""
        shapes = [_checked(signal, self.name) for signal in signals]
        poses = [pose_of(shape) for shape in shapes]
        out: list[Tokens] = []
        for start in range(0, len(shapes), BATCH):
            batch = list(zip(shapes, poses, strict=True))[start : start + BATCH]
            read = torch.from_numpy(np.stack([places_of(shape, pose, self.config.points) for shape, pose in batch]))
            with full_precision(self.device):
                stages = [indices.cpu().numpy() for indices in self.net.tokenize(read.to(self.device))]
            for i, (_, pose) in enumerate(batch):
                out.append(Tokens(self.layout(pose.signal), tuple(stage[i].astype(np.int32) for stage in stages)))
        return out

    @torch.inference_mode()
    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """Meshes, in the units and at the place of what was encoded, from tokens or decodable prefixes of them. Without triangles where
        nothing is inside."""
        for item in tokens:
            self._check(item)
        found: dict[int, Signal] = {}
        for depth in sorted({len(item.arrays) for item in tokens}):
            alike = [i for i, item in enumerate(tokens) if len(item.arrays) == depth]
            for start in range(0, len(alike), BATCH):
                batch = alike[start : start + BATCH]
                stages = [torch.from_numpy(np.stack([tokens[i].arrays[k] for i in batch]).astype(np.int64)) for k in range(depth)]
                with full_precision(self.device):
                    planes = self.net.detokenize([stage.to(self.device) for stage in stages])
                    for i, own in zip(batch, planes.split(1), strict=True):
                        vertices, faces = self._surface(own)
                        found[i] = Shape(pose_from(tokens[i].layout.signal).outwards(vertices), faces)
        return [found[i] for i in range(len(tokens))]

    def _surface(self, planes: Tensor) -> tuple[Array, Array]:
        """(vertices (V, 3) in the cube as [-1, 1]^3, faces (F, 3))."""
        reach = self.config.reach

        def field(places: Array) -> Array:
            asked = torch.from_numpy(places.astype(np.float32)).to(self.device)
            found = self.net.distances(planes, asked[None])[0].clamp(-reach, reach).cpu().numpy()
            return np.maximum(found, np.abs(places).max(1) - (1 + WALL))  # no shape leaves its cube

        return surface(*refined(field, REACH, self.config.resolution))

    def _check(self, tokens: Tokens) -> None:
        tokens.check_prefix_of(self.layout(tokens.layout.signal), self.name)
        tokens.check_unmasked(self.name)


def _checked(signal: Signal, name: str) -> Shape:
    if not isinstance(signal, Shape):
        raise SignalError(f"{name} takes shapes, found {type(signal).__name__}")
    return signal
