"""Files by path or by URL: what fsspec opens, where it is installed."""

from __future__ import annotations

import contextlib
import glob as local_glob
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from smalti.codecs.media.files import MAX_FILE_BYTES, open_file, reason
from smalti.tokenizers.errors import SignalError, UsageError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(name: str) -> bool:
    """Whether a name is a URL and no path."""
    return _URL.match(name) is not None


def exists(name: str) -> bool:
    return _asked(name, "exists") if is_url(name) else os.path.exists(name)


def is_folder(name: str) -> bool:
    return _asked(name, "isdir") if is_url(name) else os.path.isdir(name)


def size_of(name: str) -> int:
    """In bytes; -1 where the file is missing or its size not known."""
    try:
        return int(_asked(name, "size") or -1) if is_url(name) else os.stat(name).st_size
    except (OSError, SignalError, ValueError):
        return -1


def glob(pattern: str) -> list[str]:
    """Names that match; of URLs whole ones."""
    if not is_url(pattern):
        return local_glob.glob(pattern)
    files, path = _filesystem(pattern)
    with _said(pattern):
        return [files.unstrip_protocol(name) for name in files.glob(path)]


def walk(root: str) -> Iterator[tuple[str, int]]:
    """(path below the URL, size) of every file, in no order; hidden ones are left out."""
    files, top = _filesystem(root)
    top = top.rstrip("/")
    with _said(root):
        for place, _, found in files.walk(top, detail=True):
            for name, about in found.items():
                path = f"{place}/{name}"[len(top) :].lstrip("/")
                if name and not any(part.startswith(".") for part in path.split("/")):
                    yield path, int(about.get("size") if about.get("size") is not None else -1)


@contextlib.contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """A file open for reading, which can seek. SignalError where it cannot be read."""
    if not is_url(name):
        with open_file(name) as file:
            yield file
        return
    files, path = _filesystem(name)
    with _said(name), files.open(path, "rb") as file:
        yield file


def content(name: str, offset: int = 0, count: int = -1) -> bytes:
    """Bytes of a file, `count` of them from `offset` on, or all; SignalError where they are not there, or are too many."""
    if count > MAX_FILE_BYTES:
        raise SignalError(f"{name}: {count} bytes, expected {MAX_FILE_BYTES} at most; make it smaller")
    with opened(name) as file:
        if offset:
            file.seek(offset)
        data = file.read(count if count >= 0 else MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise SignalError(f"{name}: more than {MAX_FILE_BYTES} bytes, expected {MAX_FILE_BYTES} at most; make it smaller")
    if 0 <= count != len(data):
        raise SignalError(f"{name}: ends after {offset + len(data)} bytes, expected {offset + count}; get it again")
    return data


def _filesystem(name: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"{name}: URLs need fsspec; pip install 'smalti[prepare]'") from None
    with _said(name):
        files, path = fsspec.core.url_to_fs(name)
        return files, path


def _asked(name: str, question: str) -> Any:
    files, path = _filesystem(name)
    with _said(name):
        return getattr(files, question)(path)


@contextlib.contextmanager
def _said(name: str) -> Iterator[None]:
    """Whatever a store raises, in one line."""
    from smalti.tokenizers.errors import SmaltiError

    try:
        yield
    except (SmaltiError, MemoryError, GeneratorExit):
        raise
    except Exception as error:  # each store has errors of its own
        raise SignalError(f"{name}: cannot be read ({reason(error)}); check the URL and its permissions") from None
