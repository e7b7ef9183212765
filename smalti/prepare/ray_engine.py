"""The Ray engine: actors on a cluster, moved by Ray Data, each with a worker process of its own. Nothing but numbers of units moves.

Files are read and written by the actors, so the source and the folder must lie where all of them see them. That a unit is done once follows
from its commit and not from Ray: an actor that dies is started again, and does again what has no commit.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.prepare.engine import COUNTS, WORKER, Event, LocalEngine, raise_refusal
from smalti.prepare.places import Places
from smalti.prepare.plan import Plan
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError


class UnitActor:
    """Does units in a process of its own, so that what kills that one does not kill the actor. Errors come back as values: they are the
    run's end, and nothing that Ray should try again."""

    def __init__(self, folder: str, command: tuple[str, ...]) -> None:
        self.engine = LocalEngine(Path(folder), Plan.read(Places(Path(folder))), 1, command)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        units = [int(unit) for unit in batch["unit"]]
        found: dict[int, Event] = {}
        refused = ["", ""]

        def hear(event: Event) -> None:
            if event.kind == "committed":
                found[event.unit] = event

        try:
            self.engine.run_on(units, hear)
        except SmaltiError as error:
            refused = [type(error).__name__, str(error)]
            self.engine.close()
        columns = {name: [found[u].counts[name] if u in found else 0 for u in units] for name in COUNTS}
        whole = {name: np.array(values, np.int64) for name, values in {"unit": units, **columns}.items()}
        return whole | {"kind": np.array([refused[0]] * len(units)), "message": np.array([refused[1]] * len(units))}


@dataclass
class RayEngine:
    """jobs: actors; None: one per core, or GPU, of the cluster. address: of a cluster; None: one is started here for this run."""

    folder: Path
    plan: Plan
    jobs: int | None = None
    address: str | None = None
    command: tuple[str, ...] = WORKER

    def run(self, units: Sequence[int], report: Callable[[Event], None]) -> None:
        """All units, in any order. UsageError where Ray is missing or the cluster is not there."""
        ray = _ray()
        started = not ray.is_initialized()
        if started:
            _connect(ray, self.address)
        try:
            self._run(ray, units, report)
        finally:
            if started:
                ray.shutdown()

    def _run(self, ray: Any, units: Sequence[int], report: Callable[[Event], None]) -> None:
        on_gpu = self.plan.device == "cuda"
        there = ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1)
        most = int(there) if on_gpu else int(there // self.plan.threads)
        jobs = max(1, min(self.jobs or most, most, len(units)))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
        done = rows.map_batches(
            UnitActor,
            fn_constructor_args=(str(self.folder.resolve()), self.command),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=jobs),
            num_cpus=None if on_gpu else self.plan.threads,
            num_gpus=1 if on_gpu else None,
        )
        try:
            for row in done.iter_rows():
                if row["kind"]:
                    raise_refusal({"event": "refused", "kind": str(row["kind"]), "message": str(row["message"])})
                report(Event("committed", int(row["unit"]), {name: int(row[name]) for name in COUNTS}))
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            raise ModelError(f"Ray stopped ({last}); run the same command again, and it goes on from the units that are done") from None


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("--engine ray needs Ray; pip install 'smalti[ray]', or use --engine local") from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False, include_dashboard=False if address is None else None)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"{address or 'a cluster of this machine'}: no Ray cluster there ({' '.join(str(error).split())[:200]})") from None
