"""A learned prior: a masked transformer foretells each token from all that are known, in a few steps a stage.

For stages over one grid of rows and columns, equally many entries each. Step by step (`masked_steps.py`) the network gives every position
of the step its own table of frequencies; the range coder takes them. The network's arithmetic is exact (`masked_arithmetic.py`), so that
any machine reads what another wrote. It costs seconds a picture, and is therefore never used unless asked for. Patents on integer networks
as entropy models exist; read up on them before you sell this.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smalti.codecs.coders.intervals import IntervalDecoder, IntervalEncoder
from smalti.codecs.coders.tables import Model, Table
from smalti.codecs.media.files import write_atomically
from smalti.codecs.priors import coding
from smalti.codecs.priors.masked_config import LARGEST_BYTES, MaskedConfig, check
from smalti.codecs.priors.masked_steps import LAST
from smalti.codecs.priors.masked_view import View
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

if TYPE_CHECKING:
    from smalti.codecs.priors.masked_network import MaskedNetwork

Array = np.ndarray
FORMAT = "smalti.masked-prior.1"
LARGEST_FILE = LARGEST_BYTES + (1 << 16)  # the header too
MAX_POSITIONS = 1 << 18  # of a stage: a picture of 8192 x 8192 at a stride of 16 takes a quarter of an hour
AXES = ("row", "col")
# of any token: `masked_arithmetic.LEAST_SHARE` leaves 1/256 to the others at least, of which the coder's division takes 1/256
_LEAST_BITS = -math.log2(1 - 255 / 65536)
_PIECE = 1 << 16


@dataclass(frozen=True, eq=False)
class MaskedPrior:
    """`contracts.Prior` by a network of integers; raises ModelError for tensors that are none of the config.

    tensors: int16 and int32 by name, shapes as `MaskedConfig.shapes`. device: where the network runs; the bytes are the same everywhere.
    """

    config: MaskedConfig
    tensors: Mapping[str, Array]
    device: str = "cpu"
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        check(self.config, self.tensors)
        held = {name: np.array(self.tensors[name], order="C") for name in sorted(self.tensors)}
        for array in held.values():
            array.flags.writeable = False  # the id is theirs
        object.__setattr__(self, "tensors", held)
        sha = hashlib.sha256(self._form().encode())
        for array in held.values():
            sha.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        object.__setattr__(self, "id", sha.digest()[:4])

    def price(self, tokens: Tokens) -> list[float]:
        """Bits per stage."""
        coder = _Meter()
        bits: list[float] = []
        for _ in self._put(coder, tokens, 0):
            bits.append(coder.bits - sum(bits))
        return bits

    def encode(self, tokens: Tokens, known: int = 0) -> bytes:
        """Code the stages from `known` on."""
        coder = _Writer()
        for _ in self._put(coder, tokens, known):
            pass
        return coder.intervals.finish()

    def decode(self, data: bytes, layout: Layout, known: Tokens | None = None) -> Tokens:
        """Exactly what was encoded; raises BitstreamError for anything else."""
        first = len(known.arrays) if known is not None else 0
        if known is not None and known.layout.stages != layout.stages[:first]:
            raise ModelError("the known tokens have other stages than the layout that is decoded")
        try:
            self.check(layout, first)
        except UsageError as error:
            raise BitstreamError(str(error)) from error
        arrays = list(known.arrays) if known is not None else []
        masks = list(known.present) if known is not None else []
        coder, view = _Reader(data), View(self.config, layout.stages[0].shape)
        for k in range(first):
            view.know(k, arrays[k], _held(layout.stages[k], masks[k]))
        stages, mask = layout.stages[first:], masks[-1] if masks else None
        start, axes = (first, 0) if mask is not None or not stages else coding.take_header(coder, stages, first)
        count = 0
        for k, stage in enumerate(stages, first):
            mask = coding.take_mask(coder, stage, mask, axes) if k >= start else None
            held = _held(stage, mask)
            count += int(held.sum())
            if count * _LEAST_BITS > 8 * len(data) + 64:
                raise BitstreamError(f"{count} tokens can't come from {len(data)} bytes")
            array = np.zeros(stage.shape, np.int32)
            for step in self._steps(k):
                for look in view.looks(step, held):
                    array[look.rows, look.columns] = coder.intervals.take(self._network.running_sums(look.grids, k, look.chosen))
                view.know(k, array, held & view.within(step))
            arrays.append(array)
            masks.append(mask)
        coder.intervals.finish()
        return Tokens(layout, tuple(arrays), tuple(masks))

    def check(self, layout: Layout, known: int = 0) -> None:
        """Raises ModelError for stages that this prior is not for, UsageError for more than it takes."""
        coding.check_known(layout, known)
        config, shape = self.config, layout.stages[0].shape
        for stage in layout.stages:
            axes = tuple(name for name, _ in stage.axes)
            if axes != AXES or stage.shape != shape or stage.vocab != config.vocab or len(layout.stages) > len(config.steps):
                raise ModelError(
                    f"this prior ({self.id.hex()}) is for up to {len(config.steps)} stages of {config.vocab} entries on one grid of rows "
                    f"and columns; found stage {stage.name} {stage.axes} of {stage.vocab}; use the model's own prior, or train one"
                )
        if not self.takes(layout):
            raise UsageError(f"this prior takes at most {MAX_POSITIONS} positions, found {shape[0]} x {shape[1]}; choose another prior")

    def takes(self, layout: Layout) -> bool:
        """Whether a layout's grid, rows and columns, is small enough."""
        rows, columns = (max(size, self.config.side) for size in layout.stages[0].shape)  # windows are whole, however thin the grid
        return rows * columns <= MAX_POSITIONS

    def foretell(self, view: View, stage: int, where: Array) -> Iterator[Foretold]:
        """What is likely in a stage at the positions `where`, bool (rows, columns), given all that the view knows; some at a time."""
        for look in view.looks((0, LAST), where):
            frequencies = np.diff(self._network.running_sums(look.grids, stage, look.chosen), axis=1)
            yield Foretold(look.rows, look.columns, frequencies / frequencies.sum(1, keepdims=True))

    def save(self, path: str | Path) -> None:
        """Write config and tensors as safetensors, all or nothing; UsageError where the place cannot be written."""
        from safetensors.numpy import save

        write_atomically(path, save(dict(self.tensors), {"format": FORMAT, "config": self._form()}))

    @staticmethod
    def load(path: str | Path, device: str = "cpu") -> MaskedPrior:
        """Read and check what `save` wrote; raises ModelError."""
        from safetensors import SafetensorError, safe_open

        try:
            if Path(path).stat().st_size > LARGEST_FILE:
                raise ModelError(f"a masked prior's file has at most {LARGEST_FILE} bytes")
            with safe_open(path, framework="numpy") as file:
                described = file.metadata() or {}
                if described.get("format") != FORMAT:
                    raise ModelError(f"no masked prior: format {described.get('format')!r}")
                config = _config(described.get("config", ""))
                return MaskedPrior(config, {name: file.get_tensor(name) for name in list(file.keys())}, device)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: can't be read as a masked prior: {error}") from error
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    @cached_property
    def _network(self) -> MaskedNetwork:
        from smalti.codecs.priors.masked_network import MaskedNetwork

        return MaskedNetwork(self.config, self.tensors, self.device)

    def _form(self) -> str:
        return json.dumps(asdict(self.config), sort_keys=True)

    def _steps(self, stage: int) -> list[tuple[int, int]]:
        ends = self.config.steps[stage]
        return list(zip((0, *ends[:-1]), ends, strict=True))

    def _put(self, coder: _Meter | _Writer, tokens: Tokens, known: int) -> Iterator[int]:
        """Put the stages from `known` on; yields after each."""
        stages, masks = tokens.layout.stages, tokens.present
        self.check(tokens.layout, known)
        held = masks[known - 1] if known else None
        view = View(self.config, stages[0].shape)
        for k in range(known):
            view.know(k, tokens.arrays[k], _held(stages[k], masks[k]))
        if held is None and known < len(stages):
            coding.put_header(coder, stages[known:], masks[known:])
        for k in range(known, len(stages)):
            array, mask = tokens.arrays[k], masks[k]
            if mask is not None:
                coding.put_mask(coder, mask, held)
                held = mask
            there = _held(stages[k], mask)
            for step in self._steps(k):
                for look in view.looks(step, there):
                    sums = self._network.running_sums(look.grids, k, look.chosen)
                    coder.put_rows(array[look.rows, look.columns], sums)
                view.know(k, array, there & view.within(step))
            yield k


