"""numba's compiler with the result kept on disk, so that a second process does not compile again.

Importing this file loads numba, half a second: only files of compiled loops do, and they are imported where they are used. The copy on disk
of a caller does not notice that a function of another file has changed: touch the caller's file after such a change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled on its first call; it does not check divisors for zero."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)  # beside the source, or else in the user's cache folder
    except RuntimeError:  # neither can be written
        return numba.njit(error_model="numpy")(function)
