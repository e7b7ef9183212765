"""Files as such: read whole with a limit, written all or not at all, and folders listed in a fixed order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from smalti.codecs.media.drafts import write_beside
from smalti.tokenizers.errors import SignalError, UsageError

IMAGE_SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
AUDIO_SUFFIXES = (".aif", ".aiff", ".flac", ".m4a", ".mka", ".mp3", ".oga", ".ogg", ".opus", ".wav")
SHAPE_SUFFIXES = (".glb", ".obj", ".off", ".ply", ".stl", ".xyz")
FILM_SUFFIXES = (".m4v", ".mkv", ".mov", ".mp4", ".webm", ".y4m")
MAX_FILE_BYTES = 2**30

Content = bytes | Callable[[BinaryIO], object]


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_FILE_BYTES) -> bytes:
    """The whole file, of at most `limit` bytes; SignalError where it is missing, a folder, too long or cannot be read."""
    with open_file(path) as file:
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise _unreadable(path, error) from None
    if len(data) > limit:
        raise SignalError(f"{path}: more than {limit} bytes, expected {limit} at most; make it smaller or split it")
    return data


@contextlib.contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file open for reading, for `with`; SignalError where it is missing, a folder, or cannot be read."""
    path = Path(path)
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise SignalError(f"{path}: no such file; check the name and the folder ({Path.cwd()})") from None
    except IsADirectoryError:
        raise SignalError(f"{path}: a folder, expected a file; name one of the files in it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(path, error) from None
    with file:
        yield file


def _unreadable(path: str | os.PathLike[str], error: Exception) -> SignalError:
    return SignalError(f"{path}: cannot be read ({reason(error)}), expected a readable file; check its permissions")


def read_source(source: str | os.PathLike[str] | bytes | BinaryIO, name: str, kind: str) -> tuple[bytes, str]:
    """The bytes of a path, of bytes or of an open binary file, and what errors call them: `name`, or what the source shows of itself.

    kind: what they should hold, as in "image file". SignalError where they cannot be read, are too many, or none.
    """
    if isinstance(source, bytes):
        data, name = source, name or kind
    elif isinstance(source, (str, os.PathLike)):
        data, name = read_bytes(source), name or str(source)
    else:
        data, name = source.read(MAX_FILE_BYTES + 1), name or str(getattr(source, "name", kind))
    if len(data) > MAX_FILE_BYTES:
        raise SignalError(f"{name}: more than {MAX_FILE_BYTES} bytes, expected {MAX_FILE_BYTES} at most; make it smaller")
    if not data:
        raise SignalError(f"{name}: empty (0 bytes), expected {'an' if kind[0] in 'aeiou' else 'a'} {kind} file; get the file again")
    return data, name


def write_atomically(path: str | os.PathLike[str], content: Content) -> None:
    """Write a file so that `path` is at every moment absent, the old file, or the whole new one.

    It has reached the disk when this returns. A write that was killed leaves at most a draft `.smalti-*.part` beside the old file, which
    the next write to `path` removes.

    content: the bytes, or a function that writes them to the open binary file it is given (it may seek). What that function
    raises passes through, except for an OSError, and nothing is left behind. UsageError where the place cannot be written. A
    link is followed; what is neither file nor folder (a pipe, /dev/stdout) is written to directly.
    """
    write = content if callable(content) else lambda file: file.write(content)
    target = check_place(path)
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                write(file)
        else:
            write_beside(target, write)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({reason(error)}); choose another place or make this one writable") from None


def check_place(path: str | os.PathLike[str]) -> Path:
    """The file that `path` leads to, links followed; UsageError where `write_atomically` would refuse it.

    Asked before long work whose result goes there.
    """
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:  # a NUL in the name
        raise UsageError(f"{os.fspath(path)!r}: cannot be written ({reason(error)}); choose another name") from None
    try:
        if target.is_dir():
            raise UsageError(f"{path}: a folder, expected the name of a file to write; add a file name")
        if not target.parent.is_dir():
            raise UsageError(f"{path}: its folder does not exist, expected one to write into; make it first: mkdir -p {target.parent}")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({reason(error)}); choose another place or make this one writable") from None
    if not os.access(target.parent if target.is_file() or not target.exists() else target, os.W_OK):
        raise UsageError(f"{path}: cannot be written (permission denied); choose another place or make this one writable")
    return target


def list_images(folder: str | os.PathLike[str]) -> list[Path]:
    """All image files under a folder, by `IMAGE_SUFFIXES`, as `list_files` orders them."""
    return list_files(folder, IMAGE_SUFFIXES)


def list_sounds(folder: str | os.PathLike[str]) -> list[Path]:
    """All sound files under a folder, by `AUDIO_SUFFIXES`, as `list_files` orders them."""
    return list_files(folder, AUDIO_SUFFIXES)


def list_shapes(folder: str | os.PathLike[str]) -> list[Path]:
    """All files of shapes under a folder, by `SHAPE_SUFFIXES`, as `list_files` orders them."""
    return list_files(folder, SHAPE_SUFFIXES)


def list_films(folder: str | os.PathLike[str]) -> list[Path]:
    """All films under a folder, by `FILM_SUFFIXES`, as `list_files` orders them."""
    return list_files(folder, FILM_SUFFIXES)


def list_files(folder: str | os.PathLike[str], suffixes: Collection[str]) -> list[Path]:
    """All files under a folder with one of these lower-case suffixes (".png"; their case in the name is ignored).

    Sorted by path, component by component, so that every machine sees the same order. Hidden files and folders are left out,
    linked folders are not entered. SignalError where the folder is none or cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise SignalError(f"{root}: {'a file' if root.exists() else 'no such folder'}, expected a folder; check the name")
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise SignalError(f"{error.filename}: cannot be listed ({reason(error)}); check its permissions") from None

    for place, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".") and Path(name).suffix.lower() in suffixes]
    return sorted(found, key=lambda path: path.parts)


def reason(error: Exception) -> str:
    """What an error says, in one line and without the file's name, which our messages begin with."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
