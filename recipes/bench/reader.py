"""How fast the reader gives windows beside nanoGPT's `get_batch`, and how soon it goes on at any step.

    python -m smalti.recipes.bench.reader [--json] [--megabytes 1000] [--folder DIR]

A file of random ids (uint16, read once so that it is warm), windows of 1,025 ids, batches of 64, int64 out. All contenders take turns in
one process and one thread; medians of rounds. nanoGPT's way is written anew here: random places of a memory map, each window cast and
stacked, inputs and targets apart, the map opened for each batch. Beside it stands a leaner one: the map kept open, and one window for both.
Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.prepare.packs.files import new_folder
from smalti.prepare.packs.pack import DOCUMENTS, LAYOUTS, MANIFEST, Pack
from smalti.prepare.packs.vocabulary import build
from smalti.prepare.places import canonical
from smalti.prepare.reader import open_pack
from smalti.recipes.bench.bars import Bar, report
from smalti.tokenizers.tokens import Layout, Stage

BATCH, LENGTH = 64, 1025
ROUNDS, BATCHES = 9, 100
BLOCK = 2**24
OURS, LEAN = "ours", "windows, map kept open"


@dataclass(frozen=True)
class Case:
    """A contender."""

    reader: str


@dataclass(frozen=True)
class Row:
    """Its median: microseconds a batch and million ids a second, and how often ours does it in that time."""

    case: Case
    microseconds: float
    million_ids: float
    ratio: float


def make_pack(folder: Path, ids: int) -> Path:
    """A pack of random ids, whole rows of `LENGTH`; without documents, of which no window asks."""
    vocabulary = build([("image", Layout((Stage("grid", (("row", 1), ("col", 1)), 50_000),), (1,)))])
    rows = max(BATCH, ids // LENGTH)
    random = np.random.default_rng(0)
    with new_folder(folder) as made:
        draft = made.draft("tokens.bin")
        for start in range(0, rows * LENGTH, BLOCK):
            count = min(BLOCK, rows * LENGTH - start)
            draft.write(random.integers(0, vocabulary.total, count, dtype=np.uint16).tobytes())
        made.keep(draft, ids=rows * LENGTH)
        made.write(DOCUMENTS)
        made.write(LAYOUTS, canonical({"layouts": []}))
        pack = Pack(
            folder, folder.name, "", "", (), vocabulary, "flatten", False, False, "concat", LENGTH, "all", "nanogpt", 0, rows, 0,
            rows * LENGTH, 0, tuple(made.files),
        )  # fmt: skip
        made.write(MANIFEST, canonical(pack.to_json()))
    return folder


def ours(folder: Path) -> Callable[[], Any]:
    batches, step = open_pack(folder).batches(BATCH), iter(range(2**62))

    def get() -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.from_numpy(batches[next(step)])
        return ids[:, :-1], ids[:, 1:]

    return get


def nanogpt(folder: Path) -> Callable[[], Any]:
    """Its method: a new map each time, against memory that grows; inputs and targets cut and cast apart."""
    path, block = folder / "tokens.bin", LENGTH - 1

    def get() -> tuple[torch.Tensor, torch.Tensor]:
        data = np.memmap(path, np.uint16, "r")
        places = torch.randint(len(data) - block, (BATCH,)).tolist()
        inputs = torch.stack([torch.from_numpy(data[place : place + block].astype(np.int64)) for place in places])
        targets = torch.stack([torch.from_numpy(data[place + 1 : place + 1 + block].astype(np.int64)) for place in places])
        return inputs, targets

    return get


def lean(folder: Path) -> Callable[[], Any]:
    data = np.memmap(folder / "tokens.bin", np.uint16, "r")

    def get() -> torch.Tensor:
        places = torch.randint(len(data) - LENGTH, (BATCH,)).tolist()
        return torch.stack([torch.from_numpy(data[place : place + LENGTH].astype(np.int64)) for place in places])

    return get


CONTENDERS: dict[str, Callable[[Path], Callable[[], Any]]] = {OURS: ours, "nanoGPT's get_batch": nanogpt, LEAN: lean}


def measure(folder: Path, rounds: int = ROUNDS, batches: int = BATCHES) -> list[Row]:
    """A row for each contender, after one round that warms up."""
    calls = {name: make(folder) for name, make in CONTENDERS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(batches):
                call()
            seconds[name] += [(time.perf_counter() - started) / batches] if turn else []
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    ids = BATCH * LENGTH
    return [Row(Case(name), 1e6 * found, ids / found / 1e6, found / medians[OURS]) for name, found in medians.items()]


def resume(folder: Path, times: int = 20) -> float:
    """Milliseconds from nothing but imports to the first batch of some far step: the worst of several."""
    worst = 0.0
    for i in range(times):
        started = time.perf_counter()
        open_pack(folder).batches(BATCH, seed=i)[10**9 + 12345 * i]
        worst = max(worst, time.perf_counter() - started)
    return 1000 * worst


def warm(folder: Path) -> int:
    """Read the file once; gives a sum, so that nothing is left out."""
    data = np.memmap(folder / "tokens.bin", np.uint16, "r")
    return sum(int(data[start : start + BLOCK].sum(dtype=np.int64)) for start in range(0, len(data), BLOCK))


def bars(rows: list[Row], milliseconds: float) -> list[Bar]:
    """What the numbers must fulfil: against both ways, the faster one too."""
    found = [Bar(f"{row.case.reader} / ours", row.ratio, ">=", 1.5) for row in rows if row.case.reader != OURS]
    return [*found, Bar("resumed at any step, worst ms", milliseconds, "<=", 50.0)]


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="the reader of packs beside nanoGPT's get_batch")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the file (default 1000)")
    parser.add_argument("--folder", type=Path, help="where the file is written (default: a temporary folder)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        folder = make_pack(Path(place) / "pack", arguments.megabytes * 10**6 // 2)
        warm(folder)
        rows = measure(folder)
        milliseconds = resume(folder)
    if not arguments.json:
        for row in rows:
            print(f"{row.case.reader:<24} {row.microseconds:>9.1f} us a batch {row.million_ids:>8.1f} M ids/s {row.ratio:>7.2f}x")
    return report(rows, bars(rows, milliseconds), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
