"""Worker processes: what they give, and what happens when one dies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from smalti.prepare.commit import Failure
from smalti.prepare.engine import Event, Worker
from smalti.prepare.folder import held
from smalti.prepare.journal import quarantine
from smalti.prepare.run import Listener, Options
from smalti.prepare.run import prepare as with_processes
from smalti.tokenizers.errors import ModelError, UsageError

# a worker in which one picture ends the process, as a decoder that runs wild does
POISONED = """
import os, signal
from smalti.prepare import reading, worker

whole = reading.decoded

def decoded(source, name, modality):
    if name == "b/03.png":
        os.kill(os.getpid(), signal.SIGSEGV)
    return whole(source, name, modality)

reading.decoded = decoded
worker.main()
"""


def test_an_item_that_kills_is_kept_out_and_nothing_else(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    script = tmp_path / "poisoned.py"
    script.write_text(POISONED)
    heard: list[Event] = []
    options = Options(unit=6, device="cpu", jobs=2, worker=(sys.executable, str(script)))
    done = with_processes(photos, tmp_path / "out", [str(tiny)], options, Listener(event=heard.append))
    lines = [line for path in (tmp_path / "out" / "codes").glob("*.errors.jsonl") for line in path.read_text().splitlines()]
    failed = {failure["key"]: failure for failure in map(json.loads, lines)}
    assert set(failed) == {"b/03.png", "b/torn.png"}
    assert "killed every worker that tried it, the last one by SIGSEGV" in failed["b/03.png"]["message"]
    lost = [event.unit for event in heard if event.kind == "lost"]
    assert set(lost) == {1}
    assert len(lost) in (2, 3)  # the last in a trial of its own; once more where another item was at work beside it
    assert sorted(event.unit for event in heard if event.kind == "committed") == [0, 1]
    with held(tmp_path / "alone") as places:
        quarantine(places, Failure(7, "b/03.png", "worker", "Killed", "elsewhere"))
    assert prepare(photos, tmp_path / "alone", tiny, unit=6).codes.digest == done.codes.digest


def test_a_refusal_in_a_worker_is_the_drivers(photos: Path, tiny: Path, tmp_path: Path) -> None:
    worker = Worker((sys.executable, "-m", "smalti.prepare.worker"), 1)
    try:
        with pytest.raises(ModelError, match="no model 'nobody'"):
            worker.ask({"do": "describe", "models": ["nobody"], "device": "cpu", "threads": 1})
        described = worker.ask({"do": "describe", "models": [str(tiny)], "device": "cpu", "threads": 1})
        assert described["models"][0]["modality"] == "image"
    finally:
        worker.end()
    assert worker.process.returncode is not None


def test_a_worker_that_does_not_start_is_told(tmp_path: Path) -> None:
    worker = Worker((sys.executable, "-c", "import os; os.abort()"), 1)
    try:
        with pytest.raises(ModelError, match="SIGABRT"):
            worker.ask({"do": "describe"})
    finally:
        worker.end()


def test_ray_is_named_where_it_is_missing(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"smalti\[ray\]"):
        prepare(photos, tmp_path / "out", tiny, engine="ray")


@pytest.mark.filterwarnings("ignore")  # Ray warns of its own settings, and of files and sockets that it leaves open
def test_ray_gives_the_same_folder(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    expected = prepare(photos, tmp_path / "inline", tiny, unit=4).codes.digest
    done = with_processes(photos, tmp_path / "out", [str(tiny)], Options(unit=4, device="cpu", engine="ray", jobs=2))
    assert done.codes.digest == expected
    assert (tmp_path / "out" / "dataset.json").read_bytes() == (tmp_path / "inline" / "dataset.json").read_bytes()


def test_a_worker_ends_with_its_driver() -> None:
    worker = Worker((sys.executable, "-m", "smalti.prepare.worker"), 1)
    assert worker.process.stdin is not None
    worker.process.stdin.close()
    assert worker.process.wait() == 0
    worker.end()


def test_left_behind_items_are_tried_before_their_unit(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    from smalti.prepare.engine import LocalEngine, _Run
    from smalti.prepare.places import Places
    from smalti.prepare.plan import Plan

    with pytest.raises(KeyboardInterrupt):
        prepare(photos, tmp_path / "out", tiny, unit=4, stop=0)
    places = Places(tmp_path / "out")
    (places.journal / "unit-000001.log").write_text("+4\n+5\n-4\n")
    (places.journal / "unit-000002.log").write_text("+9\n-9\n")
    run = _Run(LocalEngine(places.folder, Plan.read(places), 1), [0, 1, 2], lambda event: None)
    assert list(run.orders) == [{"do": "trial", "unit": 1, "items": [5]}, {"do": "unit", "unit": 0}, {"do": "unit", "unit": 2}]


class Dead:
    """A worker that ended at some items of its order."""

    def __init__(self, how: str, order: dict[str, Any]) -> None:
        self.order, self._how = order, how

    def how(self) -> str:
        return self._how

    def end(self) -> None:
        pass


def test_a_kill_from_outside_keeps_nothing_out(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    from smalti.prepare.engine import LocalEngine, _Run
    from smalti.prepare.journal import quarantined
    from smalti.prepare.places import Places
    from smalti.prepare.plan import Plan

    with pytest.raises(KeyboardInterrupt):
        prepare(photos, tmp_path / "out", tiny, unit=4, stop=0)
    places = Places(tmp_path / "out")
    engine = LocalEngine(places.folder, Plan.read(places), 1)
    run = _Run(engine, [], lambda event: None)

    def die(how: str, order: dict[str, Any], *items: int) -> list[dict[str, Any]]:
        (places.journal / "unit-000001.log").write_text("".join(f"+{item}\n" for item in items))
        worker = Dead(how, order)
        engine.workers.append(worker)  # type: ignore[arg-type]
        run.orders.clear()
        run._bury(worker)  # type: ignore[arg-type]
        return list(run.orders)

    assert die("SIGKILL", {"do": "unit", "unit": 1}, 5, 6) == [{"do": "trial", "unit": 1, "items": [5, 6]}]
    assert die("SIGKILL", {"do": "trial", "unit": 1, "items": [5, 6]}, 5) == [{"do": "trial", "unit": 1, "items": [5, 6]}]
    assert quarantined(places, range(4, 8)) == {}
    assert die("SIGKILL", {"do": "trial", "unit": 1, "items": [5, 6]}, 5) == [{"do": "trial", "unit": 1, "items": [6]}]
    assert set(quarantined(places, range(4, 8))) == {5}
    trial = {"do": "trial", "unit": 1, "items": [6]}
    assert die("SIGKILL", trial, 5) == [trial]  # 5 is an item of the worker of a driver that was killed
    run.deaths[1] -= 1
    assert die("SIGTERM", {"do": "trial", "unit": 1, "items": [6]}, 6) == [{"do": "trial", "unit": 1, "items": [6]}]  # of a scheduler
    assert set(quarantined(places, range(4, 8))) == {5}
    assert die("SIGSEGV", {"do": "trial", "unit": 1, "items": [6]}, 6) == [{"do": "trial", "unit": 1, "items": []}]
    assert set(quarantined(places, range(4, 8))) == {5, 6}
    for _ in range(4):
        assert die("SIGKILL", {"do": "unit", "unit": 1}) == [{"do": "unit", "unit": 1}]
    with pytest.raises(ModelError, match="no item alone is to blame"):
        die("SIGKILL", {"do": "unit", "unit": 1})
