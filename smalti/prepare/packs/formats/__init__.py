"""Formats: how the sequences of a pack lie in files, byte by byte as trainers' own readers take them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from smalti.prepare.packs.files import Folder
from smalti.tokenizers.errors import ModelError, UsageError

Array = np.ndarray


@dataclass(frozen=True)
class Given:
    """What a format is told of a pack. row: ids of every sequence where all have one length, else 0."""

    dtype: np.dtype[Any]
    row: int
    shard_bytes: int
    tokenizer: str


@dataclass(frozen=True)
class Document:
    """A sequence that is one document: its key, what it is, and its tokens' shape per stage."""

    key: str
    modality: str
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Piece:
    """Whole sequences, one after the other.

    ids: of the pack's dtype. lengths: int64, of each sequence. ends: int64, where documents (and runs of padding) end, counted from the
    piece's first id, ascending; the last document may go on beyond. documents: one for each sequence, or none where sequences are rows.
    """

    ids: Array
    lengths: Array
    ends: Array
    documents: tuple[Document, ...] = ()


class Sink(Protocol):
    """A format at work: it is given pieces, is told where a shard ends, and finishes with what stands over all shards."""

    def put(self, piece: Piece) -> None: ...

    def end_shard(self) -> None: ...

    def finish(self) -> None: ...


# name -> ("module:Class", bytes of a shard). Offsets within chunks of litData and MDS are 32 bits; both mean 64 MiB by default.
FORMATS = {
    "megatron": ("smalti.prepare.packs.formats.megatron:Megatron", 2**30),
    "datatrove": ("smalti.prepare.packs.formats.datatrove:Datatrove", 2**30),
    "litdata": ("smalti.prepare.packs.formats.litdata:LitData", 2**26),
    "llmc": ("smalti.prepare.packs.formats.llmc:LlmC", 2 * 10**8),
    "nanogpt": ("smalti.prepare.packs.formats.llmc:NanoGpt", 2**62),
    "parquet": ("smalti.prepare.packs.formats.parquet:Parquet", 2**28),
    "mds": ("smalti.prepare.packs.formats.mds:Mds", 2**26),
    "webdataset": ("smalti.prepare.packs.formats.webdataset:WebDataset", 2**28),
}
MAPPED = ("megatron", "datatrove", "litdata", "llmc", "nanogpt")  # whose ids lie in one run per file, for our reader to map


def open_sink(name: str, folder: Folder, given: Given) -> Sink:
    """A format by name, writing into a folder. UsageError for an unknown one, ModelError where a package is missing."""
    if name not in FORMATS:
        raise UsageError(f"no format {name!r}; choose one of {', '.join(FORMATS)}")
    module, _, attribute = FORMATS[name][0].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)(folder, given)
    except ImportError as error:
        raise ModelError(f"packs as {name} need {error.name}: pip install 'smalti[prepare]'") from None


def split(sink: Sink, piece: Piece, held: int, limit: int) -> int:
    """Put a piece, ending shards of `limit` ids where they are full: before a sequence that has no room, unless it is alone.

    held: ids in the shard so far. Returns those afterwards.
    """
    begins = np.concatenate([[0], np.cumsum(piece.lengths)])
    first, count = 0, len(piece.lengths)
    while first < count:
        # as many as fit: of those that begin in this shard, the last may end at its limit
        last = int(np.searchsorted(begins, begins[first] + limit - held, side="right")) - 1
        if last <= first:
            if held:
                sink.end_shard()
                held = 0
                continue
            last = first + 1
        sink.put(_cut(piece, begins, first, min(last, count)))
        held += int(begins[min(last, count)] - begins[first])
        first = min(last, count)
    return held


def _cut(piece: Piece, begins: Array, first: int, last: int) -> Piece:
    if (first, last) == (0, len(piece.lengths)):
        return piece
    start, stop = begins[first], begins[last]
    ends = piece.ends[np.searchsorted(piece.ends, start, side="right") : np.searchsorted(piece.ends, stop, side="right")] - start
    return Piece(piece.ids[start:stop], piece.lengths[first:last], ends, piece.documents[first:last])
