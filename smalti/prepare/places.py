"""Which file of a prepared folder lies where, and how JSON is read and written there."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.codecs.media.files import read_bytes, write_atomically
from smalti.tokenizers.errors import BitstreamError, SignalError

MAX_JSON = 2**28  # bytes of a commit or a manifest: some kilobytes a document with a layout of its own
BLOCK = 2**20


@dataclass(frozen=True)
class Places:
    """The files of a prepared folder."""

    folder: Path

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def inputs(self) -> Path:
        return self.folder / "inputs.jsonl"

    @property
    def inputs_index(self) -> Path:
        return self.folder / "inputs.index"

    @property
    def inputs_keys(self) -> Path:
        return self.folder / "inputs.keys"

    @property
    def manifest(self) -> Path:
        return self.folder / "dataset.json"

    @property
    def codes(self) -> Path:
        return self.folder / "codes"

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    @property
    def packs(self) -> Path:
        return self.folder / "packs"

    def unit(self, number: int, ending: str) -> Path:
        """ending: "codes", "docs", "json" or "errors.jsonl"."""
        return self.codes / f"unit-{number:06d}.{ending}"


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value that hashes are made from."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON value."""
    return hashlib.sha256(canonical(value)).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file; OSError where it cannot be read."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            sha.update(block)
    return sha.hexdigest()


def read_json(path: Path, limit: int = MAX_JSON) -> Any:
    """A JSON object of ours; BitstreamError where the file is missing, too long or no JSON object."""
    try:
        found = json.loads(read_bytes(path, limit))
    except SignalError as error:
        raise BitstreamError(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise BitstreamError(f"{path}: damaged, no JSON that can be read ({error}); prepare it again") from None
    if not isinstance(found, dict):
        raise BitstreamError(f"{path}: damaged, expected a JSON object, found {type(found).__name__}; prepare it again")
    return found


def write_json(path: Path, value: Any) -> None:
    """The same value gives the same bytes; whole or not at all, and on the disk when this returns."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def make_folder(path: Path) -> None:
    """UsageError-free where it exists; OSError else names it."""
    os.makedirs(path, exist_ok=True)
