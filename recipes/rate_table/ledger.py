"""What has been measured already: JSON lines, appended one by one, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smalti.codecs.media.files import check_place, read_bytes, reason
from smalti.tokenizers.errors import UsageError


@dataclass(frozen=True)
class Key:
    """One file: a picture (digest of its pixels), a codec in one setting and version, a quality of its scale (or stages)."""

    picture: str
    codec: str
    quality: int


@dataclass(frozen=True)
class Entry:
    """Bytes of the file (None: it cannot be written) and the scores that were asked for so far."""

    bytes: int | None
    scores: Mapping[str, float] = field(default_factory=dict)


class Ledger:
    """Entries by key, in memory and, where a path is given, in a file; of several lines on one key the last counts.

    The file's folder is made where it is missing. UsageError where the file cannot be written, said before anything is measured.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.entries: dict[Key, Entry] = {}
        if path is not None:
            _make_folder(path)
            check_place(path)
        lines = read_bytes(path).decode(errors="replace").splitlines() if path is not None and path.exists() else []
        for line in lines:
            try:
                found: dict[str, Any] = json.loads(line)
                key = Key(found["picture"], found["codec"], found["quality"])
                self.entries[key] = Entry(found["bytes"], found["scores"])
            except (ValueError, KeyError, TypeError):  # a line cut short when a run was stopped
                continue

    def get(self, key: Key) -> Entry | None:
        return self.entries.get(key)

    def put(self, key: Key, entry: Entry) -> Entry:
        self.entries[key] = entry
        if self.path is not None:
            record = {
                "picture": key.picture,
                "codec": key.codec,
                "quality": key.quality,
                "bytes": entry.bytes,
                "scores": dict(entry.scores),
            }
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write("\n" + json.dumps(record))  # a new line first: the last one may have been cut short
            except OSError as error:
                raise UsageError(f"{self.path}: cannot be written ({reason(error)}); make room, then run again: it goes on there") from None
        return entry


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: its folder cannot be made ({reason(error)}); name another place") from None
