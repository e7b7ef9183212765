"""The plan of a prepared folder: what is done, by which models, in what way. Written once; every commit carries its hash."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

from smalti.prepare.places import Places, digest_of, read_json
from smalti.tokenizers.errors import BitstreamError

FORMAT = "smalti.plan.1"
UNIT_ITEMS = {"image": 2048, "audio": 64, "video": 8, "shape": 256}  # by default; of a mixed folder the least
MAX_ITEMS = 2**40
MOST_UNITS = 2**18  # each has a line in the manifest


@dataclass(frozen=True)
class PlannedModel:
    """A model of the plan. reference: name@number or folder, to load it by. probe: digest of its tokens of a made-up signal. items: how
    many it takes."""

    reference: str
    name: str
    kind: str
    modality: str
    fingerprint: str
    config: dict[str, Any]
    probe: str
    items: int = 0

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Plan:
    """source: what SRC was: "kind" and "path". items: how many. inputs_sha256: of inputs.jsonl.

    unit: items a unit. batch: items that the network sees together at most. threads: of the network, in each worker: another number may
    give other codes. device: "cpu" or "cuda". held_out: share of keys that is kept from training. identity: what else codes depend on.
    """

    source: dict[str, Any]
    items: int
    inputs_sha256: str
    models: tuple[PlannedModel, ...]
    unit: int
    batch: int
    threads: int
    device: str
    held_out: float
    identity: dict[str, str]

    @property
    def units(self) -> int:
        """How many there are; the last may be smaller."""
        return -(-self.items // self.unit)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of all but the place of the source."""
        return digest_of({key: value for key, value in self.to_json().items() if key != "source"})

    def slice(self, unit: int) -> range:
        """The items of a unit."""
        return range(unit * self.unit, min((unit + 1) * self.unit, self.items))

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **vars(self), "models": [model.to_json() for model in self.models]}

    @classmethod
    def read(cls, places: Places) -> Plan:
        """BitstreamError where it is missing or damaged."""
        found, whole = read_json(places.plan), operator.index
        try:
            if found.pop("format") != FORMAT:
                raise ValueError(f"of another format than {FORMAT}")
            made = cls(**{**found, "models": tuple(PlannedModel(**model) for model in found["models"])})
            if not (0 <= whole(made.items) <= MAX_ITEMS and whole(made.unit) >= 1 and whole(made.batch) >= 1 and whole(made.threads) >= 1):
                raise ValueError("counts out of range")
            if not (math.isfinite(made.held_out) and 0 <= made.held_out <= 1 and made.device in ("cpu", "cuda") and made.models):
                raise ValueError("values out of range")
            if made.units > MOST_UNITS:  # before anybody counts through them
                raise ValueError(f"{made.units} units, expected {MOST_UNITS} at most")
            _check_texts(made)
            return made
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BitstreamError(f"{places.plan}: damaged, no plan that can be read ({error}); prepare into another folder") from None


def _check_texts(plan: Plan) -> None:
    """KeyError, TypeError or ValueError where what should be text, or sizes of files by name, is none."""
    source = [plan.source[name] for name in ("given", "kind", "root", "column")]
    models = [value for model in plan.models for name, value in vars(model).items() if name not in ("config", "items")]
    sizes = dict(plan.source["files"])
    if not all(isinstance(value, str) for value in (*source, *models, *sizes, *plan.identity.values(), plan.inputs_sha256)):
        raise ValueError("names that are no text")
    for value in (*sizes.values(), *(model.items for model in plan.models)):
        operator.index(value)
