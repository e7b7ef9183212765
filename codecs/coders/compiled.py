"""numba's compiler with the result kept on disk, so that a second process does not compile again.

Importing this file loads numba, half a second: only files of compiled loops do, and they are imported where they are used. A caller's copy on
disk does not notice that a function it calls in another file has changed; after such a change, touch the caller's file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled on its first call; a division by zero in it is not checked for."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)  # beside the source, or else in the user's cache folder
    except RuntimeError:  # neither can be written
        return numba.njit(error_model="numpy")(function)
