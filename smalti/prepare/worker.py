"""A worker process: `python -m smalti.prepare.worker`. Orders come as JSON lines on standard input, what happens goes out as JSON lines.

It ends when its standard input does: a driver that is killed leaves no worker behind. It is a program of its own, so that nothing of the
driver's has to be pickled or run again, and so that an item that kills it kills nothing else.

Orders:  {"do": "describe", "models", "device", "threads"}    {"do": "open", "folder"}
         {"do": "unit", "unit"}    {"do": "trial", "unit", "items"}    {"do": "probe", "units"}
Events:  {"event": "described", ...}  {"event": "opened"}  {"event": "items", "count"}  {"event": "committed", "unit", "documents", ...}
         {"event": "tried"}  {"event": "probed"}  {"event": "refused", "kind", "message"}
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from smalti.prepare.identity import WAY_OUT, differences, identity, probe
from smalti.prepare.inputs import Inputs
from smalti.prepare.journal import Journal
from smalti.prepare.places import Places
from smalti.prepare.plan import Plan, PlannedModel
from smalti.prepare.reading import Reader
from smalti.prepare.records import Commit
from smalti.prepare.unit import Setting, encode_alone, is_machines, run_unit
from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import ModelError, SmaltiError

Send = Callable[[dict[str, Any]], None]


def main() -> None:
    """Serve orders until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver's, who ends this process
    out = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # what libraries print is no event
    work = Work(lambda event: _write(out, event))
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, orders), daemon=True).start()
    while True:
        order = orders.get()
        try:
            work.do(order)
        except (SmaltiError, MemoryError, OSError) as error:
            _write(out, {"event": "refused", "kind": type(error).__name__, "message": _one_line(error)})


def _read(source: BinaryIO, orders: queue.Queue[dict[str, Any]]) -> None:
    for line in source:
        orders.put(json.loads(line))
    os._exit(0)  # whatever is being done: nobody waits for it, and what has no commit counts for nothing


def _write(out: Any, event: dict[str, Any]) -> None:
    data = memoryview(json.dumps(event, ensure_ascii=True).encode() + b"\n")
    while data:
        data = data[out.write(data) :]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Work:
    """What a worker does. State: the plan it works on, with its models."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.setting: Setting | None = None

    def do(self, order: dict[str, Any]) -> None:
        """One order."""
        what = order["do"]
        if what == "describe":
            self.send({"event": "described", **describe(order["models"], order["device"], order["threads"])})
        elif what == "open":
            self.setting = opened(Path(order["folder"]))
            self.send({"event": "opened"})
        elif what == "unit":
            setting, began, cpu = self._at_work(), time.monotonic(), time.process_time()
            made = run_unit(setting, order["unit"], lambda done: self.send({"event": "items", "count": done}))
            took = {"milliseconds": round(1000 * (time.monotonic() - began)), "cpu_milliseconds": round(1000 * (time.process_time() - cpu))}
            counts = {"documents": made.documents, "tokens": made.tokens, "errors": made.errors, **took}
            self.send({"event": "committed", "unit": order["unit"], **counts})
        elif what == "trial":
            self._trial(order["unit"], order["items"])
        elif what == "probe":
            for unit in order["units"]:
                check_probe(self._at_work(), unit)
            self.send({"event": "probed"})

    def _at_work(self) -> Setting:
        assert self.setting is not None
        return self.setting

    def _trial(self, unit: int, items: Sequence[int]) -> None:
        """Read and encode items one at a time, to learn which of them kills."""
        setting = self._at_work()
        with Journal(setting.places, f"unit-{unit:06d}") as journal:
            for item in items:
                with journal.during([item]):
                    try:
                        encode_alone(setting, item)
                    except Exception as error:  # which its unit will tell
                        if is_machines(error):
                            raise
        self.send({"event": "tried", "unit": unit})


def describe(models: Sequence[str], device: str, threads: int) -> dict[str, Any]:
    """What a plan says of its models and of this machine."""
    from smalti.media import modality_of_kind
    from smalti.prepare.run import device_of
    from smalti.tokenizers import zoo

    _set_threads(threads)
    device, found = device_of(device), []
    for reference in models:
        info = zoo.find(reference)
        modality, tokenizer = modality_of_kind(info.kind), zoo.load_model(info, device)
        about = PlannedModel(info.reference, info.name, info.kind, modality, tokenizer.fingerprint, info.config, probe(tokenizer, modality))
        found.append(about.to_json())
    return {"device": device, "models": found, "identity": identity([model["modality"] for model in found], device)}


def opened(folder: Path) -> Setting:
    """The plan of a folder with its models, checked to give here what they gave when it was made; ModelError where they do not."""
    places = Places(folder)
    plan = Plan.read(places)
    _set_threads(plan.threads)
    if wrong := differences(plan.identity, identity([model.modality for model in plan.models], plan.device)):
        raise ModelError(f"{folder}: codes made here would differ from those that are there: {'; '.join(wrong)}; {WAY_OUT}")
    reader = Reader(plan.source["root"], plan.source["column"], plan.source["files"])
    models = Models(plan)
    for number, model in enumerate(plan.models):
        if model.items:
            _ = models[number]  # before there is work, whose time it would be taken for
    return Setting(places, plan, Inputs(places, plan.items), reader, models)


def _set_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


class Models(Mapping[int, Tokenizer]):
    """The plan's models by number, loaded and checked when they are asked for."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._loaded: dict[int, Tokenizer] = {}

    def __getitem__(self, number: int) -> Tokenizer:
        if number not in self._loaded:
            self._loaded[number] = load_planned(self.plan.models[number], self.plan.device, "any" not in self.plan.identity)
        return self._loaded[number]

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.plan.models)))

    def __len__(self) -> int:
        return len(self.plan.models)


def load_planned(model: PlannedModel, device: str, same_machine: bool = True) -> Tokenizer:
    """A model of a plan; ModelError where it has other weights by now, or gives other tokens here (same_machine: where it must not)."""
    from smalti.tokenizers import zoo

    info = zoo.find(model.reference)
    if (found := zoo.fingerprint_of(info)) != model.fingerprint:
        raise ModelError(
            f"{model.name}: its weights are {found[:12]}, and the codes were made by {model.fingerprint[:12]}; "
            f"bring back that model ({model.reference}), or prepare into another folder"
        )
    tokenizer = zoo.load_model(info, device)
    if same_machine and probe(tokenizer, model.modality) != model.probe:
        raise ModelError(f"{model.name}: gives other tokens of a made-up signal than when the plan was made; {WAY_OUT}")
    return tokenizer


def check_probe(setting: Setting, unit: int) -> None:
    """Encode the probe of a committed unit again; ModelError where its tokens are others now."""
    wanted = Commit.read(setting.places.unit(unit, "json")).probe
    if wanted is None or "any" in setting.plan.identity:
        return
    item = int(wanted["item"])
    try:
        tokens = encode_alone(setting, item)
    except SmaltiError as error:
        raise ModelError(
            f"{setting.inputs[item].key}: cannot be encoded again to check unit {unit} ({error}); bring back its file"
        ) from None
    if tokens.digest() != wanted["sha256"]:
        raise ModelError(
            f"{setting.inputs[item].key}: gives other tokens than in unit {unit}, which is there: its file, the model or the machine "
            f"is another one; {WAY_OUT}"
        )


if __name__ == "__main__":
    main()
