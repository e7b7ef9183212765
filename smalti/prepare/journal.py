"""What a worker is at, so that it can be told which item a dead one died of; and the items that killed workers twice.

A line is in the file before the work on an item begins, and a second one after it. The kernel keeps what was written when the process dies.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from types import TracebackType

from smalti.prepare.commit import Failure
from smalti.prepare.places import Places, read_json, write_json
from smalti.tokenizers.errors import BitstreamError, SmaltiError

LONGEST = 64  # bytes of a line


class Journal:
    """What is being done in a unit. Lines: "+N" an item begins, "-N" it is done."""

    def __init__(self, places: Places, name: str) -> None:
        self.path = places.journal / f"{name}.log"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)

    @contextlib.contextmanager
    def during(self, items: Iterable[int]) -> Iterator[None]:
        """While these items are worked on. An error that is caught is no death."""
        items = list(items)
        os.write(self._file, "".join(f"+{item}\n" for item in items).encode())
        try:
            yield
        finally:
            os.write(self._file, "".join(f"-{item}\n" for item in items).encode())

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if error is None or isinstance(error, SmaltiError):
            with contextlib.suppress(OSError):
                self.path.unlink()


def in_flight(places: Places, name: str) -> list[int]:
    """The items that were being worked on when the worker died, ascending; none where there is no journal."""
    open_items: dict[int, int] = {}
    try:
        with (places.journal / f"{name}.log").open("rb") as file:
            while (line := file.readline(LONGEST)).endswith(b"\n"):
                with contextlib.suppress(ValueError):
                    item = int(line[1:])
                    open_items[item] = open_items.get(item, 0) + (1 if line[:1] == b"+" else -1)
                    if not open_items[item]:
                        del open_items[item]  # of a million items, few are open at a time
    except OSError:
        return []
    return sorted(item for item, depth in open_items.items() if depth > 0)


def forget(places: Places, name: str) -> None:
    """Remove a journal."""
    with contextlib.suppress(OSError):
        (places.journal / f"{name}.log").unlink()


def left_behind(places: Places) -> list[tuple[str, list[int]]]:
    """(name, items in flight) of the journals of workers that are gone."""
    names = sorted(path.stem for path in places.journal.glob("*.log"))
    return [(name, in_flight(places, name)) for name in names]


def quarantine(places: Places, failure: Failure) -> None:
    """Keep an item out of all further attempts."""
    write_json(places.journal / f"item-{failure.item}.json", failure.to_json())


def quarantined(places: Places, items: range) -> dict[int, Failure]:
    """Those of a slice."""
    found = {}
    for path in places.journal.glob("item-*.json"):
        number = path.stem.removeprefix("item-")
        if number.isdecimal() and int(number) in items:
            try:
                found[int(number)] = Failure(**read_json(path, 2**20))
            except TypeError as error:
                raise BitstreamError(f"{path}: damaged ({error}); remove it, and its item is tried again") from None
    return found
