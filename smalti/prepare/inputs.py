"""The frozen list of items: a JSON object a line, an index of where each line begins, and the items by hash of their key.

Ten million items take as little memory as ten: lists are streamed, sorted in runs on the disk, and mapped when they are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from smalti.codecs.media.files import write_atomically
from smalti.prepare.places import Places
from smalti.tokenizers.errors import BitstreamError, UsageError

T = TypeVar("T")
MAX_LINE = 2**16  # bytes of an item
RUN = 200_000  # lines that are sorted in memory at a time
BUCKETS = 256  # of hashes, by their first byte
_PAIR = np.dtype([("hash", "<u8"), ("item", "<i8")])


@dataclass(frozen=True)
class Input:
    """One item. key: its unique name. model: number of the model that takes it, in the plan. path: of its file below the source, or a URL.

    size: in bytes that the file (or the part of it) has, -1 where that is not known. offset: where it begins in a tar, -1 elsewhere.
    row: in a table, -1 elsewhere.
    """

    key: str
    model: int
    path: str
    size: int = -1
    offset: int = -1
    row: int = -1

    def line(self) -> bytes:
        known = {name: value for name, value in (("bytes", self.size), ("offset", self.offset), ("row", self.row)) if value >= 0}
        return json.dumps({"key": self.key, "model": self.model, "path": self.path, **known}, ensure_ascii=True).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> Input:
        """ValueError, KeyError or TypeError where the line is damaged."""
        found = json.loads(line)
        size, offset, row = (int(found.get(name, -1)) for name in ("bytes", "offset", "row"))
        if not (isinstance(found["key"], str) and isinstance(found["path"], str)):
            raise TypeError("key and path are text")
        return cls(found["key"], int(found["model"]), found["path"], size, offset, row)


def hash_of(key: str) -> int:
    """64 bits of SHA-256 of a key, the same everywhere; also what decides which items are held out."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "little")


def is_held_out(key: str, share: float) -> bool:
    """Whether a key belongs to the share (0..1) that is kept from training: by its hash, so that more data moves no item."""
    return hash_of(key) < share * 2**64


