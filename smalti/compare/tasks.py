"""Tasks over whole sets: what machines make of all decoded items of one codec at one setting, and of the originals.

Decoded items come from the compressed files that the cache keeps, one at a time; they stay in memory while they are small together, since
networks are asked about the same pictures more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from smalti.compare.cache import kept_file
from smalti.compare.items import Source
from smalti.compare.judging import TOKEN_PROBE
from smalti.compare.lineup import Contender
from smalti.compare.measuring import codec_of, said
from smalti.compare.results import finite
from smalti.metrics.registry import resolve_task
from smalti.tokenizers.contracts import ItemizedTask, Score
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
    groups: tuple[str, ...] | None
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
    if job.task == TOKEN_PROBE:
        return _token_probe(job)
    if _originals is None or _originals[0] != job.sources:
        _originals = (job.sources, Signals([source.read for source in job.sources]))
        _tasks.clear()
    if job.task not in _tasks:
        _tasks[job.task] = resolve_task(job.task, labels=job.labels, texts=job.texts, **_grouped(job))
    task, originals = _tasks[job.task], _originals[1]
    if job.contender is None:
        return TaskOutcome(_plain(task.ceiling(originals), task))
    codec = codec_of(job.contender)

    decoded = Signals([lambda digest=digest: codec.decompress(_file(job, digest)) for digest in job.digests])  # type: ignore[misc]
    found = _plain(task(originals, decoded), task)
    outcomes = task.per_item(originals, decoded) if isinstance(task, ItemizedTask) else None
    return TaskOutcome(found, None if outcomes is None else tuple(finite(float(value)) for value in outcomes))


def _file(job: TaskJob, digest: str) -> bytes:
    data = kept_file(job.folder, digest)
    if data is None:
        raise SignalError(f"the compressed file {digest[:12]} is gone from the cache; run again")
    return data


def _token_probe(job: TaskJob) -> TaskOutcome:
    """Learned from tokens at a setting and tried on those of other items at it; of originals there are none, so there is no ceiling."""
    from smalti.compare import ours
    from smalti.metrics.machine.token_probe import TokenProbe

    if job.labels is None:
        raise UsageError(f"task {TOKEN_PROBE!r} needs labels, one class number for each signal; found none")
    protocol = "learned from tokens of a setting, tried on those of other items at it, nothing decoded"
    meaning = {"unit": "", "better": "higher", "convention": "logistic regression on token histograms", "protocol": protocol}
    if job.contender is None:
        return TaskOutcome({"value": None, **meaning})
    codec = codec_of(job.contender)
    outcomes = TokenProbe(job.labels, job.groups).per_item([ours.tokens_of(codec, _file(job, digest)) for digest in job.digests])
    value = finite(float(np.nanmean(outcomes)))
    return TaskOutcome({"value": value, **meaning}, tuple(finite(float(outcome)) for outcome in outcomes))


def _grouped(job: TaskJob) -> dict[str, Any]:
    return {} if job.groups is None else {"groups": job.groups}


def _plain(found: Score, task: Any) -> dict[str, Any]:
    said_of = {"unit": found.unit, "better": found.better, "convention": found.convention}
    return {"value": finite(float(found.value)), **said_of, "protocol": str(getattr(task, "protocol", ""))}
