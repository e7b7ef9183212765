"""Tokens that were made elsewhere, as a prepared folder: for packs and readers it is one like any other.

write_codes("OUT", [PlannedModel(...)], [("a", 0, tokens), ("b", 0, tokens)])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from smalti.prepare.codes import Codes, open_codes
from smalti.prepare.commit import Draft
from smalti.prepare.finalize import finalize
from smalti.prepare.inputs import Input, freeze
from smalti.prepare.places import Places, make_folder, write_json
from smalti.prepare.plan import Plan, PlannedModel
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import Tokens

UNIT = 2048


def write_codes(
    folder: str | os.PathLike[str],
    models: Sequence[PlannedModel],
    items: Sequence[tuple[str, int, Tokens]],
    held_out: float = 0.0,
    unit: int = UNIT,
) -> Codes:
    """The codes of these (key, number of the model, tokens) in a new folder, finished. held_out: share of keys kept from training.

    UsageError where the folder is in use, keys repeat, or tokens hold only some regions.
    """
    places = Places(Path(folder))
    if places.plan.exists():
        raise UsageError(f"{folder}: in use, expected an empty place; choose another folder")
    make_folder(places.codes)
    frozen = freeze(places, (Input(key, model, key) for key, model, _ in items), len(models))
    source = {"given": "", "kind": "tokens", "root": "", "column": "", "files": []}  # as `sources` has it; nothing to read again
    plan = Plan(source, len(items), frozen.sha256, tuple(models), unit, 1, 1, "cpu", held_out, {"engine": "imported"})
    write_json(places.plan, plan.to_json())
    for number in range(plan.units):
        chosen = plan.slice(number)
        with Draft(places) as draft:
            for item in chosen:
                draft.add(item, items[item][1], items[item][2])
            draft.commit(plan.hash, number, chosen.start, len(chosen), ())
    finalize(places, plan, force=True)
    return open_codes(folder)