@dataclass(frozen=True, eq=False)
class Foretold:
    """Positions and what is likely there: rows, columns int64 (M,); shares float64 (M, V), which sum to 1."""

    rows: Array
    columns: Array
    shares: Array


class _Meter:
    """Counts the bits of what is put."""

    def __init__(self) -> None:
        self.bits = 0.0

    def put(self, symbols: Array, model: Model) -> None:
        assert isinstance(model, Table)  # headers and masks have small alphabets
        self.bits += float((16 - np.log2(model.frequencies[symbols])).sum())

    def put_rows(self, symbols: Array, sums: Array) -> None:
        row = np.arange(len(symbols))
        self.bits += float(np.log2(sums[:, -1] / (sums[row, symbols + 1] - sums[row, symbols])).sum())


class _Writer:
    """Writes what is put."""

    def __init__(self) -> None:
        self.intervals = IntervalEncoder()

    def put(self, symbols: Array, model: Model) -> None:
        assert isinstance(model, Table)
        self.intervals.put(symbols, model.starts[None])

    def put_rows(self, symbols: Array, sums: Array) -> None:
        self.intervals.put(symbols, sums)


class _Reader:
    """Reads headers and masks."""

    def __init__(self, data: bytes) -> None:
        self.intervals = IntervalDecoder(data)

    def take(self, count: int, model: Model) -> Array:
        assert isinstance(model, Table)
        sizes = [min(_PIECE, count - start) for start in range(0, count, _PIECE)]
        return np.concatenate([np.zeros(0, np.int32), *(self.intervals.take(np.tile(model.starts, (size, 1))) for size in sizes)])


def _held(stage: Stage, mask: Array | None) -> Array:
    return np.broadcast_to(True if mask is None else mask, stage.shape)


def _config(text: str) -> MaskedConfig:
    try:
        values: dict[str, Any] = json.loads(text)
        values["steps"] = tuple(tuple(steps) for steps in values["steps"])
        return MaskedConfig(**values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"no config of a masked prior: {error}") from error
