"""The vocabulary of a pack: which ids mean what, for one language model over all levels of all modalities.

An ordered list of ranges without gaps: special ids first, then one range per level of each modality; levels share a range where the model
shares one codebook between them. id = base of the range + code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import MAX_VOCAB, Layout

MODALITIES = ("image", "audio", "video", "shape")
SPECIALS = ("pad", "bos", "eod", "row-end", "empty")
SMALL = 65_500  # below it ids are uint16: Megatron's rule, which leaves the ids that llm.c and others use as marks alone
MAX_RANGES = 1024


@dataclass(frozen=True)
class Range:
    """ids base..base + size - 1.

    name: unique. modality, level, stages: of media, which modality's tokens, of which level (the first one, where they share), of stages
    with which names; of special ids "" or the modality that they frame, -1, and ().
    """

    name: str
    modality: str
    level: int
    base: int
    size: int
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """Ranges from 0 on without gaps. UsageError where they are not."""

    ranges: tuple[Range, ...]

    def __post_init__(self) -> None:
        if len({r.name for r in self.ranges}) < len(self.ranges) or len(self.ranges) > MAX_RANGES:
            raise UsageError(f"a vocabulary has at most {MAX_RANGES} ranges of different names, found {len(self.ranges)}")
        if tuple(r.name for r in self.ranges[: len(SPECIALS)]) != SPECIALS:
            raise UsageError(f"a vocabulary begins with {', '.join(SPECIALS)}, found {[r.name for r in self.ranges[: len(SPECIALS)]]}")
        at = 0
        for found in self.ranges:
            if found.base != at or found.size < 1:
                raise UsageError(f"range {found.name} has ids {found.base}..{found.base + found.size - 1}, expected them from {at} on")
            at += found.size
        if at > MAX_VOCAB:
            raise UsageError(f"{at} ids, expected {MAX_VOCAB} at most; prepare fewer modalities, or keep fewer stages")

    @property
    def total(self) -> int:
        """Number of ids: the size of an embedding. Trainers round it up themselves."""
        return self.ranges[-1].base + self.ranges[-1].size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of ids on disk: little-endian uint16 below 65,500 ids, else int32."""
        return np.dtype("<u2" if self.total < SMALL else "<i4")

    @cached_property
    def _by_name(self) -> dict[str, Range]:
        return {r.name: r for r in self.ranges}

    @cached_property
    def _by_stage(self) -> dict[tuple[str, str], Range]:
        return {(r.modality, stage): r for r in self.ranges for stage in r.stages}

    def special(self, name: str) -> int:
        """The id called `pad`, `bos`, `eod`, `row-end`, `empty`, `begin-image`, `end-image`, ..."""
        found = self._by_name.get(name)
        if found is None or found.stages:
            raise UsageError(f"this vocabulary has no special id {name!r}; it has {', '.join(r.name for r in self.ranges if not r.stages)}")
        return found.base

    def of_stage(self, modality: str, stage: str, size: int) -> Range:
        """The range of a stage's tokens; UsageError where there is none, or none of that size."""
        found = self._by_stage.get((modality, stage))
        if found is None or found.size < size:
            there = ", ".join(f"{r.name} ({r.size})" for r in self.ranges if r.stages)
            raise UsageError(
                f"this vocabulary has no {size} ids for stage {stage!r} of {modality}; it has {there}; pack without --vocabulary"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        ranges = [
            {"name": r.name, "modality": r.modality, "level": r.level, "base": r.base, "size": r.size, "stages": list(r.stages)}
            for r in self.ranges
        ]
        return {"total": self.total, "dtype": self.dtype.name, "ranges": ranges}

    @staticmethod
    def from_json(data: Any) -> Vocabulary:
        """Of what `to_json` gave; BitstreamError for anything else."""
        try:
            found = [
                Range(
                    str(r["name"]),
                    str(r["modality"]),
                    _whole(r["level"]),
                    _whole(r["base"]),
                    _whole(r["size"]),
                    tuple(map(str, r["stages"])),
                )
                for r in data["ranges"][: MAX_RANGES + 1]
            ]
            made = Vocabulary(tuple(found))
            if (data["total"], data["dtype"]) != (made.total, made.dtype.name):
                raise ValueError(f"{data['total']} ids as {data['dtype']}, the ranges have {made.total} as {made.dtype.name}")
            return made
        except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
            raise BitstreamError(f"not a vocabulary ({type(error).__name__}: {error})") from None


def build(layouts: Iterable[tuple[str, Layout]], shared: Collection[str] = ()) -> Vocabulary:
    """The vocabulary of all these (modality, layout).

    It depends on which layouts there are, not on their order. A range is as large as the largest vocabulary of its stages. shared: the
    modalities whose model has one codebook for all stages.
    """
    sizes: dict[str, dict[tuple[int, str], int]] = {}
    for modality, layout in layouts:
        if modality not in MODALITIES:
            raise UsageError(f"modality {modality!r}, expected one of {', '.join(MODALITIES)}")
        known = sizes.setdefault(modality, {})
        for level, stage in enumerate(layout.stages):
            known[level, stage.name] = max(known.get((level, stage.name), 0), stage.vocab)
    if not sizes:
        raise UsageError("no documents, so there is no vocabulary; prepare some first")
    there = [modality for modality in MODALITIES if modality in sizes]
    framing = [(f"{side}-{modality}", modality) for modality in there for side in ("begin", "end")]
    made = [Range(name, modality, -1, i, 1) for i, (name, modality) in enumerate([*((s, "") for s in SPECIALS), *framing])]
    for modality in there:
        for names, level, size in _groups(sizes[modality], modality in shared):
            base = made[-1].base + made[-1].size
            name = modality if modality in shared else f"{modality}.{names[0]}"
            made.append(Range(name, modality, level, base, size, names))
    return Vocabulary(tuple(made))


def _groups(sizes: Mapping[tuple[int, str], int], one: bool) -> list[tuple[tuple[str, ...], int, int]]:
    """(names of stages, level, size) of each range, of which a name is in one only."""
    by_name: dict[str, tuple[int, int]] = {}
    for (level, name), size in sorted(sizes.items()):
        first, most = by_name.get(name, (level, 0))
        by_name[name] = (first, max(most, size))
    if one:
        return [(tuple(by_name), 0, max(size for _, size in by_name.values()))]
    return [((name,), level, size) for name, (level, size) in by_name.items()]


def shares_codebook(config: Any) -> bool:
    """Whether a tokenizer's config, as its config.json has it, describes one codebook for all stages."""
    quantizer = config.get("quantizer") if isinstance(config, Mapping) else None
    if not isinstance(quantizer, Mapping):
        return False
    kind = quantizer.get("kind")
    codebook = quantizer.get("codebook")
    grouped = isinstance(codebook, Mapping) and codebook.get("kind") in ("grouped", "dual")  # several tables side by side
    return not grouped and (kind == "line" or (kind == "multi-scale" and quantizer.get("shared", True) is True))


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value
