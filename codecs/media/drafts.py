"""A file is written under another name beside its place, reaches the disk, and then takes the place at once.

A draft is locked by whoever writes it. The kernel drops the lock of a process that dies, however it dies, so that the next write to the
same place can tell an orphan from the draft of a writer at work, and removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not a POSIX system: drafts have names of their own there, and an orphan stays
    fcntl = None  # type: ignore[assignment]

SLOTS = 8  # names that writers to one place may use at the same time; more of them write under random ones


def write_beside(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a draft and put it in the place of `target`. What it raises passes through, and no draft stays.

    Killed on the way, it leaves the old file whole and at most one draft `.smalti-*.part`.
    """
    handle, draft = _opened(target)
    with contextlib.ExitStack() as held:
        if fcntl is not None:
            held.callback(os.close, os.dup(handle))  # keeps the lock until the draft has its place or is gone
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())  # else a crash of the machine may leave the new name with none of the bytes
            os.replace(draft, target)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
    _flush_folder(target.parent)


def _opened(target: Path) -> tuple[int, Path]:
    """A new locked draft for this target; orphans of earlier writers to it are removed."""
    # not tempfile: it makes files that only their owner may read, whatever the umask says
    stem = f".smalti-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}"
    found: tuple[int, Path] | None = None
    for slot in range(SLOTS if fcntl is not None else 0):
        draft = target.with_name(f"{stem}-{slot}.part")
        if os.path.lexists(draft):
            _remove_orphan(draft)
        if found is None and (handle := _created(draft)) is not None:
            found = handle, draft
    if found is not None:
        return found
    draft = target.with_name(f"{stem}-{secrets.token_hex(8)}.part")
    return os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), draft


def _created(draft: Path) -> int | None:
    """A handle on a new draft, locked; None where another writer has the name."""
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is(draft, handle):
            return handle
    except BlockingIOError:
        pass
    except OSError:  # a file system without locks, where nobody removes a draft either
        return handle
    os.close(handle)  # somebody took it for an orphan between the two calls
    return None


def _remove_orphan(draft: Path) -> None:
    """Remove a draft that no living process holds."""
    with contextlib.suppress(OSError):
        handle = os.open(draft, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(draft, handle):
                draft.unlink()
        finally:
            os.close(handle)


def _is(draft: Path, handle: int) -> bool:
    """Whether the name still leads to the open file: else it has become a result, or was removed, and is not ours to touch."""
    try:
        return os.path.samestat(os.lstat(draft), os.fstat(handle))
    except FileNotFoundError:
        return False


def _flush_folder(folder: Path) -> None:
    """Let the new name reach the disk too, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
