"""Files whose ids lie in one run after a head: what Megatron, datatrove, nanoGPT and llm.c share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from smalti.prepare.packs.files import Draft, Folder
from smalti.prepare.packs.formats import Given, Piece

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Shard:
    """A finished run of ids. number: from 0. file: its name. lengths, ends: as those of `Piece`, over the whole shard; the last end is that
    of all ids."""

    number: int
    file: str
    ids: int
    lengths: Array
    ends: Array


class Runs:
    """Writes ids as they come and keeps the lengths of sequences, 16 bytes each. State: the shard that is open.

    named: file name of (number, hash of its bytes). head: makes the bytes before the ids, all of one size, of their number; where it is
    given, a shard is held in memory until it ends.
    """

    def __init__(self, folder: Folder, given: Given, named: Callable[[int, str], str], head: Callable[[int], bytes] | None = None) -> None:
        self.folder, self.given, self.named, self.head = folder, given, named, head
        self._draft: Draft | None = None
        self._clear()
        self.shards = 0

    def _clear(self) -> None:
        self._held: list[bytes] = []
        self._lengths: list[Array] = []
        self._ends: list[Array] = []
        self._ids = 0

    def put(self, piece: Piece) -> None:
        """More of this shard."""
        data = np.ascontiguousarray(piece.ids, self.given.dtype)
        if self.head is not None:
            self._held.append(data.tobytes())
        else:
            if self._draft is None:
                self._draft = self.folder.draft(f"shard-{self.shards:05d}.part")
            self._draft.write(data.tobytes())
        self._lengths.append(piece.lengths)
        self._ends.append(piece.ends + self._ids)
        self._ids += len(data)

    def end(self) -> Shard | None:
        """Close the shard, if one is open."""
        if not self._lengths:
            return None
        number, draft, head = self.shards, self._draft, b""
        if self.head is not None:
            head = self.head(self._ids)
            draft = self.folder.draft(f"shard-{number:05d}.part")
            draft.write(head)
            for part in self._held:
                draft.write(part)
        assert draft is not None
        kept = self.folder.keep(draft, lambda sha: self.named(number, sha), len(head), self._ids)
        ends = np.concatenate([*self._ends, [self._ids]])
        ends = ends[:-1] if len(ends) > 1 and ends[-2] == self._ids else ends  # a document that goes on ends here for this file
        made = Shard(number, kept.path, self._ids, np.concatenate(self._lengths), ends)
        self._draft = None
        self._clear()
        self.shards += 1
        return made
