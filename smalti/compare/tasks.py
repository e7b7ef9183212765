"""Tasks over whole sets: what machines make of all decoded items of one codec at one setting, and of the originals.

Decoded items come from the compressed files that the cache keeps, one at a time; they stay in memory while they are small together, since
networks are asked about the same pictures more than once.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from smalti.codecs.media.files import read_bytes
from smalti.compare import judging
from smalti.compare.cache import kept_file
from smalti.compare.items import Source
from smalti.compare.lineup import Contender
from smalti.compare.measuring import codec_of, said
from smalti.compare.results import finite
from smalti.tokenizers.contracts import Score
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Audio, Image, Shape, Signal

MOST_KEPT_BYTES = 2**28


@dataclass(frozen=True)
class TaskJob:
    """A task on the originals (no contender), or on what a codec at a setting made of them. digests: of the compressed files."""

    task: str
    sources: tuple[Source, ...]
    labels: tuple[int, ...] | None
    texts: tuple[str, ...] | None
    seed: int
    folder: str
    contender: Contender | None = None
    digests: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskOutcome:
    """score: value, unit, better, convention, protocol. per_item: outcomes, where the task has them."""

    score: dict[str, Any] | None
    per_item: tuple[float | None, ...] | None = None
    error: str = ""
    absent: bool = False


class Signals(Sequence[Signal]):
    """Signals that are loaded when they are asked for, and kept up to `MOST_KEPT_BYTES` together."""

    def __init__(self, loaders: Sequence[Callable[[], Signal]]) -> None:
        self._loaders = loaders
        self._kept: dict[int, Signal] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._loaders)

    @overload
    def __getitem__(self, place: int) -> Signal: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Signal]: ...
    def __getitem__(self, place: int | slice) -> Signal | Sequence[Signal]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        if place in self._kept:
            return self._kept[place]
        signal = self._loaders[place]()
        if self._bytes + (size := _bytes_of(signal)) <= MOST_KEPT_BYTES:
            self._bytes += size
            self._kept[place] = signal
        return signal

    def __iter__(self) -> Iterator[Signal]:
        return (self[i] for i in range(len(self)))


def _bytes_of(signal: Signal) -> int:
    if isinstance(signal, Image):
        return signal.pixels.nbytes
    if isinstance(signal, Audio):
        return signal.samples.nbytes
    if isinstance(signal, Shape):
        return signal.vertices.nbytes + (0 if signal.faces is None else signal.faces.nbytes)
    return MOST_KEPT_BYTES + 1  # frames pass once, or as often as they are decoded


_originals: tuple[tuple[Source, ...], Signals] | None = None
_tasks: dict[str, Any] = {}


def score(job: TaskJob) -> TaskOutcome:
    """What the task says; nothing is raised."""
    try:
        return _score(job)
    except Exception as error:
        return TaskOutcome(None, error=said(error), absent=isinstance(error, ModelError) and job.contender is None)


def _score(job: TaskJob) -> TaskOutcome:
    global _originals
    if _originals is None or _originals[0] != job.sources:
        _originals = (job.sources, Signals([source.read for source in job.sources]))
        _tasks.clear()
    if job.task not in _tasks:
        _tasks[job.task] = judging.task(job.task, job.labels, job.texts, job.seed)
    task, originals = _tasks[job.task], _originals[1]
    if job.contender is None:
        return TaskOutcome(_plain(task.ceiling(originals), task))
    codec = codec_of(job.contender)

    def load(digest: str) -> Signal:
        data = kept_file(job.folder, digest)
        if data is None:
            raise SignalError(f"the compressed file {digest[:12]} is gone from the cache; run again")
        return codec.decompress(data)

    decoded = Signals([lambda digest=digest: load(digest) for digest in job.digests])  # type: ignore[misc]
    found = _plain(task(originals, decoded), task)
    outcomes = task.per_item(originals, decoded) if hasattr(task, "per_item") else None
    return TaskOutcome(found, None if outcomes is None else tuple(finite(float(value)) for value in outcomes))


def _plain(found: Score, task: Any) -> dict[str, Any]:
    said_of = {"unit": found.unit, "better": found.better, "convention": found.convention}
    return {"value": finite(float(found.value)), **said_of, "protocol": str(getattr(task, "protocol", ""))}


def read_labels(path: str) -> dict[str, int]:
    """Class numbers by the name of a file or the end of its path, from a JSON object or a table `name<TAB>class`; UsageError."""
    found = _table(path)
    labels: dict[str, int] = {}
    for name, value in found.items():
        try:
            labels[name] = int(value)
        except (TypeError, ValueError):
            labels = {}
            break
    if not labels or min(labels.values()) < 0:
        raise UsageError(f"{path}: no labels, expected class numbers by file name, as a JSON object or as lines of name, tab, number")
    return labels


def read_texts(path: str) -> dict[str, str]:
    """What is said or written, in the same forms; UsageError."""
    found = _table(path)
    if not found or not all(isinstance(text, str) for text in found.values()):
        raise UsageError(f"{path}: no texts, expected texts by file name, as a JSON object or as lines of name, tab, text")
    return found


def _table(path: str) -> dict[str, Any]:
    text = read_bytes(path).decode("utf-8", errors="replace")
    if Path(path).suffix.lower() == ".json":
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        return found if isinstance(found, dict) else {}
    lines = [line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {line[0]: line[1] for line in lines if len(line) > 1 and line[1].strip() not in ("class", "label", "text")}


def chosen(table: Mapping[str, Any], source: Source) -> Any:
    """The entry of a source, under the longest end of its path; None where there is none."""
    parts = Path(source.member or source.path).absolute().as_posix().split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((table[end] for end in itertools.chain([source.id], ends) if end in table), None)


def complete(table: Mapping[str, Any] | None, sources: Sequence[Source], what: str) -> tuple[Any, ...] | None:
    """The entries of all sources in order; UsageError where one is missing."""
    if table is None:
        return None
    found = [chosen(table, source) for source in sources]
    missing = [source.id for source, entry in zip(sources, found, strict=True) if entry is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UsageError(f"{missing[0]}{more}: no {what} under this name; add it, or leave the item out")
    return tuple(found)
