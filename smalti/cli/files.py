"""Which files a command works on and where results go: files beside their sources or into a folder, folders to folders, `-` for a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from smalti.codecs.media.files import MAX_FILE_BYTES, list_files, read_bytes, write_atomically
from smalti.tokenizers.errors import SignalError, UsageError

PIPE = "-"


@dataclass(frozen=True)
class Job:
    """One source and where its result goes; "-" is standard input or output. key: the name of an item of an archive that is written, or
    the number of one that is read; None elsewhere.
    """

    source: str
    target: str
    key: int | str | None = None


def plan(
    sources: Sequence[str],
    out: str | None,
    suffix: str | Callable[[str], str],
    wanted: tuple[str, ...],
    force: bool,
    as_json: bool = False,
) -> list[Job]:
    """The jobs of a command; UsageError where results would collide, have no place, or exist already (without `force`).

    suffix: of results, or of a source's result.
    wanted: endings that count inside a folder. as_json: standard output is taken by the report.
    """
    jobs = expected(sources, out, suffix, wanted)
    check(jobs, force, as_json)
    check_sources(jobs)
    return jobs


def expected(sources: Sequence[str], out: str | None, suffix: str | Callable[[str], str], wanted: tuple[str, ...]) -> list[Job]:
    """The jobs of `plan`, unchecked."""
    jobs = []
    ending = suffix if callable(suffix) else lambda source: suffix
    several = len(sources) > 1 or any(Path(s).is_dir() for s in sources if s != PIPE)
    for source in sources:
        if source == PIPE:
            jobs.append(Job(PIPE, out or PIPE))
        elif Path(source).is_dir():
            jobs += _folder_jobs(Path(source), out, ending, wanted)
        else:
            jobs.append(Job(source, _target(Path(source), out, ending, several)))
    return jobs


def check_sources(jobs: Sequence[Job]) -> None:
    """Where a single source is missing, say so now, and not after a model was loaded."""
    if len(jobs) == 1 and jobs[0].source != PIPE and not os.path.exists(jobs[0].source):
        read_bytes(jobs[0].source)


def name_of(source: str) -> str:
    """What messages call a source."""
    return "standard input" if source == PIPE else source


def read(source: str) -> bytes:
    """The bytes of a file, or what comes through the pipe."""
    if source != PIPE:
        return read_bytes(source)
    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise SignalError(f"standard input: more than {MAX_FILE_BYTES} bytes, expected {MAX_FILE_BYTES} at most; make it smaller")
    return data


def write(target: str, data: bytes | Callable[[BinaryIO], object]) -> None:
    """The result, whole or not at all; a folder that is missing is made. data: bytes, or for a file what writes them."""
    if target == PIPE:
        assert isinstance(data, bytes)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    parent = Path(target).parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{parent}: the folder cannot be made ({error.strerror}); choose another with -o") from None
    write_atomically(target, data)


def _target(source: Path, out: str | None, ending: Callable[[str], str], several: bool) -> str:
    if out == PIPE:
        return PIPE
    if out is None:
        return str(source.with_suffix(ending(str(source))))
    if several or out.endswith(("/", "\\")) or Path(out).is_dir():
        return str(Path(out) / source.with_suffix(ending(str(source))).name)
    return out


def _folder_jobs(folder: Path, out: str | None, ending: Callable[[str], str], wanted: tuple[str, ...]) -> list[Job]:
    found = files_of(folder, wanted)
    if out == PIPE:
        raise UsageError(f"{folder}: a folder of results does not go through a pipe; name a folder with -o")
    root = Path(out) if out else folder
    return [Job(str(path), str(root / path.relative_to(folder).with_suffix(ending(str(path))))) for path in found]


def files_of(folder: Path, wanted: tuple[str, ...]) -> list[Path]:
    """The files in a folder and all folders in it that end so; UsageError where there is none."""
    found = list_files(folder, wanted)
    if not found:
        raise UsageError(f"{folder}: no file in this folder ends in {', '.join(wanted)}; name another")
    return found


def check(jobs: Sequence[Job], force: bool, as_json: bool, option: str = "-o") -> None:
    """UsageError where results would collide, have no place, or exist already (without `force`). option: names the place."""
    seen: dict[str, str] = {}
    for job in jobs:
        if job.target == PIPE:
            if len(jobs) > 1:
                raise UsageError(f"{len(jobs)} results do not go through one pipe; name a folder with {option}")
            if as_json:
                raise UsageError(f"the result and --json would both go to standard output; name a file with {option}")
            continue
        if job.target in seen:
            raise UsageError(f"{job.source} and {seen[job.target]} would both become {job.target}; give them different folders or {option}")
        seen[job.target] = job.source
        if not force and Path(job.target).is_file():
            raise UsageError(f"{job.target} exists; --force writes over it, {option} names another place")
        place = Path(job.target).parent
        while not place.exists():
            place = place.parent
        if not place.is_dir():
            raise UsageError(f"{job.target}: {place} is a file, expected a folder to write into; choose another place with {option}")
