"""Codec comparison reports: any codecs on any signals by real bytes, for people and for machines.

    report = smalti.compare("photos/", "jpeg,webp,image-line", out="comparison")

The package can be called: `smalti.compare` is at once where its parts lie and the function `smalti.compare.api.compare`.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _Callable(types.ModuleType):
    def __call__(self, *arguments: Any, **named: Any) -> Any:
        from smalti.compare.api import compare

        return compare(*arguments, **named)


sys.modules[__name__].__class__ = _Callable
