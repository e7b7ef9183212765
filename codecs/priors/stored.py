"""Priors that lie in files: which kind it is, the file says."""

from __future__ import annotations

from pathlib import Path

from smalti.codecs.priors import adaptive, masked
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.static import StaticPrior
from smalti.tokenizers.errors import ModelError


def load(path: str | Path) -> StaticPrior | AdaptivePrior | MaskedPrior:
    """The prior that a safetensors file holds; raises ModelError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            form = (file.metadata() or {}).get("format")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: can't be read as a prior: {error}") from error
    if form == masked.FORMAT:
        return MaskedPrior.load(path)
    return AdaptivePrior.load(path) if form == adaptive.FORMAT else StaticPrior.load(path)
