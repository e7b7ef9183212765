"""Which items the network sees together. Fixed by the plan alone: the order of the items, their sizes and `batch`.

Codes flip where two entries are nearly equally near and the shape of a batch changes the rounding. So a batch holds items of one shape in
the order of the plan, whoever works on the unit and however often: never what happens to be ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from smalti.prepare.reading import Read, elements
from smalti.tokenizers.audio.sounds import size_of_sound
from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.signals import Audio, Image, Signal

MOST_ELEMENTS = 2**26  # pixels times 3, or samples, that wait for others of their shape: 64 to 256 MB


@dataclass(frozen=True)
class Waiting:
    """An item that was read."""

    item: int
    model: int
    read: Read
    elements: int


@dataclass
class Batcher:
    """Groups items by shape. State: those that wait."""

    most: int
    groups: dict[Any, list[Waiting]] = field(default_factory=dict)
    held: int = 0

    def add(self, waiting: Waiting, shape: Any) -> Iterator[list[Waiting]]:
        """The batches that are full by this item; shape None: it goes alone."""
        if shape is None:
            yield [waiting]
            return
        group = self.groups.setdefault(shape, [])
        group.append(waiting)
        self.held += waiting.elements
        if len(group) >= self.most:
            yield self._taken(shape)
        while self.held > MOST_ELEMENTS:
            yield self._taken(next(iter(self.groups)))  # the one that has waited longest

    def rest(self) -> Iterator[list[Waiting]]:
        """What still waits, in the order in which it began to."""
        while self.groups:
            yield self._taken(next(iter(self.groups)))

    def _taken(self, shape: Any) -> list[Waiting]:
        group = self.groups.pop(shape)
        self.held -= sum(waiting.elements for waiting in group)
        return group


def shape_of(tokenizer: Tokenizer, signal: Signal) -> Any:
    """What items of one batch have in common: the shapes of their stages. None for films and shapes, which go alone. Raises what the
    tokenizer raises for a signal of a size that it does not take."""
    if isinstance(signal, Image):
        layout = tokenizer.layout((("height", signal.height), ("width", signal.width)))
    elif isinstance(signal, Audio):
        layout = tokenizer.layout(size_of_sound(signal).signal)
    else:
        return None
    return tuple(stage.shape for stage in layout.stages)


def waiting_for(item: int, model: int, read: Read) -> Waiting:
    return Waiting(item, model, read, elements(read.signal))
