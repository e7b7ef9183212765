"""Model folders as they are shared: config.json, model.safetensors, card.md, and the priors that lie beside them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.priors import prior_of
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import StoredPrior, StoredTokenizer, Tokenizer
from smalti.tokenizers.errors import UsageError

if TYPE_CHECKING:
    from smalti.tokenizers.zoo import ModelInfo

OWN_FILES = ("model.safetensors", "prior.safetensors", "card.md", "config.json")  # config.json last: a folder without it is no model


def save_model(model: Tokenizer | str | os.PathLike[str], folder: str | os.PathLike[str], card: str | None = None) -> ModelInfo:
    """Write a model as a folder that can be shared; `load` takes the folder, and hub:OWNER/NAME once it lies on the Hugging Face hub.

    model: a tokenizer, or the name of a model. One that lies in a folder of ours is copied as it is, fingerprint and all; a public one
    becomes a model of its own, in float32, that loads without its checkpoint (not without its package). card: text of card.md, by default
    the model's own. Raises ModelError, UsageError.
    """
    from smalti import api
    from smalti.codecs.priors import stored

    place = Path(folder)
    info = _info_of(model)
    if info is not None and info.checkpoint is None and info.shares is None and isinstance(model, str | os.PathLike):
        _copy(info, place, OWN_FILES)
    else:
        tokenizer: Any = api.load(model, "cpu") if isinstance(model, str | os.PathLike) else model
        if not isinstance(tokenizer, StoredTokenizer):
            raise UsageError(
                f"{tokenizer.name} is no tokenizer that folders can hold: it lacks tensors, from_tensors or its config's class"
            )
        prior = prior_of(info) if info is not None and info.prior else ""
        assert isinstance(prior, str | StoredPrior)
        about = {"summary": info.summary, "licence": info.licence} if info is not None else {}
        zoo.save(tokenizer, place, prior, False, info.card if info is not None else "", about)
    if card is not None:
        (place / "card.md").write_text(card, encoding="utf-8")
    if info is not None:
        _copy(info, place, (stored.STATIC, stored.MASKED))
    return zoo.find(str(place))


def _info_of(model: Tokenizer | str | os.PathLike[str]) -> ModelInfo | None:
    """The known model of a name, or that a tokenizer was loaded from."""
    if isinstance(model, str | os.PathLike):
        return zoo.find(os.fspath(model))
    known_as = getattr(model, "folder", None)
    return zoo.find(str(known_as)) if known_as is not None else None


def _copy(info: ModelInfo, folder: Path, names: tuple[str, ...]) -> None:
    """Those of a model's files that there are, each whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as part:
            there = [name for name in names if info.beside(name).is_file()]
            for name in there:
                shutil.copyfile(info.beside(name), Path(part) / name)
            for name in there:
                os.replace(Path(part) / name, folder / name)
    except OSError as error:
        raise UsageError(f"{folder}: the model cannot be written ({error}); choose another place or make this one writable") from None
