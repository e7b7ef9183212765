"""Priors that lie in files: which kind it is, the file says."""

from __future__ import annotations

from pathlib import Path

from smalti.codecs.priors import adaptive, masked, mesh, shape
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.mesh import MeshPrior
from smalti.codecs.priors.shape import ShapePrior
from smalti.codecs.priors.static import StaticPrior
from smalti.tokenizers.errors import ModelError

DEFAULT, MASKED, STATIC = "prior.safetensors", "masked.safetensors", "static.safetensors"  # in a model's folder


def load_default(path: str | Path, id: str) -> StaticPrior | AdaptivePrior | MeshPrior | ShapePrior:
    """A model's default prior, whose id in hex the model names; raises ModelError.

    None that runs a network: it would take seconds of each file without having been asked for.
    """
    found = load(path)
    if isinstance(found, MaskedPrior):
        raise ModelError(f"{path}: a masked prior, which is no model's default; let it lie beside the model as {MASKED}")
    if found.id.hex() != id:
        raise ModelError(f"{path}: tables {found.id.hex()}, the model asks for {id}; restore the model folder")
    return found


def load(path: str | Path, device: str = "cpu") -> StaticPrior | AdaptivePrior | MaskedPrior | MeshPrior | ShapePrior:
    """The prior that a safetensors file holds; raises ModelError. device: where a masked one's network runs."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            form = (file.metadata() or {}).get("format")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: can't be read as a prior: {error}") from error
    if form == masked.FORMAT:
        return MaskedPrior.load(path, device)
    if form == shape.FORMAT:
        return ShapePrior.load(path)
    if form == mesh.FORMAT:
        return MeshPrior.load(path)
    return AdaptivePrior.load(path) if form == adaptive.FORMAT else StaticPrior.load(path)
