"""Is a prepared folder whole, and do its codes still come from its inputs and go back to signals?"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.prepare.codes import Codes
from smalti.prepare.decoding import Decoder
from smalti.prepare.finalize import added_up, checked_unit
from smalti.prepare.folder import committed
from smalti.prepare.inputs import Inputs
from smalti.prepare.packs.pack import problems_of
from smalti.prepare.plan import Plan
from smalti.prepare.reading import Reader
from smalti.prepare.stats import Statistics
from smalti.prepare.unit import Setting, encode_alone, flips
from smalti.prepare.worker import Models
from smalti.tokenizers.errors import BitstreamError, ModelError, SmaltiError

ITEMS = 8  # that are encoded again and decoded
MOST_FLIPS = 0.01  # of tokens: what another batch or machine may do; other weights change nearly all


@dataclass(frozen=True)
class Verdict:
    """problems: a line on each thing that is wrong; none: whole. notes: on what could not be checked, or differs harmlessly. encoded,
    decoded: documents that were. flip_rate: share of tokens that came out otherwise, None where none was encoded."""

    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    encoded: int = 0
    decoded: int = 0
    flip_rate: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"encoded": self.encoded, "decoded": self.decoded, "flip_rate": self.flip_rate, "notes": list(self.notes)}


def verify(
    folder: str | os.PathLike[str], deep: bool = False, items: int = ITEMS, device: str = "cpu", seed: int = 0, model: str | None = None
) -> Verdict:
    """Check sizes against the commits, of packs too; deep: hashes, every code, the manifest, and a few documents encoded again and decoded.
    model: as for `Decoder`.

    UsageError where it is no finished folder.
    """
    try:
        codes = Codes(folder)
        plan = Plan.read(codes.places)
        committed(codes.places, plan)
    except BitstreamError as error:
        wrong = _all_units(Path(folder)) if deep else []
        return Verdict(tuple(dict.fromkeys([str(error), *wrong])))
    of_packs = problems_of(codes.places.packs, codes.digest, deep)
    if not deep:
        return Verdict(tuple(of_packs))
    wrong = _all_units(codes.places.folder)
    if not wrong:
        try:
            found = added_up(codes.places, plan).manifest
            codes.inputs.check()
            if found != codes.manifest:
                keys = [key for key in found if found[key] != codes.manifest.get(key)]
                wrong = [f"{codes.places.manifest}: {', '.join(keys)} are not those of the units; remove it and run smalti prepare again"]
        except BitstreamError as error:
            wrong = [str(error)]
    wrong += of_packs
    return Verdict(tuple(wrong)) if wrong or not len(codes) else _again(codes, plan, items, seed, Decoder(codes, device, model))


def _all_units(folder: Path) -> list[str]:
    """A line on each unit that is not whole."""
    from smalti.prepare.places import Places

    places = Places(folder)
    wrong = []
    try:
        plan = Plan.read(places)
    except BitstreamError as error:
        return [str(error)]
    for number in range(plan.units):
        try:
            checked_unit(places, plan, number, Statistics())
        except BitstreamError as error:
            wrong.append(str(error))
    return wrong


def _again(codes: Codes, plan: Plan, items: int, seed: int, decoder: Decoder) -> Verdict:
    """Encode and decode a few documents."""
    chosen = sorted(random.Random(f"{seed}/{codes.digest}").sample(range(len(codes)), min(items, len(codes))))
    reader = Reader(plan.source["root"], plan.source["column"], plan.source["files"])
    problems, notes, changed, counted, decoded = [], [], 0, 0, 0
    encoded = 0
    try:
        setting = Setting(codes.places, plan, Inputs(codes.places, plan.items), reader, _Loaded(plan, decoder))
        for number in chosen:
            document = codes.document(number)
            try:
                decoder.decode(document)
                decoded += 1
            except ModelError:
                raise
            except SmaltiError as error:
                problems.append(f"{document.key}: does not decode: {error}")
            try:
                found = encode_alone(setting, document.item)
            except ModelError:
                raise
            except SmaltiError as error:
                notes.append(f"{document.key}: cannot be encoded again: {error}")
                continue
            encoded, counted = encoded + 1, counted + document.tokens.count
            changed += flips(found, document.tokens)
    except ModelError as error:
        return Verdict((*problems, str(error)), tuple(notes), encoded, decoded, None)
    rate = changed / counted if counted else None
    if rate is not None and rate > MOST_FLIPS:
        problems.append(f"{rate:.1%} of the tokens of {encoded} documents come out otherwise: other files, weights or code made them")
    return Verdict(tuple(problems), (*notes, *decoder.said), encoded, decoded, rate)


class _Loaded(Models):
    """The models that a decoder has loaded."""

    def __init__(self, plan: Plan, decoder: Decoder) -> None:
        super().__init__(plan)
        self.decoder = decoder

    def __getitem__(self, number: int) -> Any:
        return self.decoder.tokenizer(number)
