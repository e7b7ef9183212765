"""The local engine: worker processes, one per core or GPU, each at one unit; what to do when one of them dies.

A worker that dies was at some items (see `journal`). They are tried one by one in a process of their own: whoever kills that one too has
killed twice and is kept out from then on, the others are cleared, and the unit is done again without it. Some signals come from outside (by
a person, a scheduler, or the kernel in want of memory, for which another process is to blame), and count only when they come in two trials.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import smalti
from smalti.prepare.commit import Failure
from smalti.prepare.inputs import Inputs
from smalti.prepare.journal import forget, in_flight, left_behind, quarantine
from smalti.prepare.places import Places
from smalti.prepare.plan import Plan
from smalti.tokenizers import errors
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError

WORKER = (sys.executable, "-m", "smalti.prepare.worker")
MOST_DEATHS = 5  # of workers at one unit in one run, when no item alone is to blame
# of a unit; its times are from the first item to the commit, on the clock and on all cores together
COUNTS = ("documents", "tokens", "errors", "milliseconds", "cpu_milliseconds")
LINES = 2**22  # bytes of an event
FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGPWR")


@dataclass(frozen=True)
class Event:
    """What happened. kind: "items" (of a unit `count` more are done), "committed" (it is whole; `COUNTS`), "lost" (it begins again)."""

    kind: str
    unit: int
    counts: dict[str, int]


class Engine(Protocol):
    """Whoever gets units done: the same function on the same numbers, in any order and anywhere."""

    def run(self, units: Sequence[int], report: Callable[[Event], None]) -> None:
        """Do all units; `report` is told of what is done, and may raise to stop."""


@dataclass
class LocalEngine:
    """jobs: worker processes. command: that starts one. Raises as workers do; ModelError where they die and no item is to blame."""

    folder: Path
    plan: Plan
    jobs: int
    command: tuple[str, ...] = WORKER
    workers: list[Worker] = field(default_factory=list)

    def run(self, units: Sequence[int], report: Callable[[Event], None]) -> None:
        """All units; workers are started as they are needed and ended when all is done, or nothing more can be."""
        try:
            self.run_on(units, report)
        finally:
            self.close()

    def run_on(self, units: Sequence[int], report: Callable[[Event], None]) -> None:
        """The same, and the workers stay for more units."""
        _Run(self, units, report).go()

    def close(self) -> None:
        for worker in self.workers:
            worker.end()
        self.workers.clear()

    def start(self) -> Worker:
        """One more worker, the plan open in it."""
        slot = next(number for number in range(len(self.workers) + 1) if number not in {worker.slot for worker in self.workers})
        worker = Worker(self.command, self.plan.threads, slot if self.plan.device == "cuda" else None)
        worker.slot = slot
        self.workers.append(worker)
        worker.send({"do": "open", "folder": str(self.folder)})
        return worker


class Worker:
    """A worker process. State: the order that it is at."""

    def __init__(self, command: Sequence[str], threads: int, accelerator: int | None = None) -> None:
        environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
            environment[name] = str(threads)
        home = str(Path(smalti.__file__).resolve().parents[1])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (home, environment.get("PYTHONPATH"))))
        if accelerator is not None:
            environment["CUDA_VISIBLE_DEVICES"] = _accelerator(accelerator)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0)
        self.slot = 0
        self.order: dict[str, Any] = {}
        self.held = b""

    def send(self, order: dict[str, Any]) -> None:
        self.order = order
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead, which shows when one reads
            self.process.stdin.write(json.dumps(order).encode() + b"\n")

    def events(self) -> list[dict[str, Any]] | None:
        """What it said since; None where it is dead. Blocks until there is something."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), LINES)
        if not data:
            return None
        *lines, self.held = (self.held + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to one order; raises what the worker refused, ModelError where it died."""
        self.send(order)
        while (found := self.events()) is not None:
            for event in found:
                if event["event"] != "items":
                    self.order = {}
                    raise_refusal(event)
                    return event
        raise ModelError(f"a worker ended ({self.how()}) while it was to {order['do']}; is there enough memory?")

    def how(self) -> str:
        """How a process that is dead ended."""
        code = self.process.wait()
        if code >= 0:
            return f"exit code {code}"
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"

    def end(self) -> None:
        """Nothing of it is left when this returns."""
        with contextlib.suppress(OSError):
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def raise_refusal(event: dict[str, Any]) -> None:
    """Raise what a worker refused, as an error of the same kind."""
    if event["event"] != "refused":
        return
    kind = getattr(errors, event["kind"], None)
    if isinstance(kind, type) and issubclass(kind, SmaltiError):
        raise kind(event["message"])
    raise UsageError(f"a worker cannot go on: {event['kind']}: {event['message']}")


class _Run:
    """One run of an engine. State: units and trials that are left, and how often each unit lost its worker."""

    def __init__(self, engine: LocalEngine, units: Sequence[int], report: Callable[[Event], None]) -> None:
        self.engine, self.report = engine, report
        self.places = Places(engine.folder)
        self.orders: deque[dict[str, Any]] = deque()
        wanted = set(units)
        for unit, items in self._left_behind(wanted):
            self.orders.append({"do": "trial", "unit": unit, "items": items})
            wanted.discard(unit)
        self.orders.extend({"do": "unit", "unit": unit} for unit in sorted(wanted))
        self.deaths: Counter[int] = Counter()  # by unit
        self.suspected: Counter[int] = Counter()  # by item, in trials

    def _left_behind(self, units: Iterable[int]) -> list[tuple[int, list[int]]]:
        """Units whose worker died together with its driver, with the items that it was at."""
        found = []
        for name, items in left_behind(self.places):
            number = name.removeprefix("unit-")
            if number.isdecimal() and int(number) in units and items:
                found.append((int(number), items))
        return found

    def go(self) -> None:
        with selectors.DefaultSelector() as selector:
            for worker in self.engine.workers:
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
            while self.orders or any(worker.order for worker in self.engine.workers):
                self._employ(selector)
                for key, _ in selector.select():
                    self._hear(key.data, selector)

    def _employ(self, selector: selectors.BaseSelector) -> None:
        """Give orders to whoever has none, and start workers while there is more to do than there are."""
        for worker in self.engine.workers:
            if not worker.order and self.orders:
                worker.send(self.orders.popleft())
        while self.orders and len(self.engine.workers) < self.engine.jobs:
            if sum(worker.order.get("do") == "open" for worker in self.engine.workers) >= len(self.orders):
                break  # those that are on their way will do
            worker = self.engine.start()
            selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]

    def _hear(self, worker: Worker, selector: selectors.BaseSelector) -> None:
        found = worker.events()
        if found is None:
            selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
            self._bury(worker)
            return
        for event in found:
            raise_refusal(event)
            if event["event"] == "items":
                self.report(Event("items", worker.order["unit"], {"count": event["count"]}))
                continue
            order, worker.order = worker.order, {}
            if event["event"] == "committed":
                self.report(Event("committed", event["unit"], {key: event[key] for key in COUNTS}))
            elif event["event"] == "tried":
                self.orders.appendleft({"do": "unit", "unit": order["unit"]})

    def _bury(self, worker: Worker) -> None:
        """A worker died: find out which item of those that it was at kills."""
        how, order = worker.how(), worker.order
        self.engine.workers.remove(worker)
        worker.end()
        if order.get("do") not in ("unit", "trial"):
            if order:
                raise ModelError(f"a worker ended ({how}) while it loaded the models; is there enough memory?")
            return
        unit = order["unit"]
        name = f"unit-{unit:06d}"
        guilty = in_flight(self.places, name)
        if order["do"] == "trial":  # the worker of a killed driver may still have written of others
            guilty = [item for item in guilty if item in order["items"]]
        self.report(Event("lost", unit, {}))
        if order["do"] == "trial" and guilty:
            self.suspected[guilty[0]] += 1
            kept_out = how not in FROM_OUTSIDE or self.suspected[guilty[0]] > 1
            if kept_out:
                self._keep_out(guilty[0], how)
            left = list(order["items"])
            self.orders.appendleft({"do": "trial", "unit": unit, "items": left[left.index(guilty[0]) + kept_out :]})
            forget(self.places, name)
            return
        self.deaths[unit] += 1
        if self.deaths[unit] > MOST_DEATHS:
            raise ModelError(
                f"unit {unit}: its worker ended {self.deaths[unit]} times (the last time by {how}), and no item alone is to blame; "
                "is there enough memory? Fewer workers (-j) or smaller batches (--batch, into another folder) take less"
            )
        self.orders.appendleft({"do": "trial", "unit": unit, "items": guilty} if guilty else order)

    def _keep_out(self, item: int, how: str) -> None:
        key = Inputs(self.places, self.engine.plan.items)[item].key
        quarantine(self.places, Failure(item, key, "worker", "Killed", f"{key}: killed every worker that tried it, the last one by {how}"))


def _accelerator(slot: int) -> str:
    """Which accelerator a worker sees, out of those that this process may use."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if not visible and not slot:
        return "0"  # whether there is one or not
    if not visible:
        import torch

        visible = [str(number) for number in range(max(1, torch.cuda.device_count()))]
    return visible[slot % len(visible)]
