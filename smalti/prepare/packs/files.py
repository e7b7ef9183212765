"""The files of a pack: written through their hash to the disk, in a folder that takes its place when all is there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from smalti.codecs.media.files import reason
from smalti.tokenizers.errors import UsageError

BLOCK = 2**24


@dataclass(frozen=True)
class File:
    """A file of a pack. path: below the pack's folder. sha256: hex. head: bytes before the first id; ids: how many, 0 where it has none."""

    path: str
    bytes: int
    sha256: str
    head: int = 0
    ids: int = 0


class Draft:
    """A file that is being written; counts and hashes what goes through it. A `BinaryIO` as far as writers need one."""

    def __init__(self, path: Path) -> None:
        self.path, self.bytes = path, 0
        self._sha = hashlib.sha256()
        self._file: BinaryIO = path.open("xb")

    def write(self, data: bytes | memoryview) -> int:
        self._file.write(data)
        self._sha.update(data)
        size = memoryview(data).nbytes
        self.bytes += size
        return size

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self._file.flush()

    def abandon(self) -> None:
        """Close it as it is."""
        with contextlib.suppress(OSError):
            self._file.close()

    def close(self) -> str:
        """To the disk; returns the hash of all bytes, hex."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._sha.hexdigest()


@dataclass
class Folder:
    """A folder that is being filled. files: what is whole, in the order of writing."""

    path: Path
    files: list[File] = field(default_factory=list)
    _open: list[Draft] = field(default_factory=list)

    def draft(self, name: str) -> Draft:
        """A new file; `keep` when it is whole."""
        self._open.append(Draft(self.path / name))
        return self._open[-1]

    def keep(self, draft: Draft, named: Callable[[str], str] | None = None, head: int = 0, ids: int = 0) -> File:
        """Close a draft and list it. named: makes its final name of its hash."""
        sha = draft.close()
        self._open.remove(draft)
        place = draft.path
        if named is not None:
            place = draft.path.with_name(named(sha))
            os.rename(draft.path, place)
        made = File(place.relative_to(self.path).as_posix(), draft.bytes, sha, head, ids)
        self.files.append(made)
        return made

    def abandon(self) -> None:
        """Close what is still open."""
        for draft in self._open:
            draft.abandon()

    def write(self, name: str, *parts: bytes | memoryview) -> File:
        """A whole file at once."""
        draft = self.draft(name)
        for part in parts:
            draft.write(part)
        return self.keep(draft)

    def adopt(self, name: str, ids: int = 0) -> File:
        """List a file that some library wrote: hashed by reading it again."""
        path = self.path / name
        with path.open("rb") as file:
            os.fsync(file.fileno())
        made = replace(hash_file(path, name), ids=ids)
        self.files.append(made)
        return made


def hash_file(path: Path, name: str) -> File:
    """Size and hash of a file, read in blocks."""
    sha, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            sha.update(block)
            size += len(block)
    return File(name, size, sha.hexdigest())


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Folder]:
    """A draft folder beside `target`, which takes that name when the block ends, and is removed when it fails.

    A folder that stands at `target` is replaced. Killed on the way, it leaves the old folder and a draft, which the next call removes.
    UsageError where the place cannot be written.
    """
    draft = target.with_name(f".{target.name}.part")
    old = target.with_name(f".{target.name}.old")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if old.exists() and not target.exists():  # killed between the two names
            os.rename(old, target)
        for left in (draft, old):
            shutil.rmtree(left, ignore_errors=True)
        draft.mkdir()
        made = Folder(draft)
        try:
            yield made
            _sync(draft)
            if target.exists():
                os.rename(target, old)
            os.rename(draft, target)
            _sync(target.parent)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            made.abandon()
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({reason(error)}); choose another place or make this one writable") from None


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
