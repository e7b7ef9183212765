"""Packs as a model is trained on them: ids through memory maps, in an order that no number of processes changes, resumed at any step.

reader = open_pack("OUT/packs/tokens")
batches = reader.batches(64, seed=0)            # int64 (64, context + 1) each
ids = batches[1000]                             # of global step 1000, the same whatever was read before
mine = batches.rank(2, 8)[1000]                 # the third eighth of it
tokens = reader.tokens(5)                       # of a document, to decode
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from smalti.prepare.packs.formats import MAPPED
from smalti.prepare.packs.pack import DOCUMENTS, LAYOUTS, RECORD, Pack, open_manifest, verify
from smalti.prepare.packs.weaving import Weaver
from smalti.prepare.permutation import order_of
from smalti.prepare.places import read_json
from smalti.prepare.records import DocumentLayout, layout_of
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Tokens

Array = np.ndarray
POOL = 8  # batches that are kept to be filled again


def _references() -> int:
    """Of an array that nobody holds but a pool and whoever asks: 3, and fewer in Pythons that only lend local names (from 3.14 on)."""
    pool = [np.empty(0)]
    (array,) = pool
    return sys.getrefcount(array)


FREE = _references()


def open_pack(folder: str | os.PathLike[str], fingerprint: str | None = None, modality: str = "image", deep: bool = False) -> PackReader:
    """The pack of a folder OUT/packs/NAME.

    fingerprint: of the model that the tokens of `modality` should be by. deep: read all files and compare their hashes. UsageError where
    it is no pack, or of a format that cannot be mapped; BitstreamError where a file is missing, of another size, or (deep) damaged;
    ModelError where another model made the tokens.
    """
    pack = open_manifest(folder)
    if pack.format not in MAPPED:
        raise UsageError(
            f"{folder}: written for {pack.format}'s own reader; ours maps {', '.join(MAPPED)}: write one: smalti prepare --repack --format"
        )
    if fingerprint is not None:
        pack.check_model(fingerprint, modality)
    if deep:
        verify(pack)
    return PackReader(pack)


class Stream:
    """The ids of several files as one run. Reads through memory maps; what crosses files is put together."""

    def __init__(self, maps: list[Array]) -> None:
        self.maps = maps
        self.starts = np.cumsum([0, *(len(part) for part in maps)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def read(self, start: int, count: int) -> Array:
        """Ids [start, start + count), in the type on disk."""
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        parts = []
        while count > 0:
            at = start - int(self.starts[first])
            part = self.maps[first][at : at + count]
            parts.append(part)
            start, count, first = start + len(part), count - len(part), first + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, self.maps[0].dtype)

    def gather(self, starts: Array, out: Array) -> None:
        """Rows of `out`, int64 (B, length): the ids from each of these places on."""
        from smalti.prepare.gathering import gather

        if len(self.maps) == 1:
            gather(self.maps[0], starts, np.arange(len(starts)), out)
            return
        files = np.searchsorted(self.starts, starts, side="right") - 1
        within = starts + out.shape[1] <= self.starts[files + 1]
        for file in np.unique(files).tolist():
            rows = np.flatnonzero((files == file) & within)
            gather(self.maps[file], starts[rows] - self.starts[file], rows, out)
        for row in np.flatnonzero(~within).tolist():
            out[row] = self.read(int(starts[row]), out.shape[1])


class PackReader:
    """An open pack. What it costs to open does not grow with it."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        dtype = pack.vocabulary.dtype
        maps = []
        for file in pack.files:
            if file.ids:
                place = pack.folder / file.path
                if file.bytes != file.head + file.ids * dtype.itemsize:
                    raise BitstreamError(f"{place}: {file.bytes} bytes, expected {file.head + file.ids * dtype.itemsize}; write it again")
                maps.append(np.asarray(np.memmap(place, dtype, "r", file.head, (file.ids,))))
        if sum(map(len, maps)) != pack.ids or not maps:
            raise BitstreamError(f"{pack.folder}: its files hold {sum(map(len, maps))} ids, expected {pack.ids}; write the pack again")
        self.ids = Stream(maps)

    def __len__(self) -> int:
        """Number of documents."""
        return self.pack.documents

    @cached_property
    def records(self) -> Array:
        """`pack.RECORD` (D,): where each document lies, in the order of the stream."""
        path = self.pack.folder / DOCUMENTS
        if path.stat().st_size != len(self) * RECORD.itemsize:
            raise BitstreamError(f"{path}: {path.stat().st_size} bytes, expected {len(self) * RECORD.itemsize}; write the pack again")
        return np.asarray(np.memmap(path, RECORD, "r", shape=(len(self),)))

    @cached_property
    def layouts(self) -> tuple[DocumentLayout, ...]:
        """What the documents' `layout` points into."""
        path = self.pack.folder / LAYOUTS
        try:
            found = tuple(DocumentLayout(int(entry["model"]), layout_of(entry)) for entry in read_json(path)["layouts"])
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise BitstreamError(f"{path}: damaged, no layouts that can be read ({error}); write the pack again") from None
        if any(not 0 <= entry.model < len(self.pack.models) for entry in found):
            raise BitstreamError(f"{path}: names a model that the pack does not have; write the pack again")
        return found

    @cached_property
    def weaver(self) -> Weaver:
        """Between tokens and ids as this pack has them."""
        return Weaver(self.pack.vocabulary, self.pack.pattern, self.pack.row_ends, self.pack.bos)

    def document_ids(self, number: int) -> Array:
        """The ids of a document, counted in the order of the stream."""
        record = self._record(number)
        start, count = int(record["start"]), int(record["count"])
        if not 0 <= start <= start + count <= len(self.ids):
            raise BitstreamError(f"{self.pack.folder / DOCUMENTS}: document {number} lies outside the stream; write the pack again")
        return self.ids.read(start, count)

    def layout(self, number: int) -> DocumentLayout:
        """Model and layout of a document."""
        found = int(self._record(number)["layout"])
        if not 0 <= found < len(self.layouts):
            raise BitstreamError(f"{self.pack.folder / DOCUMENTS}: document {number} has layout {found}; write the pack again")
        return self.layouts[found]

    def tokens(self, number: int) -> Tokens:
        """The tokens of a document, exactly as they were packed."""
        entry, ids = self.layout(number), self.document_ids(number)
        if entry.layout.count > len(ids):  # before there is a table of that size
            raise BitstreamError(
                f"{self.pack.folder / LAYOUTS}: {entry.layout.count} tokens in {len(ids)} ids of document {number}; write the pack again"
            )
        return self.weaver.tokens(self.pack.models[entry.model].modality, entry.layout, ids)

    def of_item(self, item: int) -> int | None:
        """The document of an input of the folder that the pack was made of; None where it is not in this pack."""
        for first in range(0, len(self), 2**20):
            found = np.flatnonzero(self.records["item"][first : first + 2**20] == item)
            if len(found):
                return first + int(found[0])
        return None

    def segments(self, start: int, count: int) -> Array:
        """int64 (count,): the number of the document that each of these ids belongs to, -1 for padding; for masks and positions."""
        records, out = self.records, np.full(count, -1, np.int64)
        number = max(0, int(np.searchsorted(records["start"], start, side="right")) - 1)
        while number < len(records) and records["start"][number] < start + count:
            begin, stop = int(records["start"][number]) - start, int(records["start"][number] + records["count"][number]) - start
            out[max(begin, 0) : max(stop, 0)] = number
            number += 1
        return out

    def windows(self, length: int | None = None) -> Windows:
        """The stream as windows of one length: the pack's rows, or what is asked for."""
        length = length or self.pack.row
        if not 1 <= length <= len(self.ids):
            raise UsageError(f"{self.pack.folder}: windows have 1..{len(self.ids)} ids, found {length}; a pack without rows needs a length")
        return Windows(self, length)

    def batches(self, size: int, seed: int = 0, length: int | None = None) -> Batches:
        """Windows in random order, all of them once an epoch."""
        return Batches((self.windows(length),), (1,), size, seed)

    def _record(self, number: int) -> np.void:
        if not 0 <= number < len(self):
            raise UsageError(f"there is no document {number}; this pack has {len(self)}, counted from 0")
        return self.records[number]


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of `length` ids one after the other; where they do not divide the stream, the last one ends with it."""

    reader: PackReader
    length: int

    def __len__(self) -> int:
        return -(-len(self.reader.ids) // self.length)

    def __getitem__(self, number: int) -> Array:
        """int64 (length,)."""
        if not 0 <= number < len(self):
            raise IndexError(f"there is no window {number}; there are {len(self)}")
        return self.reader.ids.read(int(self.starts(np.array([number]))[0]), self.length).astype(np.int64)

    def starts(self, numbers: Array) -> Array:
        """Where windows begin in the stream."""
        return np.minimum(numbers * self.length, len(self.reader.ids) - self.length)


@dataclass(frozen=True, eq=False)
class Batches:
    """Batches by number. Which windows one has depends on its number, the seed, the size and the packs, on nothing else.

    sources: of one length. shares: of each source among `sum(shares)` windows. size: windows of a whole batch. first, last: those of them
    that this process takes. State: arrays that nobody holds any more, to be filled again.
    """

    sources: tuple[Windows, ...]
    shares: tuple[int, ...]
    size: int
    seed: int
    first: int = 0
    last: int = -1
    _pool: list[Array] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        if not self.sources or len(self.shares) != len(self.sources) or min(self.shares) < 1 or sum(self.shares) > 2**20:
            raise UsageError(f"each pack of a mixture has a share from 1 on, at most {2**20} in all; found {self.shares}")
        if len({source.length for source in self.sources}) > 1:
            raise UsageError(f"packs of one mixture have one length of windows, found {[source.length for source in self.sources]}")
        if self.size < 1:
            raise UsageError(f"a batch has 1 window at least, found {self.size}")
        if self.last < 0:
            object.__setattr__(self, "last", self.size)

    @property
    def length(self) -> int:
        """Ids of a window."""
        return self.sources[0].length

    def rank(self, rank: int, world: int) -> Batches:
        """The part of each batch that one of several processes takes; their parts together are the batch, in order."""
        if not 0 <= rank < world <= self.size:
            raise UsageError(f"rank {rank} of {world} for batches of {self.size}; expected 0 <= rank < world <= size")
        return replace(self, first=self.size * rank // world, last=self.size * (rank + 1) // world, _pool=[])

    def __getitem__(self, step: int) -> Array:
        """int64 (rows, length): this process's part of the batch of a global step."""
        if step < 0:
            raise IndexError(f"steps count from 0, found {step}")
        out = self._room()
        first, count = step * self.size + self.first, self.last - self.first
        if len(self.sources) == 1:
            self._fill(0, first, count, out)
            return out
        places = mixed_places(self.shares, self.seed, first, count)
        for source in range(len(self.sources)):
            for row in np.flatnonzero(places[0] == source).tolist():
                self._fill(source, int(places[1][row]), 1, out[row : row + 1])
        return out

    def epochs(self, step: int) -> tuple[float, ...]:
        """How often each source has been gone through before a global step."""
        counts = [step * self.size * share / sum(self.shares) for share in self.shares]
        return tuple(count / len(source) for count, source in zip(counts, self.sources, strict=True))

    def state(self, step: int) -> dict[str, int | list[str]]:
        """What to keep with a checkpoint, and to give to `check_state` before going on at that step."""
        return {"step": step, "seed": self.seed, "size": self.size, "length": self.length, "packs": self._digests()}

    def check_state(self, state: dict[str, int | list[str]]) -> int:
        """The step of a state of `state`; UsageError where it is of other packs, another seed, size or length."""
        expected = self.state(int(state.get("step", 0)))  # type: ignore[arg-type]
        wrong = [key for key, value in expected.items() if state.get(key) != value]
        if wrong:
            raise UsageError(
                f"this state is of another run: {wrong[0]} {state.get(wrong[0])}, expected {expected[wrong[0]]}; "
                "begin at step 0, or open what it is of"
            )
        return int(state["step"])  # type: ignore[arg-type]

    def _digests(self) -> list[str]:
        return [f"{share} {source.reader.pack.digest}" for share, source in zip(self.shares, self.sources, strict=True)]

    def _fill(self, source: int, first: int, count: int, out: Array) -> None:
        """Rows of `out`: the windows at these places of a source's endless sequence of epochs."""
        from smalti.prepare.gathering import permuted

        windows = self.sources[source]
        done = 0
        while done < count:
            epoch, place = divmod(first + done, len(windows))
            many = min(count - done, len(windows) - place)
            order = order_of(len(windows), self.seed, source, epoch)
            chosen = permuted(place, many, order.n, order.half, order.keys)
            windows.reader.ids.gather(windows.starts(chosen), out[done : done + many])
            done += many

    def _room(self) -> Array:
        """An array that nobody else holds. A new one each time would be written to for the first time, a page fault for every 512 ids."""
        for array in self._pool:
            if sys.getrefcount(array) == FREE:
                return array
        made = np.empty((self.last - self.first, self.length), np.int64)
        if len(self._pool) < POOL:
            self._pool.append(made)
        return made


