"""Megatron-LM's IndexedDataset: PREFIX.bin, ids one after the other, and PREFIX.idx, where each sequence and document begins.

Read by `megatron.core.datasets.indexed_dataset.IndexedDataset(PREFIX)`. Prefixes are named by content, since Megatron keeps indices of its
own by the prefix's name and would use old ones for new data. Each sequence is one document.
"""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from smalti.prepare.packs.files import Folder
from smalti.prepare.packs.formats import Given, Piece
from smalti.prepare.packs.formats.runs import Runs
from smalti.tokenizers.errors import BitstreamError, UsageError

Array = np.ndarray
MAGIC = b"MMIDIDX\x00\x00"
CODES: dict[np.dtype[Any], int] = {np.dtype("<u2"): 8, np.dtype("<i4"): 4}
HEAD = struct.Struct("<9sQBQQ")
MOST = 2**31 - 1  # ids of a sequence


@dataclass(frozen=True, eq=False)
class Index:
    """What a .idx says. lengths: int32, ids of each sequence; documents: int64, the number of the sequence where each begins, and the
    end."""

    dtype: np.dtype[Any]
    lengths: Array
    documents: Array

    @property
    def pointers(self) -> Array:
        """int64, where each sequence begins in the .bin, in bytes."""
        sizes = self.lengths.astype(np.int64) * self.dtype.itemsize
        return np.cumsum(sizes) - sizes

    @property
    def ids(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    def data(self) -> bytes:
        """The file's bytes."""
        head = HEAD.pack(MAGIC, 1, CODES[self.dtype], len(self.lengths), len(self.documents))
        arrays = self.lengths.astype("<i4"), self.pointers.astype("<i8"), self.documents.astype("<i8")
        return b"".join([head, *(array.tobytes() for array in arrays)])


def index_of(dtype: np.dtype[Any], lengths: Array) -> Index:
    """The index of sequences that are one document each. UsageError where one is longer than the format can say."""
    if len(lengths) and int(lengths.max()) > MOST:
        raise UsageError(
            f"a document of {int(lengths.max())} ids; Megatron's files hold {MOST} at most; cut the signal before preparing it"
        )
    return Index(dtype, lengths.astype(np.int32), np.arange(len(lengths) + 1, dtype=np.int64))


def read_index(path: Path) -> Index:
    """A .idx of uint16 or int32 ids; BitstreamError where it is none, or its parts do not fit together."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD.size)
        if len(head) < HEAD.size or not head.startswith(MAGIC):
            raise BitstreamError(f"{path}: no Megatron index (begins {head[:9]!r}), expected {MAGIC!r}; write the pack again")
        _, version, code, sequences, documents = HEAD.unpack(head)
        dtype = {known: kind for kind, known in CODES.items()}.get(code)
        if version != 1 or dtype is None:
            raise BitstreamError(f"{path}: version {version}, type {code} of ids; expected version 1 and types {sorted(CODES.values())}")
        if size != HEAD.size + 12 * sequences + 8 * documents:
            raise BitstreamError(f"{path}: {size} bytes, expected {HEAD.size + 12 * sequences + 8 * documents}; write the pack again")
        lengths = np.frombuffer(file.read(4 * sequences), "<i4")
        pointers = np.frombuffer(file.read(8 * sequences), "<i8")
        found = Index(dtype, lengths, np.frombuffer(file.read(8 * documents), "<i8"))
    if len(found.documents) == 0 or found.documents[-1] != sequences or not np.array_equal(pointers, found.pointers):
        raise BitstreamError(f"{path}: its sequences do not lie one after the other; write the pack again")
    return found


def merged(indices: Iterable[Index]) -> Index:
    """The index of several .bin files one after the other. UsageError where their types differ."""
    found = list(indices)
    if len({index.dtype for index in found}) != 1:
        raise UsageError(f"shards of {sorted({str(index.dtype) for index in found})} cannot be one; pack them all with one vocabulary")
    begins = np.cumsum([0, *(len(index.lengths) for index in found)])
    documents = [index.documents[:-1] + begin for index, begin in zip(found, begins, strict=False)]
    return Index(found[0].dtype, np.concatenate([index.lengths for index in found]), np.concatenate([*documents, begins[-1:]]))


def merge(prefixes: Sequence[Path], target: Path) -> None:
    """Several prefixes (paths without .bin) as one, the documents in this order. Nothing half-written is left behind."""
    from smalti.codecs.media.files import write_atomically

    found = [read_index(_beside(prefix, ".idx")) for prefix in prefixes]
    for prefix, index in zip(prefixes, found, strict=True):
        size, expected = _beside(prefix, ".bin").stat().st_size, index.ids * index.dtype.itemsize
        if size != expected:
            raise BitstreamError(f"{_beside(prefix, '.bin')}: {size} bytes, expected {expected} by its index; write the pack again")
    whole = merged(found)

    def copy(out: BinaryIO) -> None:
        for prefix in prefixes:
            with _beside(prefix, ".bin").open("rb") as file:
                shutil.copyfileobj(file, out, 2**24)

    write_atomically(_beside(target, ".bin"), copy)
    write_atomically(_beside(target, ".idx"), whole.data())  # last: without it the other is no data set


class Megatron:
    """The sink. One prefix per shard."""

    def __init__(self, folder: Folder, given: Given) -> None:
        self._folder, self._given = folder, given
        self._runs = Runs(folder, given, lambda number, sha: f"shard-{number:05d}-{sha[:12]}.bin")

    def put(self, piece: Piece) -> None:
        self._runs.put(piece)

    def end_shard(self) -> None:
        shard = self._runs.end()
        if shard is not None:
            self._folder.write(f"{os.path.splitext(shard.file)[0]}.idx", index_of(self._given.dtype, shard.lengths).data())

    def finish(self) -> None:
        self.end_shard()


def _beside(prefix: Path, suffix: str) -> Path:
    return prefix.with_name(prefix.name + suffix)
