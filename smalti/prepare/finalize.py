"""All units added up: every item is a document or a named failure, every file is what its commit says, and then dataset.json is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.prepare.codes import MANIFEST
from smalti.prepare.places import Places, digest_of, sha256_of, write_json
from smalti.prepare.plan import Plan
from smalti.prepare.records import DOCUMENT, DTYPES, Commit
from smalti.prepare.stats import Statistics, degenerate
from smalti.tokenizers.errors import BitstreamError, SignalError, UsageError


@dataclass(frozen=True)
class Whole:
    """What was added up. manifest: as written to dataset.json. doubts: a line on each model whose tokens say hardly anything."""

    manifest: dict[str, Any]
    doubts: tuple[str, ...]


def finalize(places: Places, plan: Plan, max_errors: int | None = None, force: bool = False) -> Whole:
    """Check every unit and write the manifest. max_errors: how many items may have failed; None: any number.

    BitstreamError where a unit is missing or damaged, SignalError where too many items failed or all, UsageError where tokens of a model
    say hardly anything (`stats.degenerate`) and `force` is not given.
    """
    found = added_up(places, plan)
    errors = found.manifest["errors"]
    if max_errors is not None and errors > max_errors:
        first = next(failures(places, plan))
        raise SignalError(
            f"{errors} of {plan.items} items failed, expected {max_errors} at most; the first is {first['key']}: {first['message']} "
            f"({places.codes} has all in *.errors.jsonl; --max-errors allows more)"
        )
    if not found.manifest["documents"]:
        raise SignalError(
            f"{places.folder}: none of {plan.items} items could be used; the first: {next(failures(places, plan))['message']}"
        )
    if found.doubts and not force:
        raise UsageError(f"{places.folder}: {'; '.join(found.doubts)}; look at the inputs and the model, or accept it with --force")
    write_json(places.manifest, found.manifest)
    return found


def added_up(places: Places, plan: Plan) -> Whole:
    """The manifest of what lies there, every file read and checked; BitstreamError names the first that is wrong."""
    check_inputs(places, plan)
    statistics, units, digest = Statistics(), [], hashlib.sha256()
    totals = {"documents": 0, "tokens": 0, "errors": 0}
    for number in range(plan.units):
        commit = checked_unit(places, plan, number, statistics)
        digest.update(content_of(commit, failed_items(places, commit)).encode())
        for key in totals:
            totals[key] += getattr(commit, key)
        files = {end: {"bytes": commit.files[end].bytes, "sha256": commit.files[end].sha256} for end in ("codes", "docs")}
        units.append({"documents": commit.documents, "tokens": commit.tokens, "errors": commit.errors, **files})
    models = [{**model.to_json(), "stages": statistics.of_model(number)} for number, model in enumerate(plan.models)]
    doubts = _doubts(plan, statistics)
    content = {
        "format": MANIFEST,
        "inputs_sha256": plan.inputs_sha256,
        "models": [{key: model[key] for key in ("name", "fingerprint")} for model in models],
        "units": digest.hexdigest(),
    }
    manifest = {
        "format": MANIFEST,
        "digest": digest_of(content),
        "plan": plan.hash,
        "items": plan.items,
        **totals,
        "held_out": plan.held_out,
        "identity": plan.identity,
        "policy": {"batch": plan.batch, "threads": plan.threads, "device": plan.device, "dtype": "float32", "unit": plan.unit},
        "models": models,
        "units": units,
    }
    return Whole(manifest, tuple(doubts))


def check_inputs(places: Places, plan: Plan) -> None:
    """BitstreamError where inputs.jsonl is missing or not the list that was planned."""
    if not places.inputs.is_file():
        raise BitstreamError(f"{places.inputs}: missing; get the file again, or prepare into another folder")
    if (sha := sha256_of(places.inputs)) != plan.inputs_sha256:
        raise BitstreamError(f"{places.inputs}: its hash is {sha[:12]}, expected {plan.inputs_sha256[:12]}; get the file again")


def doubts_of(places: Places, plan: Plan, unit: int) -> list[str]:
    """A line on each model whose tokens in one unit say hardly anything: better learned after the first one than after a week."""
    statistics = Statistics()
    checked_unit(places, plan, unit, statistics)
    return _doubts(plan, statistics)


def _doubts(plan: Plan, statistics: Statistics) -> list[str]:
    found = [(model.name, degenerate(statistics.of_model(number))) for number, model in enumerate(plan.models)]
    return [f"{name}: {why}" for name, why in found if why]


def checked_unit(places: Places, plan: Plan, number: int, statistics: Statistics) -> Commit:
    """The commit of a unit after its files were read whole: sizes, hashes, numbers and codes. BitstreamError names what is wrong."""
    path = places.unit(number, "json")
    if not path.is_file():
        raise BitstreamError(f"{path}: missing, so {places.folder} is not finished; run smalti prepare again, and it goes on from there")
    commit = Commit.read(path)
    _check_slice(path, plan, number, commit)
    for ending, record in commit.files.items():
        file = places.unit(number, ending)
        _check_file(path, file, record.bytes, record.sha256)
    documents = np.fromfile(places.unit(number, "docs"), DOCUMENT)
    failed = failed_items(places, commit)
    _check_documents(path, plan, commit, documents, failed)
    codes = places.unit(number, "codes")
    array = np.memmap(codes, DTYPES[commit.dtype], "r") if commit.tokens else np.zeros(0, DTYPES[commit.dtype])
    statistics.add_unit(array, documents, commit.layouts, str(codes))
    return commit


def content_of(commit: Commit, failed: list[int]) -> str:
    """SHA-256 (hex) of what a unit holds, and of which items failed; not of how their errors were worded."""
    said = commit.to_json()
    files = {end: commit.files[end].sha256 for end in ("codes", "docs")}
    return digest_of({"files": files, "failed": failed, **{key: said[key] for key in ("unit", "dtype", "layouts", "notes")}})


def failed_items(places: Places, commit: Commit) -> list[int]:
    """Numbers of the items of a unit that failed."""
    return [failure["item"] for failure in _lines(places.unit(commit.unit, "errors.jsonl"), commit.errors)]


def failures(places: Places, plan: Plan) -> Iterator[dict[str, Any]]:
    """Every item that failed in the units that are committed: its item, key, step, error and message."""
    for number in range(plan.units):
        if places.unit(number, "json").is_file():
            yield from _lines(places.unit(number, "errors.jsonl"), None)


def _lines(path: Path, count: int | None) -> list[dict[str, Any]]:
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(line["item"], int) and isinstance(line["key"], str) for line in found) or (count not in (None, len(found))):
            raise ValueError(f"{len(found)} failures, expected {count}")
        return found
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BitstreamError(f"{path}: damaged ({error}); remove the unit's .json and run smalti prepare again") from None


def _check_slice(path: Path, plan: Plan, number: int, commit: Commit) -> None:
    items = plan.slice(number)
    commit.check_plan(path, plan.hash)
    if (commit.unit, commit.first, commit.items) != (number, items.start, len(items)):
        raise BitstreamError(f"{path}: of items {commit.first}.., expected {items.start}..{items.stop - 1}; remove it and run again")
    wrong = [entry.model for entry in commit.layouts if not 0 <= entry.model < len(plan.models)]
    if wrong:
        raise BitstreamError(f"{path}: a layout of model {wrong[0]}, and the plan has {len(plan.models)}; remove it and run again")


def _check_file(commit: Path, file: Path, size: int, sha256: str) -> None:
    way_out = f"remove {commit.name} and run smalti prepare again"
    if not file.is_file():
        raise BitstreamError(f"{file}: missing, expected {size} bytes; {way_out}")
    if (found := file.stat().st_size) != size:
        raise BitstreamError(f"{file}: {found} bytes, expected {size}; {way_out}")
    if (sha := sha256_of(file)) != sha256:
        raise BitstreamError(f"{file}: damaged, its hash is {sha[:12]}, expected {sha256[:12]}; {way_out}")


def _check_documents(path: Path, plan: Plan, commit: Commit, documents: np.ndarray, failed: list[int]) -> None:
    """Every item of the slice is there once, as a document or a failure, and the documents fill the codes without gap or overlap."""
    items = plan.slice(commit.unit)
    there = np.sort(np.concatenate([documents["item"], np.array(failed, np.int64)]))
    ends = documents["start"] + documents["count"]
    kinds = np.array([min(entry.layout.count, commit.tokens + 1) for entry in commit.layouts], np.int64)  # a hostile one is any number
    numbers = documents["layout"]
    if not np.array_equal(there, np.arange(items.start, items.stop)) or np.any(np.diff(documents["item"]) <= 0):
        raise BitstreamError(f"{path}: its documents are not the items {items.start}..{items.stop - 1}, each once; remove it and run again")
    if np.any((numbers < 0) | (numbers >= len(kinds))) or np.any((documents["notes"] < 0) | (documents["notes"] >= len(commit.notes))):
        raise BitstreamError(f"{path}: a document points beyond the tables; remove it and run again")
    if len(documents) and (np.any(kinds[numbers] != documents["count"]) or not np.array_equal(np.r_[0, ends[:-1]], documents["start"])):
        raise BitstreamError(f"{path}: documents do not follow one another; remove it and run again")
    if (int(ends[-1]) if len(documents) else 0) != commit.tokens:
        raise BitstreamError(f"{path}: documents end at another place than the codes; remove it and run again")
