"""What is measured of one shape: ours and all rivals at each number of bytes. A module of its own, since worker processes import it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from smalti.metrics.surfaces import ceiling, compared, f_score
from smalti.recipes.models import codec
from smalti.recipes.shape_data import Source
from smalti.recipes.shape_table.rivals import Library, Offer, best_within, boxes, draco, measured
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.shape.basis import FINENESSES
from smalti.tokenizers.signals import Shape, Signal
from smalti.tokenizers.tokens import Tokens

FAMILIES = ("draco", "boxes", "nearest")


# ways of `shape-basis` that an ablation can leave out
WAYS: dict[str, Callable[[Tokens], bool]] = {
    "meshes": lambda way: way.layout.stages[-1].name == "vertices",
    "scales": lambda way: way.layout.stages[-1].name.startswith("scale"),
    "primitives": lambda way: way.layout.stages[0].name == "plan" and int(way.arrays[0][0]) >= FINENESSES,
}


@dataclass(frozen=True)
class Scores:
    """bytes: of the whole file. f2, f1: F-scores at 2 and 1 percent. chamfer: L1, in the longest side."""

    way: str
    bytes: int
    f2: float
    f1: float
    chamfer: float


def scores(way: str, size: int, shape: Shape, decoded: Shape | None) -> Scores:
    """Of one pair; nothing where a codec has no file that small: F-score 0, Chamfer 1."""
    found = compared(shape, decoded) if decoded is not None else None
    if found is None or found.of_decoded is None or found.of_reference is None:
        return Scores(way, size, 0.0, 0.0, 1.0)
    there, back = found.of_decoded.values, found.of_reference.values
    return Scores(way, size, f_score(there, back, 0.02), f_score(there, back, 0.01), float(there.mean() + back.mean()) / 2)


_library: Library | None = None
_codec: Any = None


class Fewer:
    """A tokenizer of shapes that leaves some of its ways out. without: of `WAYS`."""

    def __init__(self, tokenizer: Any, without: Sequence[str]) -> None:
        self.tokenizer, self.without = tokenizer, without

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def variants(self, signal: Signal) -> list[Tokens]:
        """Those of the tokenizer that are not left out."""
        return [way for way in self.tokenizer.variants(signal) if not any(WAYS[name](way) for name in self.without)]


def start(model: str, train: str, without: Sequence[str] = ()) -> None:
    """What a process needs once. train: "" where no rivals are measured."""
    global _library, _codec
    if train:
        source = Source(train)
        _library = Library([source.read(name) for name in source.names])
    _codec = codec(model)
    if without:
        _codec.tokenizer = Fewer(_codec.tokenizer, without)


def row_of(source: Source, name: str, sizes: Sequence[int]) -> dict[str, Any]:
    """All that is measured of one shape, as plain values."""
    shape = source.read(name)
    offers = {}
    if _library is not None:
        offers = {
            "draco": measured(shape, draco(shape, max(sizes))),
            "boxes": measured(shape, boxes(shape, max(sizes))),
            "nearest": measured(shape, [_library.offer(shape)]),
        }
    out: dict[str, Any] = {"name": name, "faces": len(shape.faces) if shape.faces is not None else 0}
    out["ceiling"] = [ceiling(shape, 0.02), ceiling(shape, 0.01)]
    for size in sizes:
        try:
            data = _codec.compress(shape, Target(bytes=size))
            ours = scores("ours", len(data), shape, _codec.decompress(data))
        except UsageError as error:
            ours = scores(str(error), 0, shape, None)
        found = {"ours": ours}
        for family, all_offers in offers.items():
            best: Offer | None = best_within(all_offers, size)
            found[family] = scores(best.name, best.bytes, shape, best.shape) if best is not None else scores("none fits", 0, shape, None)
        out[str(size)] = {key: vars(value) for key, value in found.items()}
    return out
