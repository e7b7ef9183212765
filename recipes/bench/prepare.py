"""How much of the bare network's speed is left when `smalti prepare` reads, decodes, encodes and writes.

    python -m smalti.recipes.bench.prepare DATA [--model image-grid-16] [--count 200] [--rounds 3] [--threads 1] [--batch 16]

Both halves run in turn, as often as `rounds` says, with one worker, since two would share the machine's caches with each other: the network
on pictures that are in memory already, in the same batches, and the command on their files. Its time is that of the worker from the first
item to the commit; starting Python and loading the model, once a run, are named beside it. The fastest round of each counts: whatever else
the machine does only slows them down. Time of the cores is told too, which others at work do not change: there decoding counts in full,
while on the clock it is done beside the network.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smalti.codecs.media.files import list_images
from smalti.codecs.media.images import read_image
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Image


@dataclass(frozen=True)
class Speed:
    """Items a second: of the network alone, of a worker, and of the whole command; and of a core's time, of the first two."""

    bare: float
    worker: float
    command: float
    bare_core: float
    worker_core: float

    @property
    def share(self) -> float:
        """Of the bare network's speed that a worker keeps."""
        return self.worker / self.bare

    @property
    def core_share(self) -> float:
        """The same by the time of cores."""
        return self.worker_core / self.bare_core


@dataclass(frozen=True)
class Took:
    """Seconds on the clock, and of cores."""

    clock: float
    core: float


def bare_seconds(tokenizer: Tokenizer, images: Sequence[Image], batch: int) -> Took:
    """Of encoding all pictures, which are of one size, `batch` at a time."""
    began, core = time.perf_counter(), time.process_time()
    for first in range(0, len(images), batch):
        tokenizer.encode(images[first : first + batch])
    return Took(time.perf_counter() - began, time.process_time() - core)


def prepared_seconds(photos: Path, model: str, batch: int, threads: int) -> tuple[Took, float]:
    """(of the worker, of the whole command on the clock) for the same on files."""
    with tempfile.TemporaryDirectory() as place:
        fixed = ["--device", "cpu", "-j", "1", "--json", "--force", "--unit", "1000000"]
        sized = ["--batch", str(batch), "--threads", str(threads)]
        began = time.perf_counter()
        arguments = [sys.executable, "-m", "smalti", "prepare", str(photos), f"{place}/out", "-m", model, *fixed, *sized]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        (found,) = json.loads(done.stdout)
        return Took(found["busy_seconds"], found["cpu_seconds"]), time.perf_counter() - began


def measure(data: Path, model: str, count: int, rounds: int, threads: int, batch: int) -> Speed:
    """UsageError where there are too few pictures of one size."""
    import torch

    torch.set_num_threads(threads)
    sizes: dict[tuple[int, int], list[Path]] = {}
    for path in list_images(data):
        image = read_image(path)
        group = sizes.setdefault((image.height, image.width), [])
        group.append(path)
        if len(group) == count:
            break
    chosen = max(sizes.values(), key=len, default=[])
    if len(chosen) < count:
        raise UsageError(f"{data}: {len(chosen)} pictures of one size, expected {count}; name another folder, or fewer with --count")
    tokenizer = zoo.load(model)
    images = [read_image(path) for path in chosen]
    with tempfile.TemporaryDirectory() as place:
        for number, path in enumerate(chosen):
            shutil.copy(path, Path(place) / f"{number:05d}{path.suffix}")
        bare_seconds(tokenizer, images[:batch], batch)
        bare, worker, command = [], [], []
        for _ in range(rounds):
            bare.append(bare_seconds(tokenizer, images, batch))
            busy, whole = prepared_seconds(Path(place), model, batch, threads)
            worker.append(busy)
            command.append(whole)
    clock = (min(took.clock for took in bare), min(took.clock for took in worker), min(command))
    core = (min(took.core for took in bare), min(took.core for took in worker))
    return Speed(*(count / seconds for seconds in (*clock, *core)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.bench.prepare", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path, help="a folder of small pictures of one size")
    parser.add_argument("--model", default="image-grid-16")
    for name, default in (("count", 200), ("rounds", 3), ("threads", 1), ("batch", 16)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    try:
        found = measure(arguments.data, arguments.model, arguments.count, arguments.rounds, arguments.threads, arguments.batch)
    except SmaltiError as error:
        raise SystemExit(f"prepare: {error}") from None
    print(f"network alone  {found.bare:7.1f} pictures/s")
    print(f"prepare        {found.worker:7.1f} pictures/s, {found.share:.1%} of it")
    print(f"by core time   {found.worker_core:7.1f} pictures a second of a core, of {found.bare_core:.1f}: {found.core_share:.1%}")
    print(f"whole command  {found.command:7.1f} pictures/s, starting Python and loading the model included")


if __name__ == "__main__":
    main()
