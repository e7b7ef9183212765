"""WebDataset tar files: NUMBER.ids.npy per sequence, and of documents NUMBER.json with key, modality and shapes.

Numbers, not keys, name the members: a dot in a key would end it there, and USTAR's names are short. Times and owners are fixed, so that
equal packs have equal bytes.
"""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np

from smalti.prepare.packs.files import Draft, Folder
from smalti.prepare.packs.formats import Given, Piece


class WebDataset:
    """The sink. One .tar per shard."""

    def __init__(self, folder: Folder, given: Given) -> None:
        self._folder, self._given = folder, given
        self._draft: Draft | None = None
        self._tar: tarfile.TarFile | None = None
        self._shards = self._sequences = self._ids = 0

    def put(self, piece: Piece) -> None:
        if self._tar is None:
            self._draft = self._folder.draft(f"{self._shards:06d}.tar")
            self._tar = tarfile.TarFile(fileobj=self._draft, mode="w", format=tarfile.USTAR_FORMAT)  # type: ignore[arg-type]
        stops = np.cumsum(piece.lengths)
        for i, (stop, length) in enumerate(zip(stops.tolist(), piece.lengths.tolist(), strict=True)):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(piece.ids[stop - length : stop], self._given.dtype), allow_pickle=False)
            self._add("ids.npy", buffer.getvalue())
            if piece.documents:
                found = piece.documents[i]
                about = {"key": found.key, "modality": found.modality, "shapes": found.shapes}
                self._add("json", json.dumps(about).encode())
            self._sequences += 1
        self._ids += len(piece.ids)

    def _add(self, suffix: str, data: bytes) -> None:
        assert self._tar is not None
        member = tarfile.TarInfo(f"{self._sequences:010d}.{suffix}")
        member.size, member.mode = len(data), 0o444
        self._tar.addfile(member, io.BytesIO(data))

    def end_shard(self) -> None:
        if self._tar is None or self._draft is None:
            return
        self._tar.close()
        self._folder.keep(self._draft, ids=self._ids)
        self._tar = self._draft = None
        self._shards += 1
        self._ids = 0

    def finish(self) -> None:
        self.end_shard()
