"""Whether code that lies in a checkpoint may run: never, unless somebody says so for the time being."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_TRUSTED: ContextVar[bool] = ContextVar("trusted", default=False)


def is_trusted() -> bool:
    """Whether it may, here and now."""
    return _TRUSTED.get()


@contextlib.contextmanager
def trusted(wanted: bool = True) -> Iterator[None]:
    """It may, within this block (wanted: or what was allowed before)."""
    before = _TRUSTED.set(wanted or _TRUSTED.get())
    try:
        yield
    finally:
        _TRUSTED.reset(before)
