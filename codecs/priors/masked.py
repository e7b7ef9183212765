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
from smalti.codecs.priors.masked_config import MaskedConfig, check
from smalti.codecs.priors.masked_steps import LAST, ranks, windows
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

if TYPE_CHECKING:
    from smalti.codecs.priors.masked_network import MaskedNetwork

Array = np.ndarray
FORMAT = "smalti.masked-prior.1"
LARGEST_FILE = 1 << 24  # bytes
MAX_POSITIONS = 1 << 20  # of a stage: a picture of 16384 x 16384 at a stride of 16; more would take hours
BATCH = 8  # windows at once
_LEAST_BITS = -math.log2(1 - 1 / 256)  # of any token: what `masked_arithmetic.LEAST_SHARE` leaves to the others, at least
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
        sha = hashlib.sha256(self._form().encode())
        for name in sorted(self.tensors):
            array = self.tensors[name]
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
        for k, stage in enumerate(stages, first):
            mask = coding.take_mask(coder, stage, mask, axes) if k >= start else None
            held = _held(stage, mask)
            if held.sum() * _LEAST_BITS > 8 * len(data) + 64:
                raise BitstreamError(f"{held.sum()} tokens can't come from {len(data)} bytes")
            array = np.zeros(stage.shape, np.int32)
            for step in self._steps(k):
                for look in view.looks(k, step, held):
                    array[look.rows, look.columns] = coder.intervals.take(self._network.running_sums(look.grids, k, look.chosen))
                view.know(k, array, held & view.within(step))
            arrays.append(array)
            masks.append(mask)
        coder.intervals.finish()
        return Tokens(layout, tuple(arrays), tuple(masks))

    def foretell(self, view: View, stage: int, where: Array) -> Foretold:
        """The likeliest entries of a stage at the positions `where`, bool (rows, columns), given all that the view knows."""
        found = [Foretold(*(np.zeros(0, np.int64),) * 4)]
        for look in view.looks(stage, (0, LAST), where):
            frequencies = np.diff(self._network.running_sums(look.grids, stage, look.chosen), axis=1)
            found.append(Foretold(look.rows, look.columns, frequencies.argmax(1), frequencies.max(1)))
        return Foretold(
            *(np.concatenate([getattr(part, name) for part in found]) for name in ("rows", "columns", "entries", "frequencies"))
        )

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
                raise ModelError(f"{path}: a masked prior's file has at most {LARGEST_FILE} bytes")
            with safe_open(path, framework="numpy") as file:
                described = file.metadata() or {}
                if described.get("format") != FORMAT:
                    raise ModelError(f"{path}: no masked prior: format {described.get('format')!r}")
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
                for look in view.looks(k, step, there):
                    sums = self._network.running_sums(look.grids, k, look.chosen)
                    coder.put_rows(array[look.rows, look.columns], sums)
                view.know(k, array, there & view.within(step))
            yield k

    def check(self, layout: Layout, known: int = 0) -> None:
        """Raises ModelError for stages that this prior is not for, UsageError for more than it takes."""
        coding.check_known(layout, known)
        config, shape = self.config, layout.stages[0].shape
        for stage in layout.stages:
            if len(shape) != 2 or stage.shape != shape or stage.vocab != config.vocab or len(layout.stages) > len(config.steps):
                raise ModelError(
                    f"this prior ({self.id.hex()}) is for up to {len(config.steps)} stages of {config.vocab} entries on one grid of rows "
                    f"and columns; found stage {stage.name} {stage.shape} of {stage.vocab}; use the model's own prior, or train one"
                )
        if layout.stages[0].count > MAX_POSITIONS:
            raise UsageError(f"this prior takes at most {MAX_POSITIONS} positions, found {layout.stages[0].count}; choose another prior")


@dataclass(frozen=True, eq=False)
class Foretold:
    """Positions, each one's likeliest entry and how likely it is, in 2^-24: int64 (M,)."""

    rows: Array
    columns: Array
    entries: Array
    frequencies: Array


@dataclass(frozen=True, eq=False)
class Look:
    """Some windows, and which of their positions are asked for: grids (B, K, side, side), chosen (B, side, side); rows, columns (M,): where
    the chosen ones lie in the whole grid."""

    grids: Array
    chosen: Array
    rows: Array
    columns: Array


class View:
    """All stages' tokens as far as they are known, window by window."""

    def __init__(self, config: MaskedConfig, shape: tuple[int, ...]) -> None:
        rows, columns = shape
        self.config, self.shape = config, (rows, columns)
        self.entries = np.full((len(config.steps), max(rows, config.side), max(columns, config.side)), config.outside, np.int16)
        self.entries[:, :rows, :columns] = config.unknown
        self.ranks = ranks(rows, columns)
        self.windows = windows(rows, columns, config.side, config.margin)

    def know(self, stage: int, array: Array, where: Array) -> None:
        """The stage's tokens are known where `where` is True."""
        self.entries[stage, : self.shape[0], : self.shape[1]][where] = array[where]

    def within(self, step: tuple[int, int]) -> Array:
        """The positions of a step: its ranks are half-open."""
        return (step[0] <= self.ranks) & (self.ranks < step[1])

    def looks(self, stage: int, step: tuple[int, int], held: Array) -> Iterator[Look]:
        """Windows that show every position of the step that the stage holds, once."""
        side = self.config.side
        asked = np.zeros(self.entries.shape[1:], bool)
        asked[: self.shape[0], : self.shape[1]] = held & self.within(step)
        for start in range(0, len(self.windows), BATCH):
            grids, chosen, places = [], [], []
            for w in self.windows[start : start + BATCH]:
                mine = np.zeros((side, side), bool)
                inner = np.s_[w.rows[0] - w.row : w.rows[1] - w.row, w.columns[0] - w.column : w.columns[1] - w.column]
                mine[inner] = asked[w.rows[0] : w.rows[1], w.columns[0] : w.columns[1]]
                if mine.any():
                    grids.append(self.entries[:, w.row : w.row + side, w.column : w.column + side])
                    chosen.append(mine)
                    places.append(np.argwhere(mine) + np.array((w.row, w.column)))
            if grids:
                rows, columns = np.concatenate(places).T
                yield Look(np.stack(grids), np.stack(chosen), rows, columns)


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
        values["steps"] = tuple(tuple(int(end) for end in steps) for steps in values["steps"])
        return MaskedConfig(**values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"no config of a masked prior: {error}") from error
