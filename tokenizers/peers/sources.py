"""Where public models come from, and which family each is: `hf:FOLDER_OR_NAME`, `hub:NAME`, `file:PATH`.

hf: a folder as the transformers package saves it (config.json, weights), or the name of a model that lies in the local cache of the
Hugging Face hub. hub: the same, downloaded where it is not there yet. Either may be a model of ours, as `smalti.save_model` writes it.
file: one file of weights, whose tensors' names say what it is.
Nothing but JSON and tensors is read; code that lies beside them is not run. The one exception, Cosmos' programs, wants to be allowed
(`cosmos.py`).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers import cosmos
from smalti.tokenizers.peers.checkpoints import WEIGHTS, Checkpoint, read_json, shapes_of, stamps, weights_in
from smalti.tokenizers.peers.library import plain_settings
from smalti.tokenizers.zoo.folder import ModelInfo, own_info

PREFIXES = ("hf:", "hub:", "file:")
WANTED = ("*.json", "*.safetensors", "pytorch_model.bin", *cosmos.PROGRAMS, "*.md")  # of a repository on the hub
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
LINE = "image-peer-line"
IN_FILES = ("llamagen", "taming", "ibq", "open-magvit2", "titok", "wavtokenizer")
PICTURES = {"janus_vqgan": "janus", "emu3_vqgan": "emu3", "chameleon_vqgan": "chameleon"}  # model types of the tokenizers alone
WHOLES = {"janus": "janus", "emu3": "emu3", "chameleon": "chameleon"}  # of models that hold one, as `vq_config` and `...vqmodel.`
WHOLE_PARTS = ("model.vqmodel.", "vqmodel.")  # as releases of transformers have called it
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
        path = Path(rest)
        return _in_file(path, source, stamps(path, *_configs_of(path)))
    folder = Path(rest)
    if not folder.is_dir():
        folder = _of_hub(rest, prefix == "hub")
    programs = cosmos.settings_of(folder, source)
    if programs is not None:
        return _programs(folder, source, programs)
    if "tokenizer" in read_json(folder / CONFIG, "model's config"):
        return own_info(folder, source)  # one of our own, shared in the same way
    return in_folder(folder, source)


def _programs(folder: Path, source: str, settings: dict[str, Any]) -> ModelInfo:
    """A Cosmos tokenizer: code, which is not run before somebody allows it."""
    files = tuple(folder / name for name in cosmos.PROGRAMS)
    config = {"kind": "image-peer", "family": "cosmos", "settings": settings, "scale": [2.0] * 3, "shift": [1.0] * 3}
    size, summary = sum(path.stat().st_size for path in files), "cosmos, a public model, as programs"
    return ModelInfo(source, "image-peer", folder, config, "", size, "", summary, "", None, source, Checkpoint(files))


def in_folder(folder: Path, source: str) -> ModelInfo:
    """The model of a folder as transformers or snac save it; ModelError where it is none that we know."""
    return _in_folder(folder, source, stamps(*(folder / name for name in (CONFIG, PREPROCESSOR, "README.md", *WEIGHTS))))


@functools.lru_cache(maxsize=64)
def _in_folder(folder: Path, source: str, when: tuple[int, ...]) -> ModelInfo:
    about = read_json(folder / CONFIG, "model's config")
    kind, config, part = _recognized(about, folder)
    files = weights_in(folder)
    if kind == LINE:
        config = _line(about, {name: shape for path in files for name, shape in shapes_of(path).items()}, folder)
    if part:
        names = [name for path in files for name in shapes_of(path)]
        part = next((known for known in WHOLE_PARTS if any(name.startswith(known) for name in names)), part)
    size = sum(path.stat().st_size for path in files if path.is_file())
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace")[: 2**20] if card.is_file() else ""
    summary = f"{config['family']}, a public model"
    return ModelInfo(source, kind, folder, config, "", size, text, summary, _licence(text), None, source, Checkpoint(files, part))


@functools.lru_cache(maxsize=64)
def _in_file(path: Path, source: str, when: tuple[int, ...]) -> ModelInfo:
    if not path.is_file():
        raise ModelError(f"{path}: no such file of weights; a folder is named as hf:FOLDER")
    shapes = shapes_of(path)
    if "latent_tokens" in shapes:
        return _line_file(path, source, shapes)
    from smalti.tokenizers.peers import magvit2, vqgan, wavtokenizer

    size = path.stat().st_size
    heard = wavtokenizer.settings_of(shapes, str(path))
    if heard is not None:
        config: dict[str, Any] = {"kind": "audio-peer", "family": "wavtokenizer", "settings": heard}
        summary = "wavtokenizer, a public model"
        return ModelInfo(source, "audio-peer", path.parent, config, "", size, "", summary, "", None, source, Checkpoint((path,)))
    signs = magvit2.settings_of(shapes, str(path))
    found = ("open-magvit2", signs) if signs is not None else vqgan.settings_of(shapes, str(path))
    if found is None:
        some = ", ".join(sorted(shapes)[:4])
        raise ModelError(f"{path}: its tensors ({some}, ...) are those of no family known here: {', '.join(IN_FILES)}")
    family, settings = found
    config = {"kind": "image-peer", "family": family, "settings": settings, "scale": [2.0] * 3, "shift": [1.0] * 3}
    summary = f"{family}, a public model"
    return ModelInfo(source, "image-peer", path.parent, config, "", size, "", summary, "", None, source, Checkpoint((path,)))


def _line_file(path: Path, source: str, shapes: Mapping[str, tuple[int, ...]]) -> ModelInfo:
    """TiTok's shapes do not say everything: its config lies beside, as PATH with the ending .json or as config.json."""
    beside = next((place for place in _configs_of(path) if place.is_file()), None)
    if beside is None:
        raise ModelError(f"{path}: a TiTok without its config; put it beside as {path.with_suffix('.json').name} (its yaml as JSON)")
    about = read_json(beside, "model's config")
    if _recognized(about, path.parent)[0] != LINE:
        raise ModelError(f"{beside}: no config of a TiTok, which has model.vq_model; {path.name} holds one")
    config, size = _line(about, shapes, path), path.stat().st_size
    return ModelInfo(source, LINE, path.parent, config, "", size, "", "titok, a public model", "", None, source, Checkpoint((path,)))


