"""Model folders: finding, checking, reading and writing them."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import json
import os
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smalti.tokenizers.configs import from_dict, to_dict
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError
from smalti.tokenizers.zoo.fingerprint import fingerprint
from smalti.tokenizers.zoo.narrow import narrowed, pays, widened

if TYPE_CHECKING:
    from smalti.tokenizers.contracts import StoredPrior, StoredTokenizer
    from smalti.tokenizers.peers.checkpoints import Checkpoint

ZOO = Path(__file__).parent
TOKENIZERS = {  # kind -> "module:Class"; others by entry points `smalti.tokenizers`
    "image-grid": "smalti.tokenizers.image.grid:ImageGrid",
    "image-line": "smalti.tokenizers.image.line:ImageLine",
    "audio-single": "smalti.tokenizers.audio.single:AudioSingle",
    "audio-residual": "smalti.tokenizers.audio.residual:AudioResidual",
    "shape-basis": "smalti.tokenizers.shape.basis:ShapeBasis",
    "jpeg-bytes": "smalti.tokenizers.image.jpeg_bytes:JpegBytes",
    "mesh": "smalti.tokenizers.shape.mesh:Mesh",
    "shape-vat": "smalti.tokenizers.shape.vat:ShapeVat",
    "video-causal": "smalti.tokenizers.video.causal:VideoCausal",
    "audio-peer": "smalti.tokenizers.peers.sound:PeerSound",
    "image-peer": "smalti.tokenizers.peers.picture:PeerPicture",
    "image-peer-line": "smalti.tokenizers.peers.picture_line:PeerLine",
}
PUBLIC = ("audio-peer", "image-peer", "image-peer-line")  # kinds of others' networks, whose tokens are to be their own
MAX_CONFIG_BYTES = 2**20


@dataclass(frozen=True)
class ModelInfo:
    """What a model folder says of itself, without its weights being loaded.

    name: with number, e.g. "image-grid-16@1". kind: of tokenizer. config: plain. prior: hex id of the default prior, "" for none.
    bytes: on disk. card: text of card.md. summary, licence: one line each. shares: a shipped model, name@number, and which parts of its
    weights are this one's too (the first words of tensors' names); they are not stored again. source, checkpoint: of a public model that
    is no folder of ours, how it is named (hf:..., file:...) and where its tensors lie.
    """

    name: str
    kind: str
    folder: Path
    config: dict[str, Any]
    prior: str
    bytes: int
    card: str = ""
    summary: str = ""
    licence: str = ""
    shares: tuple[str, tuple[str, ...]] | None = None
    source: str = ""
    checkpoint: Checkpoint | None = None

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors" if self.checkpoint is None else self.checkpoint.files[0]

    @property
    def reference(self) -> str:
        """A name that finds it again on this machine, from whatever folder: name@number of a shipped one, else the place where it lies."""
        if self.source.startswith("file:"):
            return f"file:{self.weights.resolve()}"
        if self.source:
            return f"hf:{self.folder.resolve()}"
        return self.name if self.folder.parent.parent == ZOO else str(self.folder.resolve())

    def beside(self, name: str) -> Path:
        """Where a file that belongs to the model lies: in its folder, of a file of weights beside that."""
        return self.folder / (f"{self.weights.name}.{name}" if self.source.startswith("file:") else name)


def known() -> list[ModelInfo]:
    """Every model that this installation brings, and those below the folders of $SMALTI_MODELS; the newest number of each name last.

    A folder whose config cannot be read is left out, so that it does not stand in the way of the others; `problems` names it.
    """
    return [item for item in _scan() if isinstance(item, ModelInfo)]


def problems() -> list[str]:
    """One line for each model folder that `known` leaves out."""
    return [str(item) for item in _scan() if isinstance(item, ModelError)]


def _scan() -> list[ModelInfo | ModelError]:
    roots = [ZOO, *(Path(root) for root in os.environ.get("SMALTI_MODELS", "").split(os.pathsep) if root)]
    folders = [path.parent for root in roots for path in root.glob("*/*/config.json") if path.parent.name.isdecimal()]
    ordered = sorted(folders, key=lambda folder: (folder.parent.name, int(folder.name)))
    found: list[ModelInfo | ModelError] = [*_foreign(roots[1:])]
    for folder in ordered:
        try:
            found.append(own_info(folder, f"{folder.parent.name}@{folder.name}"))
        except ModelError as error:
            found.append(error)
    return found


def _foreign(roots: Sequence[Path]) -> list[ModelInfo | ModelError]:
    """Public models in folders of their own, as others save them: ROOT/NAME/config.json. They come first, so that files are tried on ours
    before anything as large is read."""
    from smalti.tokenizers.peers import sources

    found: list[ModelInfo | ModelError] = []
    for folder in sorted(path.parent for root in roots for path in root.glob("*/config.json")):
        if sources.looks_foreign(folder):
            try:
                found.append(replace(sources.in_folder(folder, f"hf:{folder}"), name=folder.name))
            except ModelError as error:
                found.append(error)
    return found


def find(name: str) -> ModelInfo:
    """A model by name, name@number, folder, or as hf:, hub: and file: name public ones; ModelError names what there is."""
    from smalti.tokenizers.peers import sources

    if sources.is_source(name):
        return sources.find(name)
    models = known()
    for info in reversed(models):
        if name in (info.name, info.name.partition("@")[0]):
            return info
    folder = Path(name)
    if (folder / "config.json").is_file():
        return sources.in_folder(folder, f"hf:{folder}") if sources.looks_foreign(folder) else own_info(folder, folder.name)
    names = sorted({info.name.partition("@")[0] for info in models})
    near = difflib.get_close_matches(name, names, 1)
    if folder.is_dir():
        raise ModelError(f"{name}: a folder without config.json; a model folder holds config.json and model.safetensors")
    raise ModelError(
        f"no model {name!r}; "
        + (f"did you mean {near[0]!r}? `smalti models` lists them" if near else f"known: {', '.join(names) or 'none'}, or a model folder")
    )


def load(name: str, device: str = "cpu") -> Any:
    """The tokenizer (a `StoredTokenizer`) of a model by name, name@number or folder, weights in float32 on `device`."""
    return load_model(find(name), device)


def load_model(info: ModelInfo, device: str = "cpu") -> Any:
    """The tokenizer of that very folder, its fingerprint that of the stored weights."""
    tokenizer_class = _tokenizer_class(info)
    try:
        config = from_dict(tokenizer_class.config_class, info.config, f"{info.folder / 'config.json'}: config")
    except UsageError as error:
        place = str(info.folder / "config.json")
        raise ModelError(str(error) if str(error).startswith(place) else f"{place}: {error}") from None
    tensors = _tensors(info)
    known_by = fingerprint(info.config, tensors, info.prior)
    tokenizer = tokenizer_class.from_tensors(config, _widened(info, tensors), known_by, info.name, device)
    tokenizer.folder = Path(info.source) if info.source else info.folder  # what `find` finds it by
    return tokenizer


def fingerprint_of(info: ModelInfo) -> str:
    """The fingerprint of a model folder, without building its network (and, of ours, without torch)."""
    if info.checkpoint is not None:
        from smalti.tokenizers.peers.checkpoints import stamps

        return _fingerprint_of_source(info.source, stamps(*info.checkpoint.files), _about(info))
    return _fingerprint(info.folder, info.weights.stat().st_mtime_ns if info.weights.exists() else 0, _about(info))


def _about(info: ModelInfo) -> str:
    """What a fingerprint says beside the weights, for what is kept of it: a config may change and the weights stay."""
    return json.dumps([info.config, info.prior, info.shares], sort_keys=True)


@functools.lru_cache(maxsize=64)
def _fingerprint_of_source(source: str, modified: tuple[int, ...], about: str) -> str:
    info = find(source)
    return fingerprint(info.config, _tensors(info), info.prior)


@functools.lru_cache(maxsize=64)
def _fingerprint(folder: Path, modified: int, about: str) -> str:
    info = own_info(folder, folder.name)
    return fingerprint(info.config, _tensors(info), info.prior)


def by_fingerprint(first_bytes: bytes) -> ModelInfo | None:
    """The known model whose fingerprint begins so."""
    for info in reversed(known()):
        with contextlib.suppress(ModelError):  # a model whose weights are damaged is not the one, and no reason to refuse another's files
            if bytes.fromhex(fingerprint_of(info))[: len(first_bytes)] == first_bytes:
                return info
    return None


def save(
    tokenizer: StoredTokenizer,
    folder: Path,
    prior: str | StoredPrior = "",
    half: bool = True,
    card: str = "",
    about: Mapping[str, str] = {},
    narrow: Collection[str] = (),
) -> ModelInfo:
    """Write a model folder, weights in float16 unless `half` is False; fingerprints are those of what was written.

    narrow: parts of the network (the first words of tensors' names) whose matrices are kept in eight bits instead, see `narrow.py`.

    Tables and statistics stay as they are: in float16 counts overflow, and a whitening matrix loses the directions that carry little.
    prior: its default prior, written with the rest; or the hex id of one that lies in the folder already; "" for none, and one that lies
    there goes. about: `summary` and `licence`, one line each. Nothing half-written is left behind. UsageError where the folder cannot be
    written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save as safetensors_of

    tensors = tokenizer.tensors()
    if half:
        weights = tokenizer.parameter_names()
        tensors = {key: value.astype(np.float16) if key in weights else value for key, value in tensors.items()}
    if narrow:
        wide, weights = tokenizer.tensors(), tokenizer.parameter_names()
        for key in weights:
            if key.partition(".")[0] in narrow and pays(wide[key]):
                tensors |= narrowed(key, wide[key])
    prior_id = prior if isinstance(prior, str) else prior.id.hex()
    content = {"tokenizer": tokenizer.config.kind, "config": to_dict(tokenizer.config), "prior": prior_id, **about}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as part:
            stored = safetensors_of({key: np.asarray(value, order="C") for key, value in tensors.items()})
            (Path(part) / "model.safetensors").write_bytes(stored)  # its own save_file lets nobody else read the file
            (Path(part) / "config.json").write_text(json.dumps(content, indent=1) + "\n")
            (Path(part) / "card.md").write_text(card)
            if not isinstance(prior, str):
                prior.save(Path(part) / "prior.safetensors")
            (folder / "config.json").unlink(missing_ok=True)  # a folder without it is no model, so nothing is ever half of two
            if not prior_id:
                (folder / "prior.safetensors").unlink(missing_ok=True)
            for name in ("model.safetensors", "prior.safetensors", "card.md", "config.json"):
                if (Path(part) / name).exists():
                    os.replace(Path(part) / name, folder / name)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{folder}: the model cannot be written ({error}); choose another place or make this one writable") from None
    return own_info(folder, folder.name)


def _tensors(info: ModelInfo) -> dict[str, np.ndarray]:
    if info.checkpoint is not None:
        from smalti.tokenizers.peers.checkpoints import read_tensors

        return read_tensors(info.checkpoint)
    tensors = _stored(info.weights)
    if info.shares is not None:
        name, parts = info.shares
        shared = _stored(ZOO / name.replace("@", os.sep) / info.weights.name)
        tensors = {key: tensor for key, tensor in shared.items() if key.partition(".")[0] in parts} | tensors
    return tensors


def _widened(info: ModelInfo, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    try:
        return widened(tensors)
    except ModelError as error:
        raise ModelError(f"{info.weights}: {error}; config and weights do not belong together") from None


def _stored(weights: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(weights)
        for tensor in tensors.values():
            if tensor.dtype.kind not in "biuf":  # where ml_dtypes is installed NumPy knows bfloat16, as a kind of its own
                raise TypeError(f"data type '{tensor.dtype}'")
        return tensors
    except FileNotFoundError:
        raise ModelError(f"{weights}: not found; the model folder is incomplete") from None
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: numbers of a type that NumPy lacks, such as bfloat16
        raise ModelError(f"{weights}: not readable as safetensors: {error}") from None


def _shares(found: Any) -> tuple[str, tuple[str, ...]] | None:
    """What config.json says of shared weights; TypeError where it is no name and number of a shipped model with names of parts."""
    if found is None:
        return None
    name, parts = found["model"], found["parts"]
    if not re.fullmatch(r"[a-z0-9-]+@[0-9]+", name) or not all(isinstance(part, str) for part in parts):
        raise TypeError("shares are the parts of a shipped model, name@number")
    return name, tuple(parts)


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number that a config holds")


def own_info(folder: Path, name: str) -> ModelInfo:
    """What a folder of ours says of itself; ModelError where it is none."""
    path = folder / "config.json"
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes; this is no model's config")
        about = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        kind, config, prior = about["tokenizer"], about["config"], about.get("prior", "")
        if not (isinstance(kind, str) and isinstance(config, dict) and isinstance(prior, str)):
            raise TypeError("tokenizer and prior are names, config is a table")
        shares = _shares(about.get("shares"))
        summary, licence = str(about.get("summary", "")), str(about.get("licence", ""))
        size = sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
        card = folder / "card.md"
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: not a model's config ({type(error).__name__}: {error})") from None
    return ModelInfo(name, kind, folder, config, prior, size, text, summary, licence, shares)


def _tokenizer_class(info: ModelInfo) -> Any:
    from importlib.metadata import entry_points

    classes = dict(TOKENIZERS) | {point.name: point.value for point in entry_points(group="smalti.tokenizers")}
    if info.kind not in classes:
        near = difflib.get_close_matches(str(info.kind), classes, 1)
        raise ModelError(
            f"{info.folder}: tokenizer {info.kind!r} is not installed"
            + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(classes)}")
        )
    module, _, attribute = classes[info.kind].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except SmaltiError:
        raise
    except (ImportError, AttributeError) as error:
        raise ModelError(f"tokenizer {info.kind!r} cannot be imported from {classes[info.kind]}: {error}") from None
