"""How fast the entropy coders are beside their rivals, and how many bytes they need.

    python -m smalti.recipes.bench.coders [--json] [--runs 7] [--picture PHOTO]

Medians of seven runs, after one that warms up, in which all contenders for a case take turns. Seconds are CPU time of the calling thread,
since all of them use one, and what else the machine does must not count. Bytes stand beside the cross-entropy under the table used, which
no coder can beat; packers of bytes, which know no table, get the same indices in 10 bits each. Rivals: constriction's ANS and range coder,
zstd -19, brotli -11, xz -9; those that are not installed are listed as absent. With a photo: CPU seconds of `smalti detokenize` in a second
process. Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalti.recipes.bench import coder_rivals as rivals
from smalti.recipes.bench.bars import Bar, report
from smalti.recipes.bench.coder_rivals import Calls, Case

RUNS = 7
CONSTRICTION = "constriction ANS"


@dataclass(frozen=True)
class Contender:
    """A coder, and the module without which it is absent."""

    name: str
    prepare: Callable[[Case], Calls]
    module: str = "numpy"

    @property
    def absent(self) -> bool:
        return importlib.util.find_spec(self.module) is None


@dataclass(frozen=True)
class Row:
    """A contender's medians in seconds, its bytes, and those that the model asks for."""

    case: Case
    name: str
    encode: float
    decode: float
    bytes: int
    ideal: float


PARTS = {
    "static table": (
        Contender("ours", rivals.our_rans),
        Contender(CONSTRICTION, rivals.constriction_ans, "constriction"),
        Contender("constriction range", rivals.constriction_range, "constriction"),
    ),
    "own tables": (Contender("ours", rivals.our_intervals), Contender("constriction range", rivals.constriction_range, "constriction")),
    "adaptive bits": (Contender("ours", rivals.our_bits),),
    "packed indices": (
        Contender("ours", rivals.our_rans),
        Contender("zstd -19", rivals.zstd, "zstandard"),
        Contender("brotli -11", rivals.brotli, "brotli"),
        Contender("xz -9", rivals.xz, "lzma"),
    ),
}
CASES = (
    Case("static table", 2**22, 1024),
    Case("static table", 2**16, 1024),
    Case("static table", 256, 1024),
    Case("own tables", 2**14, 256),
    Case("adaptive bits", 2**20, 2),
    Case("packed indices", 2**17, 1024),
)