class Inputs:
    """The frozen items of a prepared folder, read lazily. BitstreamError where the files do not fit together."""

    def __init__(self, places: Places, count: int) -> None:
        self.places, self.count = places, count
        self._starts = _mapped(places.inputs_index, "<i8", count + 1)
        self._pairs = _mapped(places.inputs_keys, _PAIR, count)
        self._lines = _Bytes(places.inputs)
        if int(self._starts[-1]) != len(self._lines):
            raise BitstreamError(
                f"{places.inputs}: {len(self._lines)} bytes, expected {int(self._starts[-1])}; get the file again, or prepare anew"
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Input:
        start, stop = int(self._starts[number]), int(self._starts[number + 1])
        try:
            if not 0 <= start < stop <= len(self._lines) or stop - start > MAX_LINE:
                raise ValueError(f"its line lies at {start}..{stop}")
            return Input.of(self._lines.read(start, stop))
        except (ValueError, KeyError, TypeError) as error:
            raise BitstreamError(f"{self.places.inputs}: item {number} is damaged ({error}); get the file again") from None

    def check(self) -> None:
        """Read all of it; BitstreamError unless each line begins where the index says, and each key leads to its item."""
        end, found = 0, 0
        with self.places.inputs.open("rb") as file:
            for found, line in enumerate(file, 1):
                end += len(line)
                if found > self.count or int(self._starts[found]) != end:
                    break
        if int(self._starts[0]) or found != self.count or end != len(self._lines):
            raise BitstreamError(f"{self.places.inputs_index}: damaged at item {found - 1}; get the file again, or prepare anew")
        seen = np.zeros(self.count, bool)
        before = 0
        for first in range(0, self.count, 2**16):
            for value, item in np.asarray(self._pairs[first : first + 2**16]).tolist():
                if not (0 <= item < self.count and not seen[item] and before <= value == hash_of(self[item].key)):
                    raise BitstreamError(f"{self.places.inputs_keys}: damaged at item {item}; get the file again, or prepare anew")
                seen[item], before = True, value

    def find(self, key: str) -> int | None:
        """The number of the item of this key, None where there is none."""
        wanted = hash_of(key)
        place = int(np.searchsorted(self._pairs["hash"], np.uint64(wanted)))
        while place < self.count and int(self._pairs["hash"][place]) == wanted:
            number = int(self._pairs["item"][place])
            if 0 <= number < self.count and self[number].key == key:
                return number
            place += 1
        return None


class _Bytes:
    """A file's bytes, mapped."""

    def __init__(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                self._map: mmap.mmap | bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except OSError as error:
            raise BitstreamError(f"{path}: cannot be read ({error.strerror}); get the file again, or prepare anew") from None

    def __len__(self) -> int:
        return len(self._map)

    def read(self, start: int, stop: int) -> bytes:
        return bytes(self._map[start:stop])


def _mapped(path: Path, dtype: Any, count: int) -> np.ndarray:
    """`count` values of a file, mapped; its size is checked first."""
    dtype = np.dtype(dtype)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise BitstreamError(f"{path}: cannot be read ({error.strerror}); get the file again, or prepare anew") from None
    if size != count * dtype.itemsize:
        raise BitstreamError(f"{path}: {size} bytes, expected {count * dtype.itemsize}; get the file again, or prepare anew")
    return np.memmap(path, dtype, "r", shape=(count,)) if count else np.zeros(0, dtype)


@dataclass(frozen=True)
class Frozen:
    """What was written: items, SHA-256 of inputs.jsonl, and how many items each model takes."""

    count: int
    sha256: str
    models: tuple[int, ...]


def freeze(places: Places, items: Iterable[Input], models: int) -> Frozen:
    """Write the items in this order, streaming; UsageError where two have one key, or one is too long."""
    counts, sha, total = [0] * models, hashlib.sha256(), 0
    with tempfile.TemporaryDirectory(dir=places.folder, prefix=".smalti-keys-") as folder:
        with _Buckets(Path(folder)) as buckets, tempfile.TemporaryFile(dir=places.folder) as starts:

            def write(file: BinaryIO) -> None:
                nonlocal total
                at = 0
                starts.write(struct.pack("<q", 0))
                for item in items:
                    line = item.line()
                    if len(line) > MAX_LINE:
                        raise UsageError(f"{item.path[:200]}...: {len(line)} bytes of name, expected {MAX_LINE} at most; rename it")
                    file.write(line)
                    sha.update(line)
                    at += len(line)
                    starts.write(struct.pack("<q", at))
                    buckets.add(hash_of(item.key), total)
                    counts[item.model] += 1
                    total += 1

            write_atomically(places.inputs, write)
            write_atomically(places.inputs_index, lambda file: _copy(starts, file))
        write_atomically(places.inputs_keys, buckets.merge)
    _refuse_twins(Inputs(places, total))
    return Frozen(total, sha.hexdigest(), tuple(counts))


class _Buckets:
    """Pairs of hash and item in files by the hash's first byte, each small enough to sort."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: list[list[int]] = [[] for _ in range(BUCKETS)]

    def __enter__(self) -> _Buckets:
        return self

    def __exit__(self, *_: object) -> None:
        for bucket in range(BUCKETS):
            self._flush(bucket)

    def add(self, value: int, item: int) -> None:
        bucket = value >> 56
        self._held[bucket] += (value, item)
        if len(self._held[bucket]) >= 4096:
            self._flush(bucket)

    def _flush(self, bucket: int) -> None:
        if self._held[bucket]:
            with (self.folder / str(bucket)).open("ab") as file:
                pairs = np.array(self._held[bucket], np.uint64).reshape(-1, 2)
                file.write(pairs.astype("<u8").tobytes())
            self._held[bucket] = []

    def merge(self, file: BinaryIO) -> None:
        """All pairs, ascending."""
        for bucket in range(BUCKETS):
            path = self.folder / str(bucket)
            if path.exists():
                pairs = np.fromfile(path, _PAIR)
                file.write(pairs[np.lexsort((pairs["item"], pairs["hash"]))].tobytes())


def _refuse_twins(inputs: Inputs) -> None:
    """UsageError where two items have one key."""
    hashes = inputs._pairs["hash"]
    for start in range(0, max(inputs.count - 1, 0), 2**20):
        part = np.asarray(hashes[start : start + 2**20 + 1])
        for place in np.flatnonzero(part[1:] == part[:-1]) + start:
            a, b = (inputs[int(inputs._pairs["item"][place + step])] for step in (0, 1))
            if a.key == b.key:
                raise UsageError(f"{a.path} and {b.path} would both have the key {a.key!r}; leave one of them out, or rename it")


def sorted_runs(values: Iterable[T], line: Callable[[T], bytes], back: Callable[[bytes], T], folder: Path) -> Iterator[T]:
    """The values by their lines' bytes, in bounded memory: sorted runs lie in files of `folder` until they are merged.

    line: bytes without a line break, `back` its inverse.
    """
    with contextlib.ExitStack() as stack:
        runs: list[BinaryIO] = []
        held: list[bytes] = []
        for value in values:
            held.append(line(value))
            if len(held) >= RUN:
                runs.append(_run(held, folder, stack))
                held = []
        held.sort()
        if not runs:
            yield from map(back, held)
            return
        streams: list[Iterable[bytes]] = [(entry[:-1] for entry in run) for run in runs]
        yield from map(back, heapq.merge(*streams, held))


def _run(lines: list[bytes], folder: Path, stack: contextlib.ExitStack) -> BinaryIO:
    lines.sort()
    file: BinaryIO = stack.enter_context(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115  # the stack does
    file.writelines(entry + b"\n" for entry in lines)
    file.seek(0)
    return file


def _copy(source: Any, file: BinaryIO) -> None:
    source.seek(0)
    while block := source.read(2**20):
        file.write(block)