def _configs_of(path: Path) -> tuple[Path, ...]:
    """Where the config of a file of weights may lie."""
    return path.with_suffix(".json"), path.parent / CONFIG


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
    if model_type in PICTURES:
        return "image-peer", _picture(PICTURES[model_type], about, folder), ""
    if model_type in WHOLES and isinstance(about.get("vq_config"), dict):
        return "image-peer", _picture(WHOLES[model_type], about["vq_config"], folder), WHOLE_PARTS[0]
    if isinstance(about.get("model"), dict) and isinstance(about["model"].get("vq_model"), dict):
        return LINE, {"family": "titok"}, ""
    known = ", ".join((*SOUNDS, "snac", *PICTURES.values(), "titok"))
    found = f"model_type {model_type!r}" if model_type else f"keys {', '.join(sorted(map(str, about)))[:120]}"
    raise ModelError(f"{folder / CONFIG}: {found}, none of the families known here: {known}")


def _line(about: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], folder: Path) -> dict[str, Any]:
    """The config of a line: what the tensors' shapes say and, of what they do not, TiTok's own config."""
    from smalti.tokenizers.peers import titok

    settings = titok.settings_of(shapes, about, str(folder))
    return {"kind": LINE, "family": "titok", "settings": settings, "scale": [1.0] * 3, "shift": [0.0] * 3}


def _picture(family: str, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Its config, with what the preprocessor beside it does to pixels; -1 to 1 where there is none."""
    config = _config("image-peer", family, settings) | {"scale": [2.0] * 3, "shift": [1.0] * 3}
    path = folder / PREPROCESSOR
    if path.is_file():
        given = read_json(path, "preprocessor's config")
        factor = 255 * _number(given.get("rescale_factor", 1 / 255), path, "rescale_factor") if given.get("do_rescale", True) else 255.0
        mean, std = ([0.0] * 3, [1.0] * 3)
        if given.get("do_normalize", True):
            mean, std = (
                _three(given.get("image_mean", [0.5] * 3), path, "image_mean"),
                _three(given.get("image_std", [0.5] * 3), path, "image_std"),
            )
        if min(std) <= 0 or factor <= 0:
            raise ModelError(f"{path}: image_std and rescale_factor are positive, found {std} and {factor / 255}")
        config |= {"scale": [_plain(factor / s) for s in std], "shift": [_plain(m / s) for m, s in zip(mean, std, strict=True)]}
    return config


def _plain(value: float) -> float:
    """Without the last digits, in which 255 / 255 is not 1."""
    return float(f"{value:.9g}")


def _number(value: Any, path: Path, key: str) -> float:
    if not isinstance(value, int | float) or not abs(value) < 1e6:
        raise ModelError(f"{path}: {key} is a number, found {value!r}")
    return float(value)


def _three(value: Any, path: Path, key: str) -> list[float]:
    if not isinstance(value, list) or len(value) != 3:
        raise ModelError(f"{path}: {key} has three numbers, found {value!r}")
    return [_number(item, path, key) for item in value]


def _config(kind: str, family: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain = {key: value for key, value in plain_settings(settings).items() if key != "model_type"}
    except RecursionError:
        raise ModelError(f"{family}: its config holds tables within tables, more than any network has; use another checkpoint") from None
    for key, value in plain.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise ModelError(f"{family}: its config's {key} holds a number that is none (NaN or infinity), found {value!r:.80}") from None
    return {"kind": kind, "family": family, "settings": plain}


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
