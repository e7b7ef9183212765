"""What SRC is, and the items in it: a folder, a text list of paths, tar files of samples (WebDataset), or tables with bytes (parquet).

Local paths, or URLs of whatever fsspec opens. Keys are unique and depend on nothing but names: of a folder the path in it, of a list the
line, of a tar its name and the member's, of a table its name and the row, or a column that one names.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smalti.codecs.media.files import AUDIO_SUFFIXES, FILM_SUFFIXES, IMAGE_SUFFIXES, SHAPE_SUFFIXES, reason
from smalti.prepare import remote
from smalti.prepare.inputs import Input, sorted_runs
from smalti.prepare.patterns import expanded, is_pattern
from smalti.tokenizers.errors import SignalError, UsageError

LISTS, TARS, TABLES = (".txt", ".lst", ".list"), (".tar",), (".parquet",)
WANTED = "a folder, a list of paths (.txt), .tar files or .parquet files"


@dataclass
class Source:
    """kind: "folder", "list", "tar" or "table". root: a folder or URL that paths of items are below, "" where they stand for themselves.
    files: of lists, tars and tables. State: left_out counts the files that no model takes, by ending."""

    kind: str
    root: str
    files: tuple[str, ...] = ()
    column: str = ""
    key_column: str = ""
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self, given: str) -> dict[str, Any]:
        """What the plan keeps: of tars and tables their sizes too. given: SRC as it was written, its place made absolute."""
        files = {name: remote.size_of(joined(self.root, name)) for name in self.files if self.kind in ("tar", "table")}
        return {"given": given, "kind": self.kind, "root": self.root, "column": self.column, "files": files}

    def items(self, takes: Takes, scratch: Path | None = None) -> Iterator[Input]:
        """Every item, in an order that is the same each time. scratch: where names are sorted; a gigabyte of ten million."""
        if self.kind == "folder":
            return self._folder(takes, scratch)
        if self.kind == "list":
            return self._list(takes)
        from smalti.prepare import tables, tars

        if self.kind == "tar":
            return tars.items(self.root, self.files, takes, self.left_out)
        return tables.items(self.root, self.files, takes, self.left_out, self.column, self.key_column)

    def _folder(self, takes: Takes, scratch: Path | None) -> Iterator[Input]:
        walk = remote.walk(self.root) if remote.is_url(self.root) else _walk(self.root, self.left_out)

        def kept() -> Iterator[Input]:
            for path, size in walk:
                model = takes.of_name(path)
                if model is None:
                    self.left_out[os.path.splitext(path)[1].lower() or "no ending"] += 1
                else:
                    yield Input(path, model, path, size)

        with tempfile.TemporaryDirectory(prefix=".smalti-", dir=scratch) as place:
            yield from sorted_runs(kept(), _sort_line, _from_sort_line, Path(place))

    def _list(self, takes: Takes) -> Iterator[Input]:
        for file in self.files:
            with remote.opened(file) as lines:
                for raw in lines:
                    line = raw.decode("utf-8", "surrogateescape").strip()
                    model = takes.of_name(line)
                    if line and model is None:
                        self.left_out[os.path.splitext(line)[1].lower() or "no ending"] += 1
                    elif line and model is not None:
                        yield Input(line, model, line, remote.size_of(joined(self.root, line)))


@dataclass(frozen=True)
class Takes:
    """Which model, by its number, takes what: by a modality for each."""

    modalities: tuple[str, ...]

    def __post_init__(self) -> None:
        for modality in self.modalities:
            if self.modalities.count(modality) > 1:
                raise UsageError(f"two models of {modality}, expected one of a kind; prepare into two folders")

    @functools.cached_property
    def endings(self) -> dict[str, int]:
        """Of a film with a model of sound and none of films, its soundtrack is taken; a GIF is a picture where a model takes those."""
        place = {modality: number for number, modality in enumerate(self.modalities)}
        orders = (
            (IMAGE_SUFFIXES, ("image",)), ((".gif",), ("image", "video")), (AUDIO_SUFFIXES, ("audio",)), (SHAPE_SUFFIXES, ("shape",)),
            (FILM_SUFFIXES, ("video", "audio")),
        )  # fmt: skip
        found: dict[str, int] = {}
        for suffixes, kinds in orders:
            number = next((place[kind] for kind in kinds if kind in place), None)
            found |= dict.fromkeys(suffixes, number) if number is not None else {}
        return found

    def of_name(self, name: str) -> int | None:
        """By the ending of a name."""
        return self.endings.get(os.path.splitext(name)[1].lower())

    def of_bytes(self, start: bytes, name: str = "") -> int | None:
        """By the ending of a name, if that says it, else by what the file begins with; the one model where there is one."""
        from smalti.media import modality_of

        if len(self.modalities) == 1:
            return 0
        found = self.of_name(name) if name else None
        if found is None and start:
            modality = modality_of(start)
            found = self.modalities.index(modality) if modality in self.modalities else None
        return found


def source_of(given: str, column: str = "", key_column: str = "") -> Source:
    """What a SRC is. UsageError where it is nothing that can be prepared, SignalError where it is missing."""
    url = remote.is_url(given)
    if is_pattern(given):
        files = tuple(expanded(given, remote.glob))
        kinds = {os.path.splitext(name)[1].lower() for name in files}
        if kinds not in ({".tar"}, {".parquet"}):
            raise UsageError(f"{given}: stands for {len(files)} files that end in {sorted(kinds)}, expected .tar files or .parquet files")
        return _of_files("tar" if kinds == {".tar"} else "table", files, column, key_column)
    ending = os.path.splitext(given)[1].lower()
    if remote.is_folder(given):
        return Source("folder", given if url else os.path.abspath(given))
    if not remote.exists(given):
        raise SignalError(f"{given}: no such file or folder, expected {WANTED}; check the name")
    if ending in LISTS:
        root = os.path.dirname(given) if url else os.path.dirname(os.path.abspath(given))
        return Source("list", root, (given,))
    if ending in TARS:
        return _of_files("tar", (given,), column, key_column)
    if ending in TABLES:
        return _of_files("table", (given,), column, key_column)
    raise UsageError(f"{given}: ends in {ending or 'nothing'}, expected {WANTED}; put single files into a folder")


def joined(root: str, path: str) -> str:
    """Where the file of an item lies."""
    if remote.is_url(path) or not root:
        return path
    return f"{root.rstrip('/')}/{path}" if remote.is_url(root) else os.path.join(root, path)


def _of_files(kind: str, files: Sequence[str], column: str, key_column: str) -> Source:
    """Paths below the folder that all files have in common."""
    whole = [name if remote.is_url(name) else os.path.abspath(name) for name in files]
    folders = [os.path.dirname(name) for name in whole]
    root = folders[0] if len(set(folders)) == 1 else os.path.commonpath(folders)
    if remote.is_url(whole[0]) and len(set(folders)) > 1:
        root = ""
    return Source(kind, root, tuple(name[len(root) :].lstrip("/") if root else name for name in whole), column, key_column)


def _walk(root: str, left_out: Counter[str]) -> Iterator[tuple[str, int]]:
    """(path below the root with /, size) of every file, in no order; hidden ones are left out, linked folders are not entered, which is
    counted, as links to nothing are."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(os.path.join(root, below)) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    path = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif entry.is_file():
                        yield path, entry.stat().st_size
                    elif entry.is_symlink():
                        left_out["link to a folder" if entry.is_dir() else "broken link"] += 1
        except OSError as error:
            raise SignalError(f"{os.path.join(root, below)}: cannot be listed ({reason(error)}); check its permissions") from None


def _sort_line(item: Input) -> bytes:
    return json.dumps([*item.path.split("/"), item.size, item.model], ensure_ascii=True).encode()


def _from_sort_line(line: bytes) -> Input:
    *parts, size, model = json.loads(line)
    return Input("/".join(parts), model, "/".join(parts), size)
