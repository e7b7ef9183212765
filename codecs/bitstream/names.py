"""Names of an archive's items: from paths when one is written, and back to paths, which must not leave the folder they are restored into.

A name in a file is whatever its writer put there: it may be absolute, climb by "..", name a drive or a device, or come twice. What is no
plain relative path, on any system, is replaced by the item's number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath

from smalti.codecs.bitstream.items import MAX_KEY

MOST_PART = 240  # bytes of one part of a path: with an ending and as a draft it stays below the 255 of most file systems
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICE = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)  # Windows: also with an ending
_ODD = str.maketrans(dict.fromkeys(':*?"<>|', "_"))  # allowed in names here, forbidden there


@dataclass(frozen=True)
class Restored:
    """Where an item goes, below a folder. problem: why not where its name says, "" where it does."""

    path: PurePosixPath
    problem: str = ""


def key_of(path: PurePath) -> str:
    """The name of an item from a relative path: "/" between parts, composed characters, every kind of space a plain one; "" where
    `path_of` would refuse it, or it is longer than a name may be.
    """
    name = unicodedata.normalize("NFC", path.as_posix())
    name = "".join(" " if unicodedata.category(char) == "Zs" else char for char in name)
    return name if path_of(name) is not None else ""


def path_of(key: str) -> PurePosixPath | None:
    """The relative path that a name means, the same on every system; None where it means none.

    Refused: empty or longer than 255 bytes; characters that are not printable; absolute; backslashes; drives; parts that begin with a dot
    (so "..") or a space, or end in one; names of devices. Other characters that not every system allows become "_".
    """
    if not key or not key.isprintable() or len(key.encode("utf-8")) > MAX_KEY or "\\" in key:
        return None
    parts = key.split("/")
    return PurePosixPath(*(part.translate(_ODD) for part in parts)) if all(map(_is_plain, parts)) else None


def _is_plain(part: str) -> bool:
    if not part or part[0] in ". " or part[-1] in ". " or len(part.encode("utf-8")) > MOST_PART:
        return False
    return not _DRIVE.match(part) and not _DEVICE.fullmatch(part)


def restored(items: Sequence[tuple[int, str, str]], endings: Sequence[str]) -> list[Restored]:
    """Paths for items given as (number, key, ending of the result), no two of which are the same file, or a file and a folder, on any
    system; an item without a usable name gets its number.

    endings: those of signals, in lower case, which the result's takes the place of. Any other stays: "v1.2" becomes "v1.2.png".
    """
    places = _Places()
    found: list[Restored] = []
    for number, key, ending in items:
        path = path_of(key)
        problem = "" if path is not None or not key else f"its name {key!a} is no safe relative path"
        if path is not None:
            own = path.stem if path.suffix.lower() in endings else path.name
            wanted = (path.with_name(own + ending), path.with_name(path.name + ending))  # a.webp beside a.png becomes a.webp.png
            path = next((place for place in wanted if places.take(place)), None)
            problem = "" if path is not None else f"the place of its name {key!a} is taken by another item"
        tries = 0
        while path is None:
            numbered = PurePosixPath(f"item-{number:06d}{f'-{tries}' if tries else ''}{ending}")
            path, tries = numbered if places.take(numbered) else None, tries + 1
        found.append(Restored(path, problem and f"{problem}; written as {path}"))
    return found


class _Places:
    """The files and folders that are taken, as systems compare them that know no case."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def take(self, path: PurePosixPath) -> bool:
        """Whether the path was free; it is taken then."""
        file, *folders = (unicodedata.normalize("NFKC", str(p)).casefold() for p in (path, *path.parents[:-1]))
        if file in self._files or file in self._folders or not self._files.isdisjoint(folders):
            return False
        self._files.add(file)
        self._folders.update(folders)
        return True
