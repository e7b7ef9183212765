"""Smalti: signals as discrete tokens, tokens as small files, and what was lost on the way.

The public names are found on first use, so that `import smalti` stays as quick as Python itself: it loads neither NumPy nor torch.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.api import compress, decompress, load, models, open, read, save
    from smalti.archives import SignalArchive, compress_archive, open_archive
    from smalti.compare.api import compare
    from smalti.sharing import save_model
    from smalti.tokenizers.contracts import Target
    from smalti.tokenizers.errors import BitstreamError, DamageWarning, ModelError, SignalError, SmaltiError, UsageError
    from smalti.tokenizers.signals import Audio, Image, Shape, Video
    from smalti.tokenizers.tokens import Layout, Stage, Tokens

    __version__: str

__all__ = [
    "Audio",
    "BitstreamError",
    "DamageWarning",
    "Image",
    "Layout",
    "ModelError",
    "Shape",
    "SignalArchive",
    "SignalError",
    "SmaltiError",
    "Stage",
    "Target",
    "Tokens",
    "UsageError",
    "Video",
    "__version__",
    "compare",
    "compress",
    "compress_archive",
    "decompress",
    "load",
    "models",
    "open",
    "open_archive",
    "read",
    "save",
    "save_model",
]

_HOMES = {
    "smalti.api": ("compress", "decompress", "load", "models", "open", "read", "save"),
    "smalti.archives": ("SignalArchive", "compress_archive", "open_archive"),
    "smalti.sharing": ("save_model",),
    "smalti.tokenizers.contracts": ("Target",),
    "smalti.tokenizers.errors": ("BitstreamError", "DamageWarning", "ModelError", "SignalError", "SmaltiError", "UsageError"),
    "smalti.tokenizers.signals": ("Audio", "Image", "Shape", "Video"),
    "smalti.tokenizers.tokens": ("Layout", "Stage", "Tokens"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

# A checkout on a system without symbolic links: smalti/tokenizers is a small text file there, so the folder beside smalti/ serves.
_here = os.path.dirname(os.path.abspath(__file__))
if not os.path.isdir(os.path.join(_here, "tokenizers")):
    __path__.append(os.path.dirname(_here))
del _here


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
    elif name == "compare":  # a package that can be called
        value = importlib.import_module("smalti.compare")
    else:
        raise AttributeError(f"module 'smalti' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("smalti")
    except metadata.PackageNotFoundError:  # a checkout that was never installed
        return "0+unknown"
