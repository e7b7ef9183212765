"""A pack on the disk: its options, its manifest pack.json, and whether its files are those that it names."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.prepare.packs.files import File, hash_file
from smalti.prepare.packs.formats import FORMATS
from smalti.prepare.packs.packing import PACKINGS
from smalti.prepare.packs.patterns import PATTERNS
from smalti.prepare.packs.vocabulary import Vocabulary
from smalti.prepare.places import digest_of, read_json
from smalti.tokenizers.errors import BitstreamError, ModelError, SmaltiError, UsageError

FORMAT = "smalti.pack.1"
MANIFEST, DOCUMENTS, LAYOUTS = "pack.json", "documents.idx", "layouts.json"
# item: number of the input. start, count: ids of the stream. layout: number in layouts.json. flags: 0
RECORD = np.dtype([("item", "<i8"), ("start", "<i8"), ("count", "<i8"), ("layout", "<i4"), ("flags", "<i4")])
SUBSETS = ("all", "train", "held-out")
MAX_CONTEXT = 2**24


@dataclass(frozen=True)
class PackOptions:
    """What a pack should be.

    name: of its folder below OUT/packs. pattern: order of the tokens, `patterns.PATTERNS`. context: ids that a model sees; rows are one id
    longer, so that each position has a next one. packing: `packing.PACKINGS`. format: `formats.FORMATS`. row_ends: an id after each row
    of a picture. bos: an id before each document. subset: of the documents: all, or those that the plan keeps for training, or from it.
    vocabulary: of another pack, to be used again. shard_bytes: of a file, None for the format's own.
    """

    name: str = "tokens"
    pattern: str = "flatten"
    context: int = 1024
    packing: str = "best-fit"
    format: str = "megatron"
    row_ends: bool = True
    bos: bool = True
    subset: str = "all"
    vocabulary: Vocabulary | None = None
    shard_bytes: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise UsageError(f"a pack is named by letters, digits, '-', '_' and '.', found {self.name!r}; choose another name")
        for what, value, known in (
            ("pattern", self.pattern, tuple(PATTERNS)),
            ("packing", self.packing, PACKINGS),
            ("format", self.format, tuple(FORMATS)),
            ("subset", self.subset, SUBSETS),
        ):
            if value not in known:
                raise UsageError(f"no {what} {value!r}; choose one of {', '.join(known)}")
        if not 1 <= self.context <= MAX_CONTEXT:
            raise UsageError(f"a context has 1..{MAX_CONTEXT} ids, found {self.context}")
        if self.shard_bytes is not None and self.shard_bytes < 1:
            raise UsageError(f"a shard has at least 1 byte, found {self.shard_bytes}")

    @property
    def row(self) -> int:
        """Ids of a row, 0 where there are no rows."""
        return 0 if self.packing == "documents" else self.context + 1


@dataclass(frozen=True)
class PackedModel:
    """A model whose tokens the pack holds."""

    name: str
    kind: str
    modality: str
    fingerprint: str


@dataclass(frozen=True)
class Pack:
    """What pack.json says. dataset: digest of the codes it was made of. identity: hash of all that the bytes depend on.

    row: ids of a row, 0 for none. documents, sequences: how many. tokens: of media. ids: all, padding and other special ones included.
    files: of the pack, in order; those with ids hold the stream one after the other.
    """

    folder: Path
    name: str
    dataset: str
    identity: str
    models: tuple[PackedModel, ...]
    vocabulary: Vocabulary
    pattern: str
    row_ends: bool
    bos: bool
    packing: str
    row: int
    subset: str
    format: str
    documents: int
    sequences: int
    tokens: int
    ids: int
    padding: int
    files: tuple[File, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over what it is and holds."""
        return digest_of({"identity": self.identity, "files": [[file.path, file.sha256] for file in self.files]})

    def to_json(self) -> dict[str, Any]:
        said = {key: value for key, value in vars(self).items() if key != "folder"}
        parts = {"models": [asdict(m) for m in self.models], "files": [asdict(f) for f in self.files]}
        return {"pack": FORMAT, **said, **parts, "vocabulary": self.vocabulary.to_json(), "digest": self.digest}

    @staticmethod
    def from_json(folder: Path, found: dict[str, Any]) -> Pack:
        """BitstreamError for what `to_json` did not write."""
        path = folder / MANIFEST
        try:
            if found.get("pack") != FORMAT:
                raise ValueError(f"of format {found.get('pack')!r}, expected {FORMAT!r}")
            said = {key: value for key, value in found.items() if key not in ("pack", "digest")}
            said["models"] = tuple(PackedModel(**{key: _text(value) for key, value in model.items()}) for model in found["models"])
            said["files"] = tuple(File(**file) for file in found["files"])
            said["vocabulary"] = Vocabulary.from_json(found["vocabulary"])
            made = Pack(folder, **said)
            _check(made)
            if made.digest != found["digest"]:
                raise ValueError("its digest does not fit what it says")
            return made
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, BitstreamError) as error:
            raise BitstreamError(f"{path}: no manifest of a pack ({type(error).__name__}: {error}); write the pack again") from None

    def check_model(self, fingerprint: str, modality: str) -> None:
        """ModelError unless the tokens of that modality were made by the model of this fingerprint."""
        for model in self.models:
            if model.modality == modality and model.fingerprint != fingerprint:
                raise ModelError(
                    f"{self.folder}: its tokens of {modality} are by {model.name} ({model.fingerprint[:12]}), "
                    f"the model given is {fingerprint[:12]}; give that very model, or prepare the data anew"
                )
        if modality not in {model.modality for model in self.models}:
            raise ModelError(f"{self.folder}: holds no tokens of {modality}, only of {', '.join(m.modality for m in self.models)}")


