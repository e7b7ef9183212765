"""A prepared folder while it is being made: one driver at a time, what may lie in it, and which units are done."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from smalti.prepare.places import Places
from smalti.prepare.plan import Plan
from smalti.prepare.records import Commit
from smalti.tokenizers.errors import BitstreamError, UsageError

try:
    import fcntl
except ImportError:  # not a POSIX system: nobody is kept from a folder there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
OURS = {"plan.json", "inputs.jsonl", "inputs.index", "inputs.keys", "dataset.json", "codes", "journal", "packs", "sheet.png", LOCK}


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Places]:
    """The folder, made where it is missing, for this driver alone. UsageError where it cannot be made, another driver is at work in it, or
    it holds something else."""
    places = Places(folder)
    try:
        for place in (folder, places.codes, places.journal):
            if place == folder and folder.is_dir():
                _check_ours(folder)
            place.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); choose another folder or make this one writable") from None
    try:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{folder}: another `smalti prepare` is at work in it; wait for its end, or end it") from None
            except OSError:  # a file system without locks
                pass
        yield places
    finally:
        os.close(lock)


def _check_ours(folder: Path) -> None:
    """UsageError for a folder of something else, so that nothing of it is ever taken for ours."""
    other = [name for name in sorted(os.listdir(folder)) if name not in OURS and not name.startswith(".smalti-")]
    if other and not (folder / "plan.json").is_file():
        raise UsageError(f"{folder}: holds {other[0]} and no plan.json, expected an empty folder or a prepared one; choose another")


def committed(places: Places, plan: Plan) -> set[int]:
    """The units that are done. A commit of another plan, or with files of other sizes, is a BitstreamError: none is redone silently."""
    done = set()
    for number in range(plan.units):
        path = places.unit(number, "json")
        if not path.is_file():
            continue
        commit = Commit.read(path)
        commit.check_plan(path, plan.hash)
        for ending, record in commit.files.items():
            file = places.unit(number, ending)
            found = file.stat().st_size if file.is_file() else -1
            if found != record.bytes:
                state = f"{found} bytes" if found >= 0 else "missing"
                raise BitstreamError(f"{file}: {state}, expected {record.bytes} bytes; remove {path.name} and run smalti prepare again")
        done.add(number)
    return done


def strays(places: Places, plan: Plan) -> list[Path]:
    """Files and folders that no commit names: drafts of writers that were killed, and units that were not finished."""
    named = set()
    for number in range(plan.units):
        if (path := places.unit(number, "json")).is_file():
            named |= {path.name, *(record.name for record in Commit.read(path).files.values())}
    found = [path for path in places.codes.iterdir() if path.name not in named]
    return sorted([*found, *(path for path in places.folder.iterdir() if path.name.startswith(".smalti-"))])


def clean(places: Places, plan: Plan) -> list[Path]:
    """Remove the strays; returns what went."""
    found = strays(places, plan)
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return found
