"""What a commit says, and its layouts as JSON."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.prepare.places import read_json
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Layout, Stage

FORMAT = "smalti.codes.1"
# item: number of the input. start, count: in elements of unit-N.codes. layout, notes: numbers in the commit's tables (notes 0: none)
DOCUMENT = np.dtype([("item", "<i8"), ("start", "<i8"), ("count", "<i8"), ("layout", "<i4"), ("notes", "<i4")])
DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "int32": np.dtype("<i4")}
LARGEST_16 = 65536  # entries that uint16 holds
_WRONG = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, UsageError)


@dataclass(frozen=True)
class DocumentLayout:
    """Which model (a number in the plan) made documents of a layout."""

    model: int
    layout: Layout


@dataclass(frozen=True)
class FileRecord:
    """A file beside the commit: its name, size in bytes and SHA-256 (hex)."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    """What unit-N.json says: the unit is whole, and made so.

    first, items: the slice of the inputs. dtype: "uint16" or "int32". documents, tokens, errors: counts. files: by ending, "codes", "docs"
    and "errors.jsonl". layouts, notes: tables that documents point into; notes[0] is empty.
    """

    plan: str
    unit: int
    first: int
    items: int
    dtype: str
    documents: int
    tokens: int
    errors: int
    files: dict[str, FileRecord]
    layouts: tuple[DocumentLayout, ...]
    notes: tuple[tuple[str, ...], ...]
    probe: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "plan": self.plan,
            "unit": self.unit,
            "first": self.first,
            "items": self.items,
            "dtype": self.dtype,
            "documents": self.documents,
            "tokens": self.tokens,
            "errors": self.errors,
            "files": {end: {"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for end, file in self.files.items()},
            "layouts": [{"model": entry.model, **layout_to_json(entry.layout)} for entry in self.layouts],
            "notes": [list(lines) for lines in self.notes],
            "probe": self.probe,
        }

    @classmethod
    def of(cls, found: dict[str, Any], name: str) -> Commit:
        """From JSON; BitstreamError where it is no commit of ours. name: of the file, for errors."""
        whole = operator.index
        try:
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}, expected {FORMAT!r}")
            if found["dtype"] not in DTYPES:
                raise ValueError(f"dtype {found['dtype']!r}")
            files = {
                str(end): FileRecord(str(file["name"]), whole(file["bytes"]), str(file["sha256"])) for end, file in found["files"].items()
            }
            if set(files) != {"codes", "docs", "errors.jsonl"}:
                raise ValueError(f"files {sorted(files)}")
            layouts = tuple(DocumentLayout(whole(entry["model"]), layout_of(entry)) for entry in found["layouts"])
            notes = tuple(tuple(str(line) for line in lines) for lines in found["notes"])
            counts = [whole(found[key]) for key in ("unit", "first", "items", "documents", "tokens", "errors")]
            if min(counts) < 0 or counts[3] + counts[5] != counts[2]:
                raise ValueError(f"{counts[3]} documents and {counts[5]} errors of {counts[2]} items")
            unit, first, items, documents, tokens, errors = counts
            made = cls(
                str(found["plan"]), unit, first, items, found["dtype"], documents, tokens, errors, files, layouts, notes, found.get("probe")
            )
            if files["docs"].bytes != documents * DOCUMENT.itemsize or files["codes"].bytes != tokens * DTYPES[made.dtype].itemsize:
                raise ValueError("sizes of files and counts do not fit together")
            return made
        except _WRONG as error:
            raise BitstreamError(f"{name}: damaged, no commit that can be read ({error}); prepare this unit again") from None

    def check_plan(self, path: Path, plan: str) -> None:
        """BitstreamError where it was made by another plan than that of this hash. path: of the commit."""
        if self.plan != plan:
            raise BitstreamError(
                f"{path}: of plan {self.plan[:12]}, expected {plan[:12]}: plan.json was changed, or this unit is of another run; "
                "bring back plan.json, or remove the unit"
            )

    @classmethod
    def read(cls, path: Path) -> Commit:
        return cls.of(read_json(path), str(path))


def layout_to_json(layout: Layout) -> dict[str, Any]:
    """A layout as JSON, its inverse `layout_of`."""
    stages = [{"name": stage.name, "axes": [list(axis) for axis in stage.axes], "vocab": stage.vocab} for stage in layout.stages]
    return {"signal": [list(pair) for pair in layout.signal], "cuts": list(layout.cuts), "stages": stages}


def layout_of(found: dict[str, Any]) -> Layout:
    """UsageError, KeyError, TypeError or ValueError where it is none."""
    whole = operator.index
    stages = tuple(Stage(str(s["name"]), tuple((str(n), whole(size)) for n, size in s["axes"]), whole(s["vocab"])) for s in found["stages"])
    signal = tuple((str(name), whole(value)) for name, value in found["signal"])
    return Layout(stages, tuple(whole(cut) for cut in found["cuts"]), signal)