def measure(case: Case, runs: int = RUNS) -> list[Row]:
    """A row of the table for each contender that is there, ours first."""
    contenders = [contender for contender in PARTS[case.part] if not contender.absent]
    calls = [contender.prepare(case) for contender in contenders]
    encode: list[list[float]] = [[] for _ in contenders]
    decode: list[list[float]] = [[] for _ in contenders]
    sizes = [0] * len(contenders)
    again = max(1, 4096 // case.count)  # short calls are repeated: the clock of CPU time is coarse
    for run in range(runs + 1):
        for i, call in enumerate(calls):
            started = time.thread_time()
            for _ in range(again):
                data = call.encode()
            written = time.thread_time()
            for _ in range(again):
                out = call.decode(data)
            read = time.thread_time()
            if run:
                encode[i].append((written - started) / again)
                decode[i].append((read - written) / again)
                continue
            sizes[i] = call.size(data)
            if out != rivals.packed(case) if isinstance(out, bytes) else not np.array_equal(out, rivals.symbols(case)):
                raise AssertionError(f"{contenders[i].name} does not give back what it was given: {case}")
    least = rivals.ideal(case)
    numbers = zip(contenders, encode, decode, sizes, strict=True)
    return [Row(case, c.name, statistics.median(e), statistics.median(d), size, least) for c, e, d, size in numbers]


COLD = """
import numpy as np
from smalti.codecs.coders import fast, intervals, rans, tables
model, values = tables.uniform(1024), np.arange(20000) % 1024
coder = rans.Encoder(len(values))
coder.put(values, model)
rans.Decoder(coder.finish(True), len(values), True).take(len(values), model)
own = intervals.IntervalEncoder(True)
own.put(values, model.starts[None])
loops = (fast.encode, fast.decode, intervals._compiled(intervals._encode))
print(sum(sum(loop.stats.cache_misses.values()) for loop in loops))
"""


def compiled_again() -> int:
    """How many loops a second process compiles though a first one has."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        for _ in range(2):
            done = subprocess.run([sys.executable, "-c", COLD], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)


def detokenize(photo: Path) -> float:
    """CPU seconds that `smalti detokenize` of this photo takes in a second process."""
    with tempfile.TemporaryDirectory() as folder:
        tokens, pictures = Path(folder, "photo.smt"), [Path(folder, f"{i}.png") for i in range(2)]
        smalti = functools.partial(subprocess.run, env={**os.environ, "NUMBA_CACHE_DIR": folder}, stdout=subprocess.DEVNULL, check=True)
        smalti([sys.executable, "-m", "smalti", "tokenize", "-q", str(photo), "-o", str(tokens)])
        for picture in pictures:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            smalti([sys.executable, "-m", "smalti", "detokenize", "-q", str(tokens), "-o", str(picture)])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bars(rows: Iterable[Row]) -> list[Bar]:
    """What the numbers must fulfil."""
    by_case: dict[Case, dict[str, Row]] = {}
    for row in rows:
        by_case.setdefault(row.case, {})[row.name] = row
    found = []
    for case, named in by_case.items():
        ours, peer = named["ours"], named.get(CONSTRICTION)
        what = f"{case.part} {_shape(case)}"
        found.append(Bar(f"{what}: bytes over 1.005 of the ideal", ours.bytes - 1.005 * ours.ideal, "<=", 8.0))
        if case.part == "static table" and case.count >= 2**16:
            found.append(Bar(f"{what}: encode, million symbols a second", case.count / ours.encode / 1e6, ">=", 40.0))
            found.append(Bar(f"{what}: decode, million symbols a second", case.count / ours.decode / 1e6, ">=", 40.0))
            if peer:
                found.append(Bar(f"{what}: decode, {CONSTRICTION} / ours", peer.decode / ours.decode, ">=", 1.0))
        if case.part == "static table" and case.count <= 256:
            found.append(Bar(f"{what}: encode, ms", 1000 * ours.encode, "<=", 0.2))
            found.append(Bar(f"{what}: decode, ms", 1000 * ours.decode, "<=", 0.2))
    return found


def _shape(case: Case) -> str:
    return f"({case.count}, {case.size})"


def _print(rows: list[Row]) -> None:
    for row in rows:
        speeds = "".join(f" {1000 * x:>9.3f} {row.case.count / x / 1e6:>7.1f} {x / y:>6.2f}x" for x, y in _pairs(row, rows[0]))
        over = f"{row.bytes:>9} {row.bytes - row.ideal:>+9.1f}"
        print(f"{row.case.part:<14} {_shape(row.case):<15} {row.name:<19}{speeds} {over}", flush=True)


def _pairs(row: Row, ours: Row) -> list[tuple[float, float]]:
    return [(row.encode, ours.encode), (row.decode, ours.decode)]


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description="entropy coders beside their rivals: seconds and bytes")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"per contender (default {RUNS})")
    parser.add_argument("--picture", type=Path, help="a photo of Kodak's size to detokenize in a second process")
    arguments = parser.parse_args()
    absent = sorted({contender.name for part in PARTS.values() for contender in part if contender.absent})
    if not arguments.json:
        head = f" {'ms':>9} {'M/s':>7} {'of ours':>7}"
        print(f"{'':<14} {'(N, K)':<15} {'encode, decode':<19}{head}{head} {'bytes':>9} {'- ideal':>9}")
    rows = []
    for case in CASES:
        rows += (measured := measure(case, arguments.runs))
        if not arguments.json:
            _print(measured)
    checked = [*bars(rows), Bar("loops that a second process compiles", compiled_again(), "<=", 0)]
    if arguments.picture:
        checked.append(Bar("detokenize in a second process, CPU s", detokenize(arguments.picture), "<=", 5.0))
    if not arguments.json:
        for name in absent:
            print(f"absent {name}")
    return report(rows, checked, arguments.json, absent=absent)


if __name__ == "__main__":
    sys.exit(main())
