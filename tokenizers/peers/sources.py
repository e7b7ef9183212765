"""Where public models come from, and which family each is: `hf:FOLDER_OR_NAME`, `hub:NAME`, `file:PATH`.

hf: a folder as the transformers package saves it (config.json, weights), or the name of a model that lies in the local cache of the
Hugging Face hub. hub: the same, downloaded where it is not there yet. file: one file of weights, whose tensors' names say what it is.
Nothing but JSON and tensors is read; code that lies beside them is not run.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers.checkpoints import Checkpoint, modified, read_json, weights_in
from smalti.tokenizers.peers.library import plain_settings
from smalti.tokenizers.zoo.folder import ModelInfo

PREFIXES = ("hf:", "hub:", "file:")
WANTED = ("*.json", "*.safetensors", "pytorch_model.bin", "*.md")  # of a repository on the hub
CONFIG = "config.json"
SOUNDS = ("encodec", "dac", "mimi", "xcodec")  # model types whose family has their name


def is_source(name: str) -> bool:
    """Whether a model's name is one of these."""
    return name.startswith(PREFIXES)


def find(source: str) -> ModelInfo:
    """The model of a source; ModelError says what is missing and how to get it."""
    prefix, _, rest = source.partition(":")
    if not rest:
        raise ModelError(f"{source}: names nothing; give {prefix}: a {'file of weights' if prefix == 'file' else 'folder or a name'}")
    if prefix == "file":
        raise ModelError(f"{source}: none of the families that can be told by their tensors")
    folder = Path(rest)
    if not folder.is_dir():
        folder = _of_hub(rest, prefix == "hub")
    return in_folder(folder, source)


def in_folder(folder: Path, source: str) -> ModelInfo:
    """The model of a folder as transformers or snac save it; ModelError where it is none that we know."""
    return _in_folder(folder, source, modified([folder / CONFIG]))


@functools.lru_cache(maxsize=64)
def _in_folder(folder: Path, source: str, when: int) -> ModelInfo:
    about = read_json(folder / CONFIG, "model's config")
    kind, config, part = _recognized(about, folder)
    files = weights_in(folder)
    size = sum(path.stat().st_size for path in files if path.is_file())
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace")[: 2**20] if card.is_file() else ""
    summary = f"{config['family']}, a public model"
    return ModelInfo(source, kind, folder, config, "", size, text, summary, _licence(text), None, source, Checkpoint(files, part))


def looks_foreign(folder: Path) -> bool:
    """Whether a folder holds a public model that we know, by its config alone."""
    try:
        _recognized(read_json(folder / CONFIG, "model's config"), folder)
    except ModelError:
        return False
    return True


def _recognized(about: Mapping[str, Any], folder: Path) -> tuple[str, dict[str, Any], str]:
    """(kind of tokenizer, its config, part of the weights)."""
    model_type = about.get("model_type")
    if model_type in SOUNDS:
        return "audio-peer", _config("audio-peer", str(model_type), about), ""
    if {"encoder_rates", "vq_strides", "sampling_rate"} <= about.keys():
        return "audio-peer", _config("audio-peer", "snac", about), ""
    known = ", ".join((*SOUNDS, "snac"))
    found = f"model_type {model_type!r}" if model_type else f"keys {', '.join(sorted(map(str, about)))[:120]}"
    raise ModelError(f"{folder / CONFIG}: {found}, none of the families known here: {known}")


def _config(kind: str, family: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "family": family, "settings": {k: v for k, v in plain_settings(settings).items() if k != "model_type"}}


def _licence(card: str) -> str:
    """What the head of a card on the hub says."""
    found = re.search(r"^license:\s*(\S+)\s*$", card[:4096], re.MULTILINE)
    return found.group(1) if found else ""


def _of_hub(name: str, download: bool) -> Path:
    """The folder of a model of the hub, in the local cache."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise ModelError(f"{name}: no folder here, and no name of a model on the hub, which is OWNER/NAME")
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelError(
            f"{name}: no folder here, and the hub needs a package ({error}); install it by pip install 'smalti[hub]'"
        ) from None
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(WANTED), local_files_only=not download))
    except Exception as error:  # its errors are many: of the network, of rights, of names
        if not download:
            raise ModelError(f"{name}: no folder here, and not in the local cache of the hub; hub:{name} downloads it") from None
        raise ModelError(f"{name}: cannot be had from the hub ({' '.join(str(error).split())[:200]}); give a folder by hf:FOLDER") from None
