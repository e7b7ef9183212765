"""Tokens: an ordered tuple of stages, coarse to fine, of which named prefixes decode.

This one idea carries images, audio, video and shapes: a plain grid is one stage, a residual quantizer has one stage per level, a
multi-scale one a stage per scale, a one-dimensional tokenizer a stage per band of steps.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import UsageError

Array = np.ndarray
MAX_VOCAB = 2**31 - 1  # tokens are int32
MAX_STAGES = 32


@dataclass(frozen=True)
class Stage:
    """One array of tokens: its name, its axes as (name, size) pairs in array order, and its number of codebook entries."""

    name: str
    axes: tuple[tuple[str, int], ...]
    vocab: int

    def __post_init__(self) -> None:
        if not 1 <= self.vocab <= MAX_VOCAB:
            raise UsageError(f"stage {self.name}: vocab must lie in 1..{MAX_VOCAB}, found {self.vocab}")
        if any(size < 0 for _, size in self.axes):
            raise UsageError(f"stage {self.name}: axis sizes must not be negative, found {self.axes}")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(size for _, size in self.axes)

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def step_axis(self) -> int | None:
        """The array axis `step` of a line of tokens, along which each says something else of the same place; None without lines."""
        return next((axis for axis, (name, _) in enumerate(self.axes) if name == "step"), None)


@dataclass(frozen=True)
class Layout:
    """The stages of a signal's tokens, which prefixes of them decode, and the size of the signal they came from.

    cuts: decodable prefix lengths, ascending; the last is `len(stages)`.
    signal: the size of the signal as (name, value) pairs, e.g. (("height", 512), ("width", 768)). Token grids are rounded up
        to whole strides, so this is what lets tokens alone decode to the exact size.
    """

    stages: tuple[Stage, ...]
    cuts: tuple[int, ...]
    signal: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.stages) <= MAX_STAGES:
            raise UsageError(f"a layout has 1..{MAX_STAGES} stages, found {len(self.stages)}")
        if not self.cuts or list(self.cuts) != sorted(set(self.cuts)) or self.cuts[0] < 1 or self.cuts[-1] != len(self.stages):
            raise UsageError(f"cuts ascend from at least 1 to the number of stages ({len(self.stages)}), found {self.cuts}")

    @property
    def size(self) -> dict[str, int]:
        """The signal's size by name."""
        return dict(self.signal)

    @property
    def count(self) -> int:
        return sum(stage.count for stage in self.stages)

    def prefix(self, k: int) -> Layout:
        """The layout of the first k stages; k must be one of `cuts`."""
        if k not in self.cuts:
            raise UsageError(f"the first {k} stages do not decode on their own; choose one of {', '.join(map(str, self.cuts))}")
        return Layout(self.stages[:k], tuple(c for c in self.cuts if c <= k), self.signal)


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one signal.

    arrays: one int32 array per stage, of the stage's shape, values in [0, vocab).
    present: per stage None (all present) or a boolean array over the stage's trailing axes: the regions that the stage holds,
        for rate allocation. All masks have one shape. Absent tokens are 0 in the array and cost nothing. A region present in
        stage k + 1 is present in stage k.
    """

    layout: Layout
    arrays: tuple[Array, ...]
    present: tuple[Array | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.present:
            object.__setattr__(self, "present", (None,) * len(self.arrays))
        if not len(self.arrays) == len(self.present) == len(self.layout.stages):
            raise UsageError(f"tokens need one array per stage: {len(self.layout.stages)} stages, {len(self.arrays)} arrays")
        held: Array | None = None
        for stage, array, mask in zip(self.layout.stages, self.arrays, self.present, strict=True):
            _check_stage(stage, array, mask)
            if held is not None and (mask is None or mask.shape != held.shape or bool(np.any(mask & ~held))):
                raise UsageError(f"stage {stage.name} holds a region that an earlier stage lacks")
            held = mask if mask is not None else held

    @property
    def count(self) -> int:
        """Number of tokens that are present."""
        return sum(_count(stage, mask) for stage, mask in zip(self.layout.stages, self.present, strict=True))

    @property
    def uniform_bits(self) -> float:
        """Bits at log2(vocab) a token: the rate without any entropy coding."""
        return sum(_count(s, m) * math.log2(s.vocab) for s, m in zip(self.layout.stages, self.present, strict=True))

    def prefix(self, k: int) -> Tokens:
        """The first k stages, for k in `layout.cuts`."""
        return Tokens(self.layout.prefix(k), self.arrays[:k], self.present[:k])

    def check_prefix_of(self, whole: Layout, name: str) -> None:
        """Raises UsageError unless these are all stages, or decodable first ones, of `whole`, the layout that tokenizer `name` gives."""
        held = len(self.layout.stages)
        if held not in whole.cuts or self.layout != whole.prefix(held):
            raise UsageError(f"these tokens are not {name}'s: found {self.layout}, expected a prefix of {whole}")

    def check_unmasked(self, name: str) -> None:
        """Raises UsageError where some regions are absent, which tokenizer `name` cannot draw."""
        if any(mask is not None for mask in self.present):
            raise UsageError(f"{name} decodes whole stages; these tokens hold only some regions")

    def segment(self, start: int, stop: int) -> Tokens:
        """The time steps [start, stop) of every stage, counted in the first (coarsest) stage's steps.

        Each stage has a `time` axis whose size is a whole multiple of the first stage's. `layout.signal` stays that of the whole.
        """
        steps = dict(self.layout.stages[0].axes).get("time")
        if steps is None or any("time" not in dict(s.axes) or dict(s.axes)["time"] % max(steps, 1) for s in self.layout.stages):
            raise UsageError("only tokens whose stages all have a time axis, in whole multiples of the first stage's, have segments")
        if not 0 <= start <= stop <= steps:
            raise UsageError(f"a segment lies in 0..{steps} time steps, found {start}..{stop}")
        stages, arrays, masks = [], [], []
        for stage, array, mask in zip(self.layout.stages, self.arrays, self.present, strict=True):
            axis = [name for name, _ in stage.axes].index("time")
            ratio = stage.shape[axis] // max(steps, 1)
            take = slice(start * ratio, stop * ratio)
            axes = tuple((n, (stop - start) * ratio if n == "time" else size) for n, size in stage.axes)
            stages.append(Stage(stage.name, axes, stage.vocab))
            arrays.append(array[(slice(None),) * axis + (take,)])
            lead = axis - (len(stage.axes) - mask.ndim) if mask is not None else -1
            masks.append(mask[(slice(None),) * lead + (take,)] if mask is not None and lead >= 0 else mask)
        return Tokens(Layout(tuple(stages), self.layout.cuts, self.layout.signal), tuple(arrays), tuple(masks))

    def digest(self) -> str:
        """SHA-256 (hex) over the tokens as little-endian int32 in stage order, each stage followed by its mask's bits, if any."""
        sha = hashlib.sha256()
        for array, mask in zip(self.arrays, self.present, strict=True):
            sha.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
            if mask is not None:
                sha.update(np.packbits(mask).tobytes())
        return sha.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokens):
            return NotImplemented
        return (
            self.layout == other.layout
            and all(np.array_equal(a, b) for a, b in zip(self.arrays, other.arrays, strict=True))
            and all(_same_mask(a, b) for a, b in zip(self.present, other.present, strict=True))
        )

    def __hash__(self) -> int:
        return hash((self.layout, self.digest()))


def _check_stage(stage: Stage, array: Array, mask: Array | None) -> None:
    if array.shape != stage.shape or array.dtype != np.int32:
        raise UsageError(f"stage {stage.name} wants int32 {stage.shape}, found {array.dtype} {array.shape}")
    if array.size and (array.min() < 0 or array.max() >= stage.vocab):
        raise UsageError(f"stage {stage.name} holds a token outside 0..{stage.vocab - 1}: {array.min()}..{array.max()}")
    if mask is None:
        return
    if mask.dtype != np.bool_ or mask.shape != stage.shape[len(stage.shape) - mask.ndim :]:
        raise UsageError(f"stage {stage.name} wants a boolean mask over its trailing axes {stage.shape}, found {mask.dtype} {mask.shape}")
    if np.any(array[..., ~mask]):
        raise UsageError(f"stage {stage.name}: absent tokens must be 0")


def _count(stage: Stage, mask: Array | None) -> int:
    return stage.count if mask is None else int(mask.sum()) * (stage.count // max(mask.size, 1))


def _same_mask(a: Array | None, b: Array | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)
