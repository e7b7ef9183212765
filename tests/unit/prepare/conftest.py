"""Folders that are prepared in this process, by the same work as in a worker's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.prepare.engine import COUNTS, Event, raise_refusal
from smalti.prepare.plan import Plan
from smalti.tokenizers.errors import SmaltiError

Prepare = Callable[..., Any]


class Inline:
    """Stands for a worker process: does what it is asked at once, and keeps what it was asked."""

    asked: list[dict[str, Any]]

    def __init__(self, *_: object) -> None:
        from smalti.prepare.worker import Work

        self.said: list[dict[str, Any]] = []
        self.work = Work(self.said.append)

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        Inline.asked.append(order)
        try:
            self.work.do(order)
        except SmaltiError as error:
            raise_refusal({"event": "refused", "kind": type(error).__name__, "message": str(error)})
        return self.said[-1]

    def end(self) -> None:
        pass


@dataclass
class InlineEngine:
    """All units one after the other. stop: raises after so many, as if the power had failed."""

    folder: Path
    plan: Plan
    jobs: int
    command: tuple[str, ...]
    workers: list[Inline]
    stop: int | None = None

    def run(self, units: Sequence[int], report: Callable[[Event], None]) -> None:
        (worker,) = self.workers
        for done, unit in enumerate(units):
            if done == self.stop:
                raise KeyboardInterrupt
            event = worker.ask({"do": "unit", "unit": unit})
            report(Event("committed", unit, {key: event[key] for key in COUNTS}))


@contextmanager
def _inline(patch: pytest.MonkeyPatch, stop: int | None = None) -> Iterator[None]:
    from smalti.prepare import run

    with patch.context() as context:
        Inline.asked = []
        context.setattr(run, "Worker", Inline)
        context.setattr(run, "LocalEngine", lambda *given: InlineEngine(*given, stop=stop))
        yield


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """`smalti.prepare.run.prepare` without processes; stop: interrupted after so many units; said: gets the lines for
    people; the other names are those of `Options`."""
    from smalti.prepare.run import Listener, Options
    from smalti.prepare.run import prepare as whole

    def made(source: Any, folder: Path, *models: object, stop: int | None = None, said: Any = None, **options: Any) -> Any:
        with _inline(monkeypatch, stop):
            listener = Listener(say=(lambda line: None) if said is None else said.append)
            return whole(source, folder, [str(model) for model in models], Options(device="cpu", **options), listener)

    return made


@pytest.fixture
def asked() -> Callable[[], list[dict[str, Any]]]:
    """What workers were asked to do in the last run."""
    return lambda: Inline.asked


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven small pictures of two sizes in two folders, one that is none, and a text. Not to be written to."""
    import PIL.Image

    folder = tmp_path_factory.mktemp("photos")
    (folder / "b").mkdir()
    rng = np.random.default_rng(0)
    for i in range(11):
        size = (16, 24) if i % 3 else (20, 12)
        small = rng.integers(0, 256, (3, 4, 3), np.uint8)
        PIL.Image.fromarray(small).resize(size[::-1], PIL.Image.Resampling.BICUBIC).save(folder / ("b" if i % 2 else "") / f"{i:02d}.png")
    (folder / "b" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "about.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny, untrained model of pictures: two levels of 125 entries, stride 8. Not to be written to."""
    return _tiny(tmp_path_factory.mktemp("tiny"), 0)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with other weights."""
    return _tiny(tmp_path_factory.mktemp("other"), 1)


def _tiny(folder: Path, seed: int) -> Path:
    import torch

    from smalti.tokenizers import zoo
    from smalti.tokenizers.codebooks import FSQConfig
    from smalti.tokenizers.image.grid import ImageGrid
    from smalti.tokenizers.image.network import ImageGridConfig
    from smalti.tokenizers.quantizers import ResidualConfig

    config = ImageGridConfig(
        ResidualConfig(FSQConfig((5, 5, 5)), levels=2),
        widths=(8, 8),
        encoder_depths=(0, 0),
        decoder_depths=(0, 0),
        head_width=4,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        zoo.save(ImageGrid.from_config(config), folder)
    return folder
