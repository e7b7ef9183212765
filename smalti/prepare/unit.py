"""A unit of work: a slice of the plan's items becomes files and a commit. Nothing else goes in: whoever does it gets the same bytes.

Items are read and decoded in threads ahead of the network, and handed to it in the order of the plan.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.codecs.media.files import reason
from smalti.prepare.batches import Batcher, Waiting, shape_of, waiting_for
from smalti.prepare.commit import Draft, Failure
from smalti.prepare.inputs import Inputs
from smalti.prepare.journal import Journal, quarantined
from smalti.prepare.places import Places
from smalti.prepare.plan import Plan
from smalti.prepare.reading import Reader, lines_after
from smalti.prepare.records import Commit
from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import SmaltiError
from smalti.tokenizers.tokens import Tokens

DECODERS = 2  # threads that read and decode
AHEAD = 2  # batches that may wait, decoded
AHEAD_ELEMENTS = 2**26  # numbers in them
CANDIDATES = 8  # for the item that is encoded again to see whether codes come back
LARGEST_PROBE = 2**16  # tokens


@dataclass(frozen=True)
class Setting:
    """What units are done with. tokenizers: by number in the plan."""

    places: Places
    plan: Plan
    inputs: Inputs
    reader: Reader
    tokenizers: Mapping[int, Tokenizer]


def run_unit(setting: Setting, number: int, report: Callable[[int], None] = lambda done: None) -> Commit:
    """Do one unit and commit it. report: told how many more items are done.

    Items that cannot be read or encoded are failures of the unit. Raises what is nobody's fault but the machine's: MemoryError, OSError.
    """
    plan, items = setting.plan, setting.plan.slice(number)
    kept_out = quarantined(setting.places, items)
    failures = list(kept_out.values())
    probes = _Probes(plan, number)
    with Draft(setting.places) as draft, Journal(setting.places, f"unit-{number:06d}") as journal:
        report(len(failures))
        batcher = Batcher(plan.batch)

        def encode(batch: list[Waiting]) -> None:
            for waiting, result in zip(batch, _encoded(setting, batch, journal), strict=True):
                if isinstance(result, Tokens):
                    probes.see(waiting, result, len(batch))
                    draft.add(waiting.item, waiting.model, result, (*waiting.read.notes, *lines_after(waiting.read.signal)))
                else:
                    failures.append(_failure(setting, waiting.item, "encode", result))
            report(len(batch))

        wanted = [item for item in items if item not in kept_out]
        for item, found in read_ahead(setting, wanted, journal):
            shape = None
            if isinstance(found, Waiting):
                try:
                    shape = shape_of(setting.tokenizers[found.model], found.read.signal)
                except SmaltiError as error:
                    found = error
            if isinstance(found, Waiting):
                for batch in batcher.add(found, shape):
                    encode(batch)
            else:
                failures.append(_failure(setting, item, "read", found))
                report(1)
        for batch in batcher.rest():
            encode(batch)
        probe = probes.choose(setting, journal)
        return draft.commit(plan.hash, number, items.start, len(items), failures, probe)


def encode_alone(setting: Setting, item: int) -> Tokens:
    """The tokens of one item, in a batch of its own."""
    planned = setting.inputs[item]
    read = setting.reader.read(planned, setting.plan.models[planned.model].modality)
    (tokens,) = setting.tokenizers[planned.model].encode([read.signal])
    return tokens


def read_ahead(setting: Setting, items: list[int], journal: Journal) -> Iterator[tuple[int, Waiting | Exception]]:
    """Every item with its signal, or why there is none, in this order; a few more are decoded meanwhile, within bounds of memory."""
    most = max(AHEAD * setting.plan.batch, DECODERS)
    waiting: deque[tuple[int, Future[Waiting]]] = deque()
    left = iter(items)
    with ThreadPoolExecutor(DECODERS) as threads:
        try:
            while True:
                while len(waiting) < DECODERS or (len(waiting) < most and _elements(waiting) < AHEAD_ELEMENTS):
                    item = next(left, None)
                    if item is None:
                        break
                    waiting.append((item, threads.submit(_read, setting, item, journal)))
                if not waiting:
                    return
                item, future = waiting.popleft()
                error = future.exception()
                if error is not None and (is_machines(error) or not isinstance(error, Exception)):
                    raise error
                yield item, future.result() if error is None else error
                del future
        finally:
            for _, future in waiting:
                future.cancel()


def _elements(waiting: deque[tuple[int, Future[Waiting]]]) -> int:
    return sum(future.result().elements for _, future in waiting if future.done() and future.exception() is None)


def _read(setting: Setting, item: int, journal: Journal) -> Waiting:
    with journal.during([item]):
        planned = setting.inputs[item]
        return waiting_for(item, planned.model, setting.reader.read(planned, setting.plan.models[planned.model].modality))


def _encoded(setting: Setting, batch: list[Waiting], journal: Journal) -> list[Tokens | Exception]:
    """Tokens of each, or why there are none: what fails together is tried one by one."""
    tokenizer = setting.tokenizers[batch[0].model]
    try:
        with journal.during([waiting.item for waiting in batch]):
            return list(tokenizer.encode([waiting.read.signal for waiting in batch]))
    except Exception as error:
        if is_machines(error):
            raise
        if len(batch) == 1:
            return [error]
        return [result for waiting in batch for result in _encoded(setting, [waiting], journal)]


def is_machines(error: BaseException) -> bool:
    """Whether the machine is at fault and not the item: no memory, no disk."""
    out_of_memory = type(error).__name__ == "OutOfMemoryError"  # of torch
    return out_of_memory or isinstance(error, MemoryError) or (isinstance(error, OSError) and not isinstance(error, SmaltiError))


def _failure(setting: Setting, item: int, step: str, error: Exception) -> Failure:
    return Failure(item, setting.inputs[item].key, step, type(error).__name__, reason(error))


@dataclass
class _Probe:
    item: int
    tokens: Tokens
    batch: int


class _Probes:
    """Picks an item of a unit that tells later whether this machine still gives the same codes. State: candidates seen."""

    def __init__(self, plan: Plan, number: int) -> None:
        items = plan.slice(number)
        self.candidates = set(random.Random(f"{plan.hash}/{number}").sample(items, min(CANDIDATES, len(items))))
        self.seen: list[_Probe] = []

    def see(self, waiting: Waiting, tokens: Tokens, batch: int) -> None:
        if waiting.item in self.candidates and tokens.count <= LARGEST_PROBE:
            self.seen.append(_Probe(waiting.item, tokens, batch))

    def choose(self, setting: Setting, journal: Journal) -> dict[str, Any] | None:
        """The smallest of the candidates, encoded alone: its item, the digest of its tokens, and how many differ from the batch's."""
        if not self.seen:
            return None
        chosen = min(self.seen, key=lambda probe: (probe.tokens.count, probe.item))
        if chosen.batch == 1:
            return {"item": chosen.item, "tokens": chosen.tokens.count, "sha256": chosen.tokens.digest(), "flips": 0}
        with journal.during([chosen.item]):
            alone = encode_alone(setting, chosen.item)
        return {"item": chosen.item, "tokens": alone.count, "sha256": alone.digest(), "flips": flips(alone, chosen.tokens)}


def flips(a: Tokens, b: Tokens) -> int:
    """How many tokens differ; all of them where the layouts do."""
    if a.layout != b.layout:
        return max(a.count, b.count)
    return sum(int(np.count_nonzero(x != y)) for x, y in zip(a.arrays, b.arrays, strict=True))
