"""A unit's files: written whole, then named by a commit, without which they count for nothing."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from smalti.codecs.media.files import write_atomically
from smalti.prepare.places import Places, write_json
from smalti.prepare.records import DOCUMENT, DTYPES, LARGEST_16, Commit, DocumentLayout, FileRecord
from smalti.tokenizers.errors import BitstreamError
from smalti.tokenizers.tokens import Tokens

COPIED = 2**20  # tokens at a time


@dataclass(frozen=True)
class Failure:
    """An item that could not be used: its number and key, at which step, the error's class and what it says."""

    item: int
    key: str
    step: str
    error: str
    message: str

    def to_json(self) -> dict[str, Any]:
        return {"item": self.item, "key": self.key, "step": self.step, "error": self.error, "message": self.message}


@dataclass
class Draft:
    """Documents of a unit, in any order; their tokens lie in an unnamed file until all are there. State: that file and the tables."""

    places: Places
    layouts: dict[DocumentLayout, int] = field(default_factory=dict)
    notes: dict[tuple[str, ...], int] = field(default_factory=lambda: {(): 0})
    _kept: list[tuple[int, int, int, str, DocumentLayout, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._spool = tempfile.TemporaryFile(dir=self.places.codes)  # noqa: SIM115  # closed with the draft
        self._end = 0

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def add(self, item: int, model: int, tokens: Tokens, notes: tuple[str, ...] = ()) -> None:
        """One document. UsageError for tokens that hold only some regions."""
        tokens.check_unmasked("smalti prepare")
        wide = "int32" if any(stage.vocab > LARGEST_16 for stage in tokens.layout.stages) else "uint16"
        for array in tokens.arrays:
            self._spool.write(array.astype(DTYPES[wide]).tobytes())
        self._kept.append((item, self._end, tokens.count, wide, DocumentLayout(model, tokens.layout), notes))
        self._end += tokens.count * DTYPES[wide].itemsize

    def commit(
        self, plan: str, unit: int, first: int, items: int, failures: Sequence[Failure], probe: dict[str, Any] | None = None
    ) -> Commit:
        """Write the unit: files first, the commit last. plan: its hash. Where a commit stands already nothing is written over, and
        BitstreamError says that it is of other codes, if it is.
        """
        place = self.places.unit(unit, "json")
        before = Commit.read(place) if place.exists() else None
        self._kept.sort(key=lambda kept: kept[0])
        dtype = "int32" if any(kept[3] == "int32" for kept in self._kept) else "uint16"
        documents, start = np.zeros(len(self._kept), DOCUMENT), 0
        for number, (item, _, count, _, layout, notes) in enumerate(self._kept):
            numbers = self.layouts.setdefault(layout, len(self.layouts)), self.notes.setdefault(notes, len(self.notes))
            documents[number] = (item, start, count, *numbers)
            start += count
        lines = "".join(json.dumps(f.to_json(), ensure_ascii=True) + "\n" for f in sorted(failures, key=lambda f: f.item))
        files = {
            "codes": self._write(unit, "codes", lambda file: self._copy(file, DTYPES[dtype]), before),
            "docs": self._write(unit, "docs", lambda file: file.write(documents.tobytes()), before),
            "errors.jsonl": self._write(unit, "errors.jsonl", lambda file: file.write(lines.encode()), before),
        }
        made = Commit(
            plan, unit, first, items, dtype, len(documents), start, len(failures), files, tuple(self.layouts), tuple(self.notes), probe
        )
        if before is None:
            write_json(place, made.to_json())
        elif before != made:
            raise BitstreamError(f"{place}: a commit of other codes stands there already; `smalti verify --deep` tells which is whole")
        return made

    def _copy(self, file: _Hashed, dtype: np.dtype) -> None:
        for _, start, count, stored, _, _ in self._kept:
            self._spool.seek(start)
            left = count
            while left:
                part = np.frombuffer(self._spool.read(min(left, COPIED) * DTYPES[stored].itemsize), DTYPES[stored])
                file.write(part.astype(dtype).tobytes())
                left -= len(part)

    def _write(self, unit: int, ending: str, write: Callable[[_Hashed], object], before: Commit | None) -> FileRecord:
        path = self.places.unit(unit, ending)
        hashed = _Hashed()

        def both(file: BinaryIO) -> None:
            hashed.file = file
            write(hashed)

        if before is None:
            write_atomically(path, both)
        else:
            write(hashed)
        return FileRecord(path.name, hashed.bytes, hashed.sha.hexdigest())


class _Hashed:
    """A file that is written to, if there is one, and hashed."""

    def __init__(self) -> None:
        self.file: BinaryIO | None = None
        self.sha, self.bytes = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha.update(data)
        self.bytes += len(data)
        return self.file.write(data) if self.file is not None else len(data)
