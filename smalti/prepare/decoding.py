"""Documents back to signals, by the very models that made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from smalti.prepare.codes import Codes, Document
from smalti.prepare.identity import differences, identity, probe
from smalti.prepare.plan import Plan
from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.signals import Signal


@dataclass
class Decoder:
    """Loads each model of a folder once. model: where the weights of one lie now, if not where the plan says. State: the models, and
    `said`, a line where this machine gives other tokens than the one that made the codes, which keeps nothing from being decoded."""

    codes: Codes
    device: str = "cpu"
    model: str | None = None
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._loaded: dict[int, Tokenizer] = {}

    def decode(self, document: Document, stages: int | None = None) -> Signal:
        """The signal of a document, from all its stages or the first."""
        tokens = document.tokens if stages is None else document.tokens.prefix(stages)
        (signal,) = self.tokenizer(document.model).decode([tokens])
        return signal

    def tokenizer(self, number: int) -> Tokenizer:
        """A model by its number in the plan. ModelError where its weights are others, or where it gives other tokens on a like machine."""
        if number not in self._loaded:
            self._loaded[number] = self._load(self.codes.models[number])
        return self._loaded[number]

    def _load(self, about: dict[str, Any]) -> Tokenizer:
        from smalti.tokenizers import zoo

        given = zoo.find(self.model) if self.model is not None else None
        is_it = given is not None and zoo.fingerprint_of(given) == about["fingerprint"]
        info = given if given is not None and is_it else zoo.find(about["reference"])
        if (found := zoo.fingerprint_of(info)) != about["fingerprint"]:
            raise ModelError(
                f"{self.codes.places.folder}: made by {about['name']} ({about['fingerprint'][:12]}), found {info.name} ({found[:12]}); "
                "name the folder of that very model with -m"
            )
        tokenizer = zoo.load_model(info, self.device)
        plan = Plan.read(self.codes.places)
        if _probed(tokenizer, about["modality"], plan.threads) != about["probe"]:
            others = differences(plan.identity, identity([model["modality"] for model in self.codes.models], self.device))
            if not others and self.device == plan.device:
                raise ModelError(
                    f"{info.name}: gives other tokens of a made-up signal than when {self.codes.places.folder} was planned, on a machine "
                    "that is the same; is the model's code another one?"
                )
            self.said.append(f"{info.name} gives other tokens of a made-up signal here: {'; '.join(others) or 'another device'}")
        return tokenizer


def _probed(tokenizer: Tokenizer, modality: str, threads: int) -> str:
    """The probe by as many threads as the codes were made by: another number may round otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return probe(tokenizer, modality)
    finally:
        torch.set_num_threads(before)
