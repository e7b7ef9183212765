"""`smalti.prepare.prepare`: from SRC to a finished folder, or on from where an earlier run was stopped."""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smalti.prepare.codes import Codes, open_codes
from smalti.prepare.engine import WORKER, Engine, Event, LocalEngine, Worker
from smalti.prepare.finalize import check_inputs, doubts_of, finalize
from smalti.prepare.folder import clean, committed, held
from smalti.prepare.identity import ANY
from smalti.prepare.inputs import freeze
from smalti.prepare.journal import forget, left_behind
from smalti.prepare.places import Places, read_json, write_json
from smalti.prepare.plan import MOST_UNITS, UNIT_ITEMS, Plan, PlannedModel
from smalti.prepare.sources import Source, Takes, source_of
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError

PROBED = 4  # committed units whose probes are encoded again when a run goes on
BATCH, THREADS, HELD_OUT = 16, 1, 0.01


@dataclass(frozen=True)
class Options:
    """How to prepare; None leaves what the plan says, or the default of a new one.

    unit: items a unit. batch: items that the network sees together. threads: of the network in a worker. held_out: share of keys.
    device: "auto", "cpu" or "cuda". any_machine: leave processor and libraries out of the plan; codes may then differ between machines.
    column, key_column: of tables. These are the plan's; the rest may change from run to run:
    engine: "local" or "ray", at `ray_address`. jobs: workers; None: one per core or GPU. max_errors: items that may fail; None: any number.
    clean: remove what earlier runs left half-done. force: accept tokens that say hardly anything.
    """

    unit: int | None = None
    batch: int | None = None
    threads: int | None = None
    held_out: float | None = None
    device: str = "auto"
    any_machine: bool = False
    column: str = ""
    key_column: str = ""
    engine: str = "local"
    ray_address: str | None = None
    jobs: int | None = None
    max_errors: int | None = None
    clean: bool = False
    force: bool = False
    worker: tuple[str, ...] = WORKER


@dataclass
class Listener:
    """Told of what happens. Each may be replaced; nothing is said by default."""

    say: Callable[[str], None] = lambda line: None
    begin: Callable[[int, int], None] = lambda items, done: None  # all items, and how many are done already
    event: Callable[[Event], None] = lambda event: None


@dataclass(frozen=True)
class Prepared:
    """A finished folder. done_before: units that an earlier run had committed. left_out: files that no model takes, by ending (of a new
    plan). removed: by `clean`. busy_seconds, cpu_seconds: of all workers together, from a unit's first item to its
    commit."""

    codes: Codes
    done_before: int
    units: int
    left_out: dict[str, int] = field(default_factory=dict)
    removed: tuple[Path, ...] = ()
    busy_seconds: float = 0.0
    cpu_seconds: float = 0.0


def prepare(
    source: str | os.PathLike[str], folder: str | os.PathLike[str], models: Sequence[str], options: Options = Options(),
    listener: Listener | None = None,
) -> Prepared:  # fmt: skip
    """Make `folder` hold the codes of all items of `source`, or go on with it; a finished one is checked and left as it is.

    source: a folder, a list of paths, tar files or tables, see `sources`. models: one for each kind of media. Raises UsageError where the
    folder was planned otherwise, ModelError for other weights or another machine, BitstreamError for damage to what is there, SignalError
    where more items failed than may.
    """
    listener = listener or Listener()
    with held(Path(folder)) as places, contextlib.ExitStack() as stack:
        left_out: dict[str, int] = {}
        first: Worker | None = None  # that has torch in its memory already
        if places.plan.is_file():
            plan = Plan.read(places)
            check_request(places, plan, os.fspath(source), models, options)
        else:
            found = source_of(os.fspath(source), options.column, options.key_column)
            first = stack.enter_context(_worker(options, options.threads or THREADS, options.device))
            plan = make_plan(places, os.fspath(source), found, models, options, listener, first)
            left_out = dict(found.left_out)
        removed = clean(places, plan) if options.clean else []
        done = committed(places, plan)
        spent = Counter[str]()
        todo = [unit for unit in range(plan.units) if unit not in done]
        errors = _Errors(places, plan, done, options.max_errors)
        listener.begin(plan.items, sum(len(plan.slice(unit)) for unit in done))
        if todo:
            check_inputs(places, plan)  # else a damaged line would give codes to another key, and a commit to them
            if places.manifest.exists():
                places.manifest.unlink()  # of a whole that is none any more
            first = first or stack.enter_context(_worker(options, plan.threads, plan.device))
            first.ask({"do": "open", "folder": str(places.folder)})
            if done:
                check_probes(first, plan, done)

            def hear(event: Event) -> None:
                listener.event(event)
                if event.kind == "committed":
                    for line in doubts_of(places, plan, event.unit) if not spent and not options.force else ():
                        listener.say(f"unit {event.unit}: {line}; if all are like this one, only --force accepts them")
                    spent.update(event.counts)
                    errors.more(event.counts["errors"])

            engine_of(options, places, plan, first).run(todo, hear)
        if todo or not _is_finished(places, plan) or options.force:
            finalize(places, plan, options.max_errors, options.force)
            for name, _ in left_behind(places):
                forget(places, name)
        times = spent["milliseconds"] / 1000, spent["cpu_milliseconds"] / 1000
        return Prepared(open_codes(places.folder), len(done), plan.units, left_out, tuple(removed), *times)


