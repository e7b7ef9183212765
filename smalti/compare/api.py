"""`smalti.compare(...)`: the command as a function."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from smalti.compare.engine import Plan, run
from smalti.compare.results import Report
from smalti.tokenizers.errors import UsageError

PathOrPaths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def compare(
    data: PathOrPaths,
    codecs: str | Sequence[str] | None = None,
    out: str | os.PathLike[str] = "comparison",
    *,
    metrics: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    rates: int | None = None,
    anchor: str | None = None,
    limit: int | None = None,
    labels: str | os.PathLike[str] | None = None,
    texts: str | os.PathLike[str] | None = None,
    processes: int = 1,
    resume: bool = True,
    page: bool = True,
    seed: int = 0,
    step: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Report:
    """Compare codecs on signals of one kind by real bytes; the report, which also lies in the folder `out` as JSON, CSV and a page.

    data: files, folders, zips of shapes. codecs: "jpeg,webp:20,40,image-line", or a list of such; the usual ones of the kind by default, as
    of metrics and tasks. rates: settings of each codec's ladder at most. anchor: the codec that others are set against.
    labels, texts: files of class numbers and of what is said, for tasks. resume: go on where an earlier run into `out` was stopped.
    processes: at a time; with several, a script calls this under `if __name__ == "__main__"`. step: is told (what is done, how many are, of
    how many).

    Raises UsageError for names nobody knows and where nothing can be measured, SignalError where no file can be read. What fails for one
    file alone is in the report's `failures`, what is not at hand in `absent`.
    """
    places = [data] if isinstance(data, str | os.PathLike) else list(data)
    for name, count in (("rates", rates), ("limit", limit), ("processes", processes)):
        if count is not None and count < 1:
            raise UsageError(f"{name} is {count}, expected 1 or more")
    plan = Plan(
        data=tuple(os.fspath(place) for place in places),
        out=os.fspath(Path(out)),
        codecs=None if codecs is None else ((codecs,) if isinstance(codecs, str) else tuple(codecs)),
        metrics=None if metrics is None else tuple(metrics),
        tasks=None if tasks is None else tuple(tasks),
        rates=rates,
        anchor=anchor,
        limit=limit,
        labels=None if labels is None else os.fspath(labels),
        texts=None if texts is None else os.fspath(texts),
        processes=processes,
        resume=resume,
        page=page,
        seed=seed,
    )
    return run(plan, step)
