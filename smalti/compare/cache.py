"""What was measured already, so that a run that was stopped goes on where it was: JSON lines and the compressed files themselves.

A key is made of all that a result depends on: the content of the item, the codec with its version, the setting. A metric's score stands
under the metric's own key, see `judging.key_of`. Lines are appended; of several on one key the last counts, and a line that was cut short
when a run was killed is passed over. Compressed files lie under their hash: decoding them again costs less disk than keeping what decoded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smalti.codecs.media.files import open_file, read_bytes, reason, write_atomically
from smalti.tokenizers.errors import SmaltiError, UsageError

LINES = "units.jsonl"
FILES = "files"


def key_of(**parts: Any) -> str:
    """32 hex digits of what a result depends on."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]


class Cache:
    """Records (JSON objects) by key, in memory and in a folder; UsageError where that cannot be written."""

    def __init__(self, folder: str | os.PathLike[str], fresh: bool = False) -> None:
        """fresh: forget what is there."""
        self.folder = Path(folder)
        self.path = self.folder / LINES
        self._records: dict[str, dict[str, Any]] = {}
        try:
            (self.folder / FILES).mkdir(parents=True, exist_ok=True)
            if fresh:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{self.folder}: cannot be made or written ({reason(error)}); choose another place with -o") from None
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        with open_file(self.path) as file:
            for line in file:
                try:
                    found = json.loads(line)
                    key, record = found["key"], found["record"]
                except (ValueError, KeyError, TypeError, RecursionError):  # cut short when a run was killed
                    continue
                if isinstance(key, str) and isinstance(record, dict):
                    self._records[key] = record

    def get(self, key: str) -> dict[str, Any] | None:
        """The last record of a key."""
        return self._records.get(key)

    def put(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep a record; it has reached the system when this returns."""
        self._records[key] = dict(record)
        line = json.dumps({"key": key, "record": record}, separators=(",", ":"))
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # a new line first: the last one may have been cut short
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written ({reason(error)}); make room, then run again: it goes on there") from None


def file_place(folder: str | os.PathLike[str], digest: str) -> Path:
    """Where the compressed file of a hash lies."""
    return Path(folder) / FILES / digest[:2] / digest


def keep_file(folder: str | os.PathLike[str], data: bytes) -> str:
    """Keep a compressed file; its SHA-256 in hex."""
    digest = hashlib.sha256(data).hexdigest()
    place = file_place(folder, digest)
    if not place.is_file() or place.stat().st_size != len(data):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, data)
    return digest


def kept_file(folder: str | os.PathLike[str], digest: str) -> bytes | None:
    """The compressed file of a hash; None where it is gone or damaged."""
    try:
        data = read_bytes(file_place(folder, digest))
    except SmaltiError:
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None