def make_plan(
    places: Places, given: str, source: Source, models: Sequence[str], options: Options, listener: Listener, worker: Worker
) -> Plan:
    """List the items, let a worker describe models and machine, and write the plan, last of all."""
    if not models:
        raise UsageError("no model is named, expected one for each kind of media (-m); `smalti models` lists them")
    threads = options.threads or THREADS
    about = worker.ask({"do": "describe", "models": list(models), "device": options.device, "threads": threads})
    described = tuple(PlannedModel(**model) for model in about["models"])
    takes = Takes(tuple(model.modality for model in described))
    listener.say(f"listing {given}")
    frozen = freeze(places, source.items(takes, places.folder), len(described))
    if not frozen.count:
        left = f" ({dict(source.left_out.most_common(3))} left out)" if source.left_out else ""
        raise UsageError(f"{given}: nothing in it that {', '.join(m.name for m in described)} takes{left}; name another source or model")
    described = tuple(replace(model, items=count) for model, count in zip(described, frozen.models, strict=True))
    unit = options.unit or min(UNIT_ITEMS[model.modality] for model in described if model.items)
    if frozen.count > MOST_UNITS * unit:
        raise UsageError(f"{given}: {frozen.count} items in units of {unit}, expected {MOST_UNITS} units at most; give a larger --unit")
    plan = Plan(
        source.to_json(_absolute(given)),
        frozen.count,
        frozen.sha256,
        described,
        unit,
        options.batch or BATCH,
        threads,
        about["device"],
        HELD_OUT if options.held_out is None else options.held_out,
        {ANY: "codes may differ between machines"} if options.any_machine else about["identity"],
    )
    write_json(places.plan, plan.to_json())
    return plan


def check_request(places: Places, plan: Plan, given: str, models: Sequence[str], options: Options) -> None:
    """UsageError where the folder was planned otherwise than is asked for now, ModelError where a model has other weights by now."""
    from smalti.tokenizers import zoo

    if plan.source["given"] != _absolute(given):
        raise UsageError(f"{places.folder}: was planned from {plan.source['given']}, found {given}; name that, or another folder")
    asked: dict[str, Any] = {name: getattr(options, name) for name in ("unit", "batch", "threads", "held_out")}
    asked["device"] = None if options.device == "auto" else options.device
    asked["column"] = options.column or None
    planned_so = {**vars(plan), "column": plan.source["column"]}
    for name, value in asked.items():
        if value is not None and value != planned_so[name]:
            raise UsageError(
                f"{places.folder}: was planned with {name} {planned_so[name]!r}, found {value!r}; leave it out, or name another folder"
            )
    planned = {model.fingerprint: model for model in plan.models}
    for model in plan.models:
        found = zoo.fingerprint_of(zoo.find(model.reference))
        if found != model.fingerprint:
            raise ModelError(
                f"{model.name}: its weights are {found[:12]}, and {places.folder} was planned with {model.fingerprint[:12]}; "
                "bring back that model, or prepare into another folder"
            )
    for reference in models:
        info = zoo.find(reference)
        if zoo.fingerprint_of(info) not in planned:
            names = ", ".join(model.name for model in plan.models)
            raise ModelError(f"{places.folder}: was planned with {names}, found {info.name}; name those, or another folder")


def check_probes(worker: Worker, plan: Plan, done: set[int]) -> None:
    """Encode a few items of committed units again; ModelError where their tokens are others now."""
    worker.ask({"do": "probe", "units": sorted(random.Random(plan.hash).sample(sorted(done), min(PROBED, len(done))))})


@contextlib.contextmanager
def _worker(options: Options, threads: int, device: str) -> Iterator[Worker]:
    """A worker before there is an engine: it describes, checks probes, and is then the local engine's first."""
    worker = Worker(options.worker, threads, None if device == "cpu" else 0)
    try:
        yield worker
    finally:
        worker.end()


def engine_of(options: Options, places: Places, plan: Plan, first: Worker) -> Engine:
    """By its name. first: a worker that has the plan open."""
    if options.engine == "ray":
        from smalti.prepare.ray_engine import RayEngine

        first.end()  # what it holds in memory, actors need
        return RayEngine(places.folder, plan, options.jobs, options.ray_address, options.worker)
    return LocalEngine(places.folder, plan, min(options.jobs or default_jobs(plan), plan.units), options.worker, [first])


def default_jobs(plan: Plan) -> int:
    """One worker per core that this process may use and the plan's threads need, or per GPU."""
    if plan.device == "cuda":
        import torch

        return max(1, torch.cuda.device_count())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // plan.threads)


def device_of(device: str) -> str:
    """ "cpu" or "cuda"; torch is asked only where it must be."""
    if device == "cpu":
        return device
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available; use --device cpu")
    return "cuda" if torch.cuda.is_available() else "cpu"


def _absolute(given: str) -> str:
    from smalti.prepare.remote import is_url

    return given if is_url(given) else os.path.abspath(given)


def _is_finished(places: Places, plan: Plan) -> bool:
    try:
        return places.manifest.is_file() and read_json(places.manifest).get("plan") == plan.hash
    except BitstreamError:  # damaged, and made again of the units
        return False


class _Errors:
    """Stops a run as soon as too many items have failed. State: how many have."""

    def __init__(self, places: Places, plan: Plan, done: set[int], most: int | None) -> None:
        from smalti.prepare.records import Commit

        self.places, self.most = places, most
        self.count = sum(Commit.read(places.unit(unit, "json")).errors for unit in done) if most is not None else 0
        self.more(0)

    def more(self, count: int) -> None:
        self.count += count
        if self.most is not None and self.count > self.most:
            raise SignalError(
                f"{self.count} items failed, expected {self.most} at most; {self.places.codes} has which and why in *.errors.jsonl "
                "(--max-errors allows more)"
            )
