"""litData's chunks: chunk-0-N.bin and index.json, for `StreamingDataset(DIR, item_loader=TokensLoader(block_size))`.

A chunk is u32 number of items, u32 offsets of all items and the end, and their ids. The loader cuts blocks of block_size ids from each
chunk and drops the rest of it; with rows of block_size ids nothing is dropped. uint16 ids come out as torch.uint16: cast them to int64.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from smalti.prepare.packs.files import Folder
from smalti.prepare.packs.formats import Given, Piece
from smalti.tokenizers.errors import UsageError

TORCH_TYPES = {np.dtype("<u2"): 20, np.dtype("<i4"): 16}  # litData's numbers of torch.uint16 and torch.int
LEAF = [1, {"type": None, "context": None, "children_spec": []}]  # torch's description of one tensor that is no tree
MOST_BYTES = 2**32 - 1


class LitData:
    """The sink. A chunk is in memory until it is whole."""

    def __init__(self, folder: Folder, given: Given) -> None:
        self._folder, self._given = folder, given
        self._chunks: list[dict[str, Any]] = []
        self._pieces: list[Piece] = []

    def put(self, piece: Piece) -> None:
        self._pieces.append(piece)

    def end_shard(self) -> None:
        if not self._pieces:
            return
        lengths = np.concatenate([piece.lengths for piece in self._pieces])
        ids = np.concatenate([piece.ids for piece in self._pieces]).astype(self._given.dtype)
        first = 4 * (len(lengths) + 2)
        offsets = first + np.concatenate([[0], np.cumsum(lengths)]) * self._given.dtype.itemsize
        if offsets[-1] > MOST_BYTES:
            raise UsageError(f"a chunk of {offsets[-1]} bytes, litData's have {MOST_BYTES} at most; write the format megatron")
        draft = self._folder.draft(f"chunk-0-{len(self._chunks)}.bin")
        draft.write(np.uint32(len(lengths)).astype("<u4").tobytes())
        draft.write(offsets.astype("<u4").tobytes())
        draft.write(ids.tobytes())
        kept = self._folder.keep(draft, head=first, ids=len(ids))
        self._chunks.append({"chunk_bytes": kept.bytes, "chunk_size": len(lengths), "filename": kept.path, "dim": len(ids)})
        self._pieces = []

    def finish(self) -> None:
        self.end_shard()
        config = {
            "compression": None,
            "chunk_size": None,
            "chunk_bytes": self._given.shard_bytes,
            "data_format": [f"no_header_tensor:{TORCH_TYPES[self._given.dtype]}"],
            "data_spec": json.dumps(LEAF),
            "encryption": None,
            "item_loader": "TokensLoader",
        }
        # no time: equal packs have equal bytes
        about = {"chunks": self._chunks, "config": config, "updated_at": "0"}
        self._folder.write("index.json", json.dumps(about, sort_keys=True).encode())