def mix(readers: dict[PackReader, int], size: int, seed: int = 0, length: int | None = None) -> Batches:
    """Windows of several packs, each by its share of all: {photos: 3, sounds: 1}. All must have one vocabulary, as --vocabulary makes
    it."""
    known = {reader.pack.vocabulary for reader in readers}
    if len(known) > 1:
        raise UsageError("these packs have different vocabularies, so that their ids mean different things; pack with --vocabulary PACK")
    return Batches(tuple(reader.windows(length) for reader in readers), tuple(readers.values()), size, seed)


def mixed_places(shares: tuple[int, ...], seed: int, first: int, count: int) -> tuple[Array, Array]:
    """(source, place in that source's own sequence) of the windows first..first + count - 1, int64 each.

    In each block of sum(shares) windows every source has exactly its share, in an order of the block's own: so that a place is known
    without going through those before.
    """
    from smalti.prepare.gathering import permuted

    total = sum(shares)
    owner = np.repeat(np.arange(len(shares)), shares)
    sources, places = [], []
    for block in range(first // total, (first + count - 1) // total + 1):
        order = order_of(total, seed, -1, block)
        at = permuted(0, total, order.n, order.half, order.keys)
        chosen = owner[at]
        rank = np.zeros(total, np.int64)
        for source, share in enumerate(shares):
            mine = chosen == source
            rank[mine] = np.arange(share) + block * share
        low, high = max(first - block * total, 0), min(first + count - block * total, total)
        sources.append(chosen[low:high])
        places.append(rank[low:high])
    return np.concatenate(sources), np.concatenate(places)
