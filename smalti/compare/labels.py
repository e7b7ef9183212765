"""What is known of items beforehand: their classes, their groups, what is said or written in them, from a file beside the data.

JSON: an object by file name (or the end of a path), whose values are a class, a text, or an object with `label`, `index`, `digit`,
`category` or `class`, `text`, `group` or `speaker`; or a list of such objects with `file`, under `items`. Other files: lines of name, tab,
class or text, and another tab and group; or a table whose first line has such names. Classes that are words are numbered in order of the
alphabet.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smalti.codecs.media.files import read_bytes
from smalti.compare.items import Source
from smalti.tokenizers.errors import UsageError

CLASSES = ("label", "index", "digit", "category", "class")
GROUPS = ("group", "speaker")
TEXTS = ("text", "transcript")


def read_labels(path: str) -> dict[str, int]:
    """Class numbers by name; UsageError where there are none."""
    found = {name: _of(entry, CLASSES, 0) for name, entry in _table(path).items()}
    if not found or any(value is None or value == "" or isinstance(value, bool | float) for value in found.values()):
        raise UsageError(f"{path}: no labels, expected classes by file name, as a JSON object or as lines of name, tab, class")
    try:
        numbers = {name: int(value) for name, value in found.items()}
    except (TypeError, ValueError):
        words = sorted({str(value) for value in found.values()})
        numbers = {name: words.index(str(value)) for name, value in found.items()}
    if min(numbers.values()) < 0:
        raise UsageError(f"{path}: class {min(numbers.values())}, expected numbers from 0 on")
    return numbers


def read_groups(path: str) -> dict[str, str] | None:
    """Groups by name from the same file; None where it has none."""
    found = {name: _of(entry, GROUPS, 1) for name, entry in _table(path).items()}
    return {name: str(value) for name, value in found.items()} if all(value is not None for value in found.values()) else None


def read_texts(path: str) -> dict[str, str]:
    """Texts by name; UsageError where there are none."""
    found = {name: _of(entry, TEXTS, 0) for name, entry in _table(path).items()}
    if not found or not all(isinstance(text, str) for text in found.values()):
        raise UsageError(f"{path}: no texts, expected texts by file name, as a JSON object or as lines of name, tab, text")
    return {name: str(text) for name, text in found.items()}


def of_all(table: Mapping[str, Any] | None, sources: Sequence[Source], what: str) -> tuple[Any, ...] | None:
    """The entries of all sources in order; UsageError where one is missing."""
    if table is None:
        return None
    found = [_entry(table, source) for source in sources]
    missing = [source.id for source, entry in zip(sources, found, strict=True) if entry is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        names = f"expected the end of its path, found names such as {next(iter(table))!r}" if table else "found no names"
        raise UsageError(f"{missing[0]}{more}: no {what} under this name: {names}; add it, or leave the item out")
    return tuple(found)


def _entry(table: Mapping[str, Any], source: Source) -> Any:
    """Under the longest end of a path that is a name there."""
    path = Path(source.path).with_suffix("") / source.member if source.member else Path(source.path)
    parts = path.absolute().as_posix().split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((table[end] for end in itertools.chain([source.id], ends) if end in table), None)


def _of(entry: Any, names: Sequence[str], place: int) -> Any:
    """What an entry says under one of these names, or in that place of a list."""
    if isinstance(entry, dict):
        return next((entry[name] for name in names if name in entry), None)
    if isinstance(entry, list):
        return entry[place] if place < len(entry) else None
    return entry if place == 0 else None


def _table(path: str) -> dict[str, Any]:
    text = read_bytes(path).decode("utf-8", errors="replace")
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path}: no JSON ({' '.join(str(error).split())}), expected an object by file name") from None
        items = found.get("items")
        if isinstance(items, list):
            return {str(item["file"]): item for item in items if isinstance(item, dict) and "file" in item}
        return found
    lines = [line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if lines and set(lines[0][1:]) & {*CLASSES, *GROUPS, *TEXTS}:
        head = lines[0][1:]
        return {line[0]: dict(zip(head, line[1:], strict=False)) for line in lines[1:]}
    return {line[0]: line[1:] for line in lines if len(line) > 1}
