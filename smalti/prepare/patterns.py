"""Names that stand for several: shards-{000..019}.tar, {a,b}/*.tar."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator

from smalti.tokenizers.errors import SignalError, UsageError

MOST = 10**6
_BRACES = re.compile(r"\{([^{}]*)\}")


def is_pattern(name: str) -> bool:
    """Whether a name has *, ?, [ or braces with .. or a comma in it."""
    return any(mark in name for mark in "*?[") or any(".." in inner or "," in inner for inner in _BRACES.findall(name))


def expanded(pattern: str, glob: Callable[[str], Iterable[str]]) -> list[str]:
    """The names in the order of the braces, those of one * sorted. glob: names that match a pattern without braces.

    SignalError where there is none, UsageError for more than a million.
    """
    found: list[str] = []
    for name in itertools.islice(_braces(pattern), MOST + 1):
        found += sorted(glob(name)) if any(mark in name for mark in "*?[") else [name]
        if len(found) > MOST:
            raise UsageError(f"{pattern}: stands for more than {MOST} files, expected fewer; name some of them")
    if not found:
        raise SignalError(f"{pattern}: no file has such a name; check it")
    return found


def _braces(pattern: str) -> Iterator[str]:
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    inner = match.group(1)
    bounds = re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", inner)
    if bounds is None and "," not in inner:
        raise UsageError(f"{pattern}: braces hold {inner!r}, expected a range, as in {{000..019}}, or names with commas")
    width = len(bounds.group(1)) if bounds else 0
    choices: Iterable[str] = (
        inner.split(",") if bounds is None else (f"{number:0{width}d}" for number in range(int(bounds.group(1)), int(bounds.group(2)) + 1))
    )
    for choice in choices:
        yield from _braces(pattern[: match.start()] + choice + pattern[match.end() :])
