"""Codes of a prepared folder: each document's tokens with their shapes, read lazily through memory maps.

OUT/plan.json and OUT/inputs.jsonl say what was asked for. OUT/codes/unit-000000.codes has the tokens of a slice of the inputs, raw and
little-endian, uint16 where no codebook of the unit has more than 65,536 entries, int32 else: documents in the order of the inputs, of each
its stages one after the other, each in raster order. unit-000000.docs has 32 bytes a document (`records.DOCUMENT`), unit-000000.json is
the commit: sizes and hashes of the files, and the table of layouts. unit-000000.errors.jsonl names the items that could not be used.

codes = open_codes("OUT")
len(codes); codes.document(0).tokens; codes["photos/a.jpg"]; for document in codes: ...
for unit in codes.units(): unit.array, unit.documents, unit.layouts       # without an object for each document
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.prepare.inputs import Inputs, is_held_out
from smalti.prepare.places import Places, read_json
from smalti.prepare.records import DOCUMENT, DTYPES, Commit, DocumentLayout
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Tokens

MANIFEST = "smalti.dataset.1"
KEPT_UNITS = 8  # mapped at a time


@dataclass(frozen=True)
class Document:
    """One document: its number among the documents, the number of its item among the inputs, its key, the number of the model that made it
    in `Codes.models`, its tokens, and what its file had beyond them or was wrong, a line each."""

    number: int
    item: int
    key: str
    model: int
    tokens: Tokens
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitCodes:
    """One unit. array: all tokens, uint16 or int32 (T,). documents: `records.DOCUMENT` (D,), in order of `item`. layouts: what their
    `layout` points into. first: number of its first document."""

    number: int
    first: int
    array: np.ndarray
    documents: np.ndarray
    layouts: tuple[DocumentLayout, ...]
    notes: tuple[tuple[str, ...], ...]

    def tokens(self, place: int) -> Tokens:
        """The tokens of the document at that place in the unit; BitstreamError where they are damaged."""
        start, count = int(self.documents["start"][place]), int(self.documents["count"][place])
        layout = self.layout(place).layout
        if not 0 <= start <= start + count <= len(self.array) or layout.count != count:
            raise BitstreamError(
                f"unit {self.number}: document {place} lies at {start}..{start + count} of {len(self.array)}; it is damaged"
            )
        codes = np.asarray(self.array[start : start + count]).astype(np.int32)
        arrays, at = [], 0
        for stage in layout.stages:
            arrays.append(codes[at : at + stage.count].reshape(stage.shape))
            at += stage.count
        try:
            return Tokens(layout, tuple(arrays))
        except UsageError as error:
            raise BitstreamError(f"unit {self.number}: document {place} is damaged: {error}") from None

    def check(self) -> None:
        """BitstreamError unless each document has a layout, its tokens are as many as that says, and lie in the array."""
        documents, limit = self.documents, len(self.array)
        counts = np.array([min(entry.layout.count, limit + 1) for entry in self.layouts], np.int64)
        wrong = (documents["layout"] < 0) | (documents["layout"] >= len(counts))
        if not wrong.any():
            wrong = (counts[documents["layout"]] != documents["count"]) | (documents["start"] < 0)
            wrong |= documents["start"] > limit - documents["count"]
        if wrong.any():
            raise BitstreamError(
                f"unit {self.number}: document {int(np.argmax(wrong))} does not fit its layout or the codes; it is damaged"
            )

    def layout(self, place: int) -> DocumentLayout:
        """Model and layout of a document."""
        number = int(self.documents["layout"][place])
        if not 0 <= number < len(self.layouts):
            raise BitstreamError(f"unit {self.number}: document {place} has layout {number} of {len(self.layouts)}; it is damaged")
        return self.layouts[number]


class Codes:
    """The documents of a finished folder, in the order of the inputs. As many of its units are mapped at a time as one goes through.

    manifest: dataset.json. plan: plan.json. models: of each model a table with `name`, `kind`, `modality`, `fingerprint`, `config` and
    `stages`: (name, vocab, tokens, ...) of every stage that occurs. Raises BitstreamError where a file is missing or of another size.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.places = Places(Path(folder))
        if not self.places.manifest.is_file():
            state = "not finished" if self.places.plan.is_file() else "no prepared folder"
            raise UsageError(f"{folder}: {state}, expected dataset.json in it; run smalti prepare (again) to its end")
        self.plan = read_json(self.places.plan)
        self.manifest = read_json(self.places.manifest)
        whole = operator.index
        try:
            if self.manifest["format"] != MANIFEST:
                raise ValueError(f"format {self.manifest['format']!r}, expected {MANIFEST!r}")
            self.models: list[dict[str, Any]] = self.manifest["models"]
            self._units: list[dict[str, Any]] = self.manifest["units"]
            counts = [0, *(whole(unit["documents"]) for unit in self._units)]
            sizes = [whole(unit[ending]["bytes"]) for unit in self._units for ending in ("codes", "docs")]
            self.items, self._unit_items = whole(self.manifest["items"]), whole(self.plan["unit"])
            if min(self.items, *counts, *sizes) < 0 or self._unit_items < 1 or sum(counts) > self.items:
                raise ValueError("counts out of range")
            if len(self._units) != -(-self.items // self._unit_items):
                raise ValueError(f"{len(self._units)} units of {self._unit_items} for {self.items} items")
            if not all(isinstance(model[key], str) for model in self.models for key in ("name", "modality", "fingerprint", "reference")):
                raise ValueError("models without names")
        except (KeyError, TypeError, ValueError) as error:
            raise BitstreamError(f"{self.places.manifest}: damaged, no manifest that can be read ({error}); prepare it again") from None
        self._firsts = np.cumsum(np.array(counts, np.int64))
        self._check_sizes()
        self.inputs = Inputs(self.places, self.items)
        self._unit = functools.lru_cache(KEPT_UNITS)(self._opened)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __iter__(self) -> Iterator[Document]:
        for unit in self.units():
            for place in range(len(unit.documents)):
                yield self._document(unit, place)

    def __getitem__(self, key: str) -> Document:
        return self.document(self.find(key))

    @property
    def digest(self) -> str:
        """SHA-256 over what the folder holds: the same for every engine, number of workers and restart."""
        return str(self.manifest["digest"])

    def document(self, number: int) -> Document:
        """A document by its number; UsageError where there is none."""
        if not 0 <= number < len(self):
            raise UsageError(f"there is no document {number}; this folder has {len(self)}, counted from 0")
        unit = int(np.searchsorted(self._firsts, number, "right")) - 1
        return self._document(self._unit(unit), number - int(self._firsts[unit]))

    def find(self, key: str) -> int:
        """The number of the document of a key; UsageError where there is none, or its item failed."""
        item = self.inputs.find(key)
        if item is None:
            raise UsageError(f"no document has the key {key!r}; {self.places.inputs} lists all {self.items}")
        unit = self._unit(item // self._unit_items)
        place = int(np.searchsorted(unit.documents["item"], item))
        if place == len(unit.documents) or int(unit.documents["item"][place]) != item:
            errors = self.places.unit(unit.number, "errors.jsonl")
            raise UsageError(f"{key!r} could not be used, so there is no document of it; {errors} says why")
        return unit.first + place

    def units(self) -> Iterator[UnitCodes]:
        """All units, in order."""
        return (self._unit(number) for number in range(len(self._units)))

    def is_held_out(self, key: str) -> bool:
        """Whether a document is kept from training, by the share that the plan names."""
        return is_held_out(key, float(self.plan["held_out"]))

    def _document(self, unit: UnitCodes, place: int) -> Document:
        item, notes = int(unit.documents["item"][place]), int(unit.documents["notes"][place])
        if not (0 <= item < self.items and 0 <= notes < len(unit.notes)):
            raise BitstreamError(f"unit {unit.number}: document {place} names item {item} and notes {notes}; it is damaged")
        made = unit.layout(place)
        return Document(unit.first + place, item, self.inputs[item].key, made.model, unit.tokens(place), unit.notes[notes])

    def _opened(self, number: int) -> UnitCodes:
        places, said = self.places, self._units[number]
        commit = Commit.read(places.unit(number, "json"))
        if commit.files["codes"].sha256 != said["codes"]["sha256"] or commit.documents != said["documents"]:
            raise BitstreamError(f"{places.unit(number, 'json')}: another unit than {places.manifest} names; prepare it again")
        if any(not 0 <= entry.model < len(self.models) for entry in commit.layouts):
            raise BitstreamError(f"{places.unit(number, 'json')}: names a model that the plan does not have; it is damaged")
        array = _mapped(places.unit(number, "codes"), DTYPES[commit.dtype], commit.tokens)
        documents = _mapped(places.unit(number, "docs"), DOCUMENT, commit.documents)
        return UnitCodes(number, int(self._firsts[number]), array, documents, commit.layouts, commit.notes)

    def _check_sizes(self) -> None:
        """Each file of the codes is there and as large as the manifest says."""
        for number, unit in enumerate(self._units):
            for ending in ("codes", "docs"):
                path = self.places.unit(number, ending)
                found, expected = path.stat().st_size if path.is_file() else -1, unit[ending]["bytes"]
                if found != expected:
                    state = f"{found} bytes" if found >= 0 else "missing"
                    raise BitstreamError(
                        f"{path}: {state}, expected {expected} bytes; remove its unit-{number:06d}.json and run smalti prepare again"
                    )


def _mapped(path: Path, dtype: np.dtype, count: int) -> np.ndarray:
    if path.stat().st_size != count * dtype.itemsize:
        raise BitstreamError(f"{path}: {path.stat().st_size} bytes, expected {count * dtype.itemsize}; prepare this unit again")
    return np.memmap(path, dtype, "r", shape=(count,)) if count else np.zeros(0, dtype)


def open_codes(folder: str | os.PathLike[str]) -> Codes:
    """The documents of a folder that `smalti prepare` finished. UsageError where it is none, BitstreamError where a file is damaged."""
    return Codes(folder)