def open_manifest(folder: str | os.PathLike[str]) -> Pack:
    """The pack of a folder, sizes of its files checked, nothing read of them. UsageError where it is none, BitstreamError for damage."""
    path = Path(folder)
    if not (path / MANIFEST).is_file():
        raise UsageError(f"{path}: no pack, expected {MANIFEST} in it; smalti prepare --pack NAME writes one into OUT/packs/NAME")
    pack = Pack.from_json(path, read_json(path / MANIFEST))
    for file in pack.files:
        place = path / file.path
        found = place.stat().st_size if place.is_file() else -1
        if found != file.bytes:
            state = f"{found} bytes" if found >= 0 else "missing"
            raise BitstreamError(f"{place}: {state}, expected {file.bytes} bytes; write the pack again: smalti prepare --repack")
    return pack


def verify(pack: Pack) -> None:
    """Read every file; BitstreamError names the first that is not what was written."""
    for file in pack.files:
        found = hash_file(pack.folder / file.path, file.path)
        if (found.bytes, found.sha256) != (file.bytes, file.sha256):
            raise BitstreamError(
                f"{pack.folder / file.path}: damaged, its hash is {found.sha256[:12]}, expected {file.sha256[:12]}; write the pack again"
            )


def problems_of(folder: Path, dataset: str, deep: bool = False) -> list[str]:
    """A line on each pack in OUT/packs that is not whole, or was made of other codes than those of this digest. deep: read every file."""
    wrong = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if place.name.startswith("."):  # left half-done by a run that was killed; the next one removes it
            continue
        try:
            pack = open_manifest(place)
            if deep:
                verify(pack)
            if pack.dataset != dataset:
                raise BitstreamError(
                    f"{place}: made of codes {pack.dataset[:12]}, the folder holds {dataset[:12]}; smalti prepare --repack"
                )
        except SmaltiError as error:
            wrong.append(str(error))
    return wrong


def _check(pack: Pack) -> None:
    """ValueError where values are of the wrong kind or do not fit together."""
    counts = pack.row, pack.documents, pack.sequences, pack.tokens, pack.ids, pack.padding
    sizes = [value for file in pack.files for value in (file.bytes, file.head, file.ids)]
    if any(type(value) is not int or value < 0 for value in (*counts, *sizes)):
        raise ValueError("counts are whole numbers from 0 on")
    for file in pack.files:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", _text(file.path)) or not re.fullmatch(r"[0-9a-f]{64}", _text(file.sha256)):
            raise ValueError(f"{file.path!r} is no file of a pack")
    texts = pack.name, pack.dataset, pack.identity, pack.pattern, pack.packing, pack.subset, pack.format
    if not all(isinstance(text, str) for text in texts) or pack.format not in FORMATS or pack.pattern not in PATTERNS:
        raise ValueError("an option that no release knows")
    if not isinstance(pack.bos, bool) or not isinstance(pack.row_ends, bool):
        raise ValueError("bos and row_ends are true or false")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
