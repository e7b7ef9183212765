"""Parquet, for the libraries that read tables: `input_ids` as lists of int32; with documents also `key`, `modality` and `shapes`.

Row groups of 1,024 sequences are the unit of random access. Ids are compressed by zstd without a dictionary, which they would only bloat.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smalti.prepare.packs.files import Folder
from smalti.prepare.packs.formats import Given, Piece

GROUP = 1024
SHAPES = pa.list_(pa.list_(pa.int32()))
IDS = pa.field("input_ids", pa.list_(pa.int32()))
ROWS = pa.schema([IDS])
DOCUMENTS = pa.schema([pa.field("key", pa.string()), pa.field("modality", pa.string()), pa.field("shapes", SHAPES), IDS])


class Parquet:
    """The sink. One file per shard."""

    def __init__(self, folder: Folder, given: Given) -> None:
        self._folder = folder
        self._schema = ROWS if given.row else DOCUMENTS
        self._writer: Any = None
        self._waiting: list[Any] = []
        self._shards = self._ids = 0

    @property
    def _name(self) -> str:
        return f"part-{self._shards:05d}.parquet"

    def put(self, piece: Piece) -> None:
        offsets = np.concatenate([[0], np.cumsum(piece.lengths)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(piece.ids.astype(np.int32)))
        columns: list[Any] = [lists]
        if piece.documents:
            columns = [pa.array([d.key for d in piece.documents]), pa.array([d.modality for d in piece.documents]),
                       pa.array([d.shapes for d in piece.documents], SHAPES), lists]  # fmt: skip
        self._waiting.append(pa.Table.from_arrays(columns, schema=self._schema))
        self._ids += len(piece.ids)
        if sum(len(table) for table in self._waiting) >= GROUP:
            self._write(all_of_it=False)

    def end_shard(self) -> None:
        self._write(all_of_it=True)
        if self._writer is None:
            return
        self._writer.close()
        self._folder.adopt(self._name, self._ids)
        self._writer, self._ids = None, 0
        self._shards += 1

    def finish(self) -> None:
        self.end_shard()

    def _write(self, all_of_it: bool) -> None:
        """Groups of one size, whatever the pieces were: equal packs have equal bytes."""
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting).combine_chunks()
        count = len(table) if all_of_it else len(table) // GROUP * GROUP
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                os.fspath(self._folder.path / self._name), self._schema, compression="zstd", compression_level=3, use_dictionary=False
            )
        for start in range(0, count, GROUP):
            self._writer.write_table(table.slice(start, min(GROUP, count - start)).combine_chunks(), row_group_size=GROUP)
        self._waiting = [table.slice(count)] if count < len(table) else []
