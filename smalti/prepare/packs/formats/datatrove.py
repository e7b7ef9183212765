"""datatrove's token files: NAME.ds, ids one after the other as 2 or 4 bytes, NAME.ds.index, where documents end, and NAME.ds.metadata.

Read by `DatatroveFileDataset(NAME.ds, seq_len, token_size)`, whose windows are seq_len + 1 ids: exactly the rows of a pack that was made
for that context. The file does not say how wide ids are: token_size stands in the metadata.
"""

from __future__ import annotations

from smalti.prepare.packs.files import Folder
from smalti.prepare.packs.formats import Given, Piece
from smalti.prepare.packs.formats.runs import Runs


class Datatrove:
    """The sink. One .ds per shard."""

    def __init__(self, folder: Folder, given: Given) -> None:
        self._folder, self._given = folder, given
        self._runs = Runs(folder, given, lambda number, sha: f"{number:05d}.ds")

    def put(self, piece: Piece) -> None:
        self._runs.put(piece)

    def end_shard(self) -> None:
        shard = self._runs.end()
        if shard is not None:
            self._folder.write(f"{shard.file}.index", shard.ends.astype("<u8").tobytes())
            about = f"{self._given.tokenizer}|{self._given.dtype.itemsize}", str(shard.ids), human(shard.ids)
            self._folder.write(f"{shard.file}.metadata", "\n".join(about).encode())

    def finish(self) -> None:
        self.end_shard()


def human(count: int) -> str:
    """As datatrove's line for people: three digits and a unit, "12.3 kT"."""
    value, units = float(count), ["", "k", "M", "G", "T"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        del units[0]
    unit = units[0]
    digits = max(0, 3 - len(str(int(value)))) if unit or value else 2
    return f"{value:.{digits}f} {unit}T"
