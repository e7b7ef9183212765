"""MosaicML Streaming's MDS: shard.NNNNN.mds and index.json, for `StreamingDataset(local=DIR)`.

Rows are one column `input_ids`, an array of fixed shape without overhead; documents have `key`, `modality` and `shapes` (JSON) beside it.
Every shard carries its SHA-256.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from smalti.prepare.packs.files import Folder
from smalti.prepare.packs.formats import Document, Given, Piece
from smalti.tokenizers.errors import UsageError

Array = np.ndarray
MOST_BYTES = 2**32 - 1
WIDTHS = (("<u1", 8), ("<u2", 16), ("<u4", 32))


class Mds:
    """The sink. A shard is in memory until it is whole."""

    def __init__(self, folder: Folder, given: Given) -> None:
        self._folder, self._given = folder, given
        ids = f"ndarray:{given.dtype.name}" + (f":{given.row}" if given.row else "")
        columns = {"input_ids": ids} if given.row else {"input_ids": ids, "key": "str", "modality": "str", "shapes": "str"}
        names = sorted(columns)
        sizes = [given.row * given.dtype.itemsize if given.row else None for _ in names]
        self._columns = {"column_names": names, "column_encodings": [columns[name] for name in names], "column_sizes": sizes}
        self._samples: list[bytes] = []
        self._shards: list[dict[str, Any]] = []
        self._ids = 0

    @property
    def _about(self) -> dict[str, Any]:
        whole = {"version": 2, "format": "mds", "compression": None, "hashes": ["sha256"], "size_limit": self._given.shard_bytes}
        return whole | self._columns

    def put(self, piece: Piece) -> None:
        ids = np.ascontiguousarray(piece.ids, self._given.dtype)
        stops = np.cumsum(piece.lengths)
        for i, (stop, length) in enumerate(zip(stops.tolist(), piece.lengths.tolist(), strict=True)):
            row = ids[stop - length : stop]
            self._samples.append(row.tobytes() if self._given.row else _sample(row, piece.documents[i]))
        self._ids += len(ids)

    def end_shard(self) -> None:
        if not self._samples:
            return
        config = json.dumps(self._about, sort_keys=True).encode()
        first = 4 * (len(self._samples) + 2) + len(config)
        offsets = first + np.concatenate([[0], np.cumsum([len(sample) for sample in self._samples])])
        if offsets[-1] > MOST_BYTES:
            raise UsageError(f"a shard of {offsets[-1]} bytes, MDS has {MOST_BYTES} at most; write the format megatron")
        draft = self._folder.draft(f"shard.{len(self._shards):05d}.mds")
        draft.write(struct.pack("<I", len(self._samples)))
        draft.write(offsets.astype("<u4").tobytes())
        draft.write(config)
        for sample in self._samples:
            draft.write(sample)
        kept = self._folder.keep(draft, ids=self._ids)
        raw = {"basename": kept.path, "bytes": kept.bytes, "hashes": {"sha256": kept.sha256}}
        self._shards.append(self._about | {"samples": len(self._samples), "raw_data": raw, "zip_data": None})
        self._samples, self._ids = [], 0

    def finish(self) -> None:
        self.end_shard()
        self._folder.write("index.json", json.dumps({"version": 2, "shards": self._shards}, sort_keys=True).encode())


def _sample(ids: Array, document: Document) -> bytes:
    parts = [_array(ids), document.key.encode(), document.modality.encode(), json.dumps(document.shapes).encode()]
    return b"".join([*(struct.pack("<I", len(part)) for part in parts), *parts])


def _array(ids: Array) -> bytes:
    """One axis, and its size in as many bytes as it needs."""
    width, (kind, _) = next((i, known) for i, known in enumerate(WIDTHS) if len(ids) < 2 ** known[1])
    return bytes([1 << 2 | width]) + np.array([len(ids)], kind).tobytes() + ids.tobytes()
