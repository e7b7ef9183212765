"""`shape-basis`: shapes of any kind <-> a few primitives, then what they miss, scale by scale; or a coarse mesh of few triangles.

Stages: `plan` (how many primitives, how fine the scales are), `primitives` (boxes, cylinders, ellipsoids, see `primitives.py`), then
scales of coefficients of a learned linear basis of distance fields (`linear.py`). Each scale halves the step of those before and adds
components: a multi-scale residual quantization of Gaussian latents, token counts growing. Prefixes from `primitives` on decode.

There are many ways to say a shape, by how many primitives and how fine; which is best depends on the bytes there are: see
`contracts.VariedTokenizer`. From a few hundred bytes on a simplified mesh is often nearest: it is a way of its own, with the stages of the
tokenizer `mesh`, and its numbers of vertices and faces in the shape's size. `encode` never takes it.

After "3D representation in 512-Byte" (VAT, arXiv 2412.02202): its scales of growing counts and its Gaussian latents. Ours are the linear
basis in place of a transformer and triplanes, and primitives as the coarsest scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.shape.closeness import Closeness
from smalti.tokenizers.shape.extraction import surface
from smalti.tokenizers.shape.field import field, grid_axis
from smalti.tokenizers.shape.linear import LinearBasis, class_of, cosines
from smalti.tokenizers.shape.mesh import FEWEST_BITS, Mesh, MeshConfig
from smalti.tokenizers.shape.parts import fitted, largest
from smalti.tokenizers.shape.pose import NAMES as POSE
from smalti.tokenizers.shape.pose import pose_from, pose_of
from smalti.tokenizers.shape.primitives import LEVELS, NUMBERS, Primitives, distance, triangles
from smalti.tokenizers.shape.simplified import simplified
from smalti.tokenizers.signals import Shape, Signal
from smalti.tokenizers.tokens import Layout, Stage, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

Array = np.ndarray
FINENESSES = 4  # of steps within a factor of two
LARGEST = 15  # a quantized coefficient lies in -LARGEST..LARGEST
FIRST_CUT = 2  # the plan and the primitives
# Scales cannot say anything thin before they are fine: in place of a plate or a rod they leave nothing. So primitives below this half
# thickness (in half sides of the cube; by the number of scales, the last for all beyond) stay where they are, and scales take off at most
# SHAVED. Of 12 shapes that were never seen, F at 2 % by 1 to 6 scales went from .40 .59 .78 .89 .93 .97 to .80 .86 .91 .94 .95 .97.
THIN = (0.1, 0.1, 0.065, 0.022, 0.022, 0.0)
SHAVED = 0.01
NOTHING = Primitives(np.zeros((0, NUMBERS), np.int64))


@dataclass(frozen=True)
class ShapeBasisConfig:
    """side: of the grid that shapes are analysed on. reach: where distances are cut off, in half sides of the shape's cube. most: of
    coded primitives. counts: numbers of them that are tried. step: of the first scale. components: number of each scale, growing.
    resolution: of the grid that surfaces are drawn from. faces: numbers of them that simplified meshes are tried with."""

    side: int = 64
    reach: float = 0.15
    most: int = 32
    counts: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)
    step: float = 0.008
    components: tuple[int, ...] = (48, 128, 320, 640, 1200)
    resolution: int = 128
    faces: tuple[int, ...] = (24, 32, 48, 64, 80, 100, 128, 160, 200, 250, 320, 400, 500, 640, 800, 1000)
    kind: ClassVar[str] = "shape-basis"

    def __post_init__(self) -> None:
        if not (8 <= self.side <= 256 and 8 <= self.resolution <= 512 and 0 < self.reach <= 1 and self.step > 0 and 1 <= self.most <= 64):
            raise UsageError(f"side lies in 8..256, resolution in 8..512, reach in 0..1, most in 1..64, step above 0; found {self}")
        if not self.counts or min(self.counts) < 1 or max(self.counts) > self.most:
            raise UsageError(f"counts lie in 1..{self.most}, found {self.counts}")
        if any(not 4 <= count <= 65536 for count in self.faces):
            raise UsageError(f"meshes of 4..65536 faces are tried, found {self.faces}")
        if not 1 <= len(self.components) <= 24 or list(self.components) != sorted(self.components) or not 1 <= self.components[0] <= 65536:
            raise UsageError(f"there are 1..24 scales, each of at least as many components as the one before; found {self.components}")


class ShapeBasis:
    """Fulfils `contracts.VariedTokenizer` for `Shape` signals: meshes, closed or not, and point clouds; what comes out is a mesh."""

    config_class: Any = ShapeBasisConfig

    def __init__(
        self, config: ShapeBasisConfig, basis: LinearBasis, fingerprint_of: str | None = None, name: str = "shape", device: str = "cpu"
    ) -> None:
        if basis.count != config.components[-1]:
            raise ModelError(f"{name}: the basis has {basis.count} components, the config asks for {config.components[-1]}")
        self.config, self.basis, self.name = config, basis, name
        self.device = device  # all is NumPy, on the CPU
        self.mesh = Mesh(MeshConfig(FEWEST_BITS), name=name)
        self.folder: Path | None = None
        self._fingerprint = fingerprint_of

    @classmethod
    def from_tensors(
        cls, config: ShapeBasisConfig, tensors: Mapping[str, Array], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> ShapeBasis:
        """A tokenizer from stored tensors; ModelError names the first that is missing or does not fit."""
        return cls(config, LinearBasis.from_tensors(tensors, name), fingerprint_of, name, device)

    def tensors(self) -> dict[str, Array]:
        """All tensors by name: what is saved and fingerprinted."""
        basis = self.basis.tensors()
        return {key: _stored(key, value) for key, value in basis.items()}

    def parameter_names(self) -> set[str]:
        """None: they are stored as they are, in 8 bits and half precision already."""
        return set()

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and tensors."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(to_dict(self.config), self.tensors())
        return self._fingerprint

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a shape of (("scale", ...), ("x", ...), ("y", ...), ("z", ...)), as `pose.py` has them; with ("vertices", ...),
        ("faces", ...), ("bits", ...) that of a simplified mesh."""
        pose = pose_from(signal)
        if len(signal) != len(pose.signal):
            return self.mesh.layout(signal)
        plans = FINENESSES * (self.config.most + 1)
        stages = [Stage("plan", (("token", 1),), plans)]
        stages.append(Stage("primitives", (("primitive", self.config.most), ("number", NUMBERS)), LEVELS + 1))
        stages += [Stage(f"scale{k}", (("component", count),), 2 * LARGEST + 1) for k, count in enumerate(self.config.components, 1)]
        return Layout(tuple(stages), tuple(range(FIRST_CUT, len(stages) + 1)), pose.signal)

    @property
    def encodes_nearest(self) -> bool:
        """No: `encode` always gives all scales, so that tokens of many shapes are of one layout."""
        return False

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Of each shape, of the ways that have scales, the nearest with all of them."""
        out = []
        for signal in signals:
            whole = [v for v in self._scaled(_checked(signal, self.name)) if v.arrays[0][0] % FINENESSES == FINENESSES - 1]
            out.append(whole[int(np.argmin(self.distortions(signal, whole)))])
        return out

    def variants(self, signal: Signal) -> list[Tokens]:
        """Each number of primitives: alone, and with each fineness of the scales; scales without primitives; the largest parts
        alone; simplified meshes."""
        shape = _checked(signal, self.name)
        pose = pose_of(shape)
        layout, inside = self.layout(pose.signal), pose.inwards(shape.vertices)
        out, nothing = self._scaled(shape), np.zeros(self.basis.count)
        for some in (*fitted(inside, shape.faces, self.config.counts), *largest(inside, shape.faces, self.config.counts)):
            out.append(self.tokens_of(layout, some, nothing, 0).prefix(FIRST_CUT))
        if shape.faces is not None and self.config.faces:
            out += [self.mesh.encode([few])[0] for few in simplified(shape, self.config.faces)]
        return out

    def _scaled(self, shape: Shape) -> list[Tokens]:
        """Scales on top of each number of primitives, of none too, at each fineness."""
        pose = pose_of(shape)
        values, _ = field(shape, pose, self.config.side, self.config.reach)
        whole, layout = cosines(values, self.basis.order), self.layout(pose.signal)
        out = []
        for primitives in (NOTHING, *fitted(pose.inwards(shape.vertices), shape.faces, self.config.counts)):
            coefficients = self.basis.coefficients(whole, self._known(primitives), class_of(len(primitives.numbers)))
            out += [self.tokens_of(layout, primitives, coefficients, fineness) for fineness in range(FINENESSES)]
        return out

    def distortions(self, signal: Signal, candidates: Sequence[Tokens]) -> list[float]:
        """See `closeness.py`."""
        shape = _checked(signal, self.name)
        pose = pose_of(shape)
        measure = Closeness(pose.inwards(shape.vertices), shape.faces)
        axis = grid_axis(self.config.side)
        out = []
        for item in candidates:
            if _is_mesh(item):
                (decoded,) = self.mesh.decode([item])
                assert isinstance(decoded, Shape)
                assert decoded.faces is not None
                out.append(measure(pose.inwards(decoded.vertices), decoded.faces))
            else:
                out.append(measure(*self._surface(item, axis)))
        return out

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """Meshes in the units and at the place of what was encoded. Primitives alone come out as closed meshes of their own each; with
        scales it is one surface, which may be empty of triangles if nothing is inside."""
        axis = grid_axis(self.config.resolution)
        out: list[Signal] = []
        for item in tokens:
            self._check(item)
            if _is_mesh(item):
                out += self.mesh.decode([item])
                continue
            vertices, faces = self._surface(item, axis)
            out.append(Shape(pose_from(item.layout.signal).outwards(vertices), np.asarray(faces, np.int64)))
        return out

    def _known(self, primitives: Primitives) -> Array:
        axis = grid_axis(self.config.side)
        return cosines(distance(primitives, (axis, axis, axis), self.config.reach), self.basis.order)

    def tokens_of(self, layout: Layout, primitives: Primitives, coefficients: Array, fineness: int) -> Tokens:
        """Tokens of primitives and of the coefficients (C,) of what they miss."""
        count = len(primitives.numbers)
        numbers = np.zeros((self.config.most, NUMBERS), np.int32)
        numbers[:count] = primitives.numbers
        arrays = [np.array([count * FINENESSES + fineness], np.int32), numbers]
        found = np.zeros(len(coefficients))
        for scale, components in enumerate(self.config.components):
            step = self._step(scale, fineness)
            ratio = (coefficients[:components] - found[:components]) / step
            # a first token is rounded towards 0: most are 0, and others cost more
            new = np.arange(components) >= (self.config.components[scale - 1] if scale else 0)
            level = np.where(new, np.sign(ratio) * np.floor(np.abs(ratio) + 0.4), np.rint(ratio))
            level = np.clip(level, -LARGEST, LARGEST)
            level = np.where(new, level, np.clip(level, -1, 1))
            found[:components] += level * step
            arrays.append((level + LARGEST).astype(np.int32))
        return Tokens(layout, tuple(arrays))

    def _step(self, scale: int, fineness: int) -> float:
        return self.config.step * 2.0 ** (-scale - fineness / FINENESSES)

    def _surface(self, tokens: Tokens, axis: Array) -> tuple[Array, Array]:
        """(vertices (V, 3) in the cube as [-1, 1]^3, faces (F, 3))."""
        count, fineness = divmod(int(tokens.arrays[0][0]), FINENESSES)
        primitives = Primitives(_sorted_sides(tokens.arrays[1][:count].astype(np.int64)))
        if len(tokens.arrays) == FIRST_CUT:
            return triangles(primitives if count else Primitives(np.array([[0, 0, 0, LEVELS, 0, LEVELS, 0, LEVELS]])))
        coefficients = np.zeros(self.basis.count)
        for scale, array in enumerate(tokens.arrays[FIRST_CUT:]):
            coefficients[: len(array)] += (array.astype(np.int64) - LARGEST) * self._step(scale, fineness)
        axes = (axis, axis, axis)
        values = distance(primitives, axes, self.config.reach)
        values += self.basis.field(coefficients, self._known(primitives), class_of(count), axes)
        scales = len(tokens.arrays) - FIRST_CUT
        thin = primitives.numbers[primitives.half_thickness < THIN[min(scales, len(THIN)) - 1]]
        if len(thin):
            values = np.minimum(values, distance(Primitives(thin), axes, self.config.reach) + SHAVED)
        return surface(values, axis)

    def _check(self, tokens: Tokens) -> None:
        tokens.check_prefix_of(self.layout(tokens.layout.signal), self.name)
        tokens.check_unmasked(self.name)


def _is_mesh(tokens: Tokens) -> bool:
    return len(tokens.layout.signal) > len(POSE)


def _stored(key: str, value: Array) -> Array:
    if key.startswith("rows"):
        return value.astype(np.int8)
    kinds = {"orders": np.int16, "families": np.uint8, "mean": np.float16, "gain": np.float16}
    return value.astype(kinds.get(key, np.float32))


def _sorted_sides(numbers: Array) -> Array:
    """Tokens need not come from an encoder: kinds and symmetries beyond the last are those, and sides are put in order."""
    out = numbers.copy()
    out[:, 0], out[:, 1] = np.minimum(out[:, 0], 4), np.minimum(out[:, 1], 26)
    out[:, 2:] = np.sort(out[:, 2:].reshape(-1, 3, 2), -1).reshape(-1, 6)
    return out


def _checked(signal: Signal, name: str) -> Shape:
    if not isinstance(signal, Shape):
        raise SignalError(f"{name} takes shapes, found {type(signal).__name__}")
    return signal
