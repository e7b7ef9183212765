"""How long people wait before anything happens: `import smalti` and `smalti --help`, as multiples of Python's own start.

python -m smalti.recipes.bench.startup [--json]

Medians of seven runs in turn with `python -c pass`, after one of each that warms the caches; exit code 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

RUNS = 7
BASE = ("-c", "pass")


@dataclass(frozen=True)
class Result:
    """A command's median in seconds, as a multiple of `python -c pass`, and what that may be at most."""

    command: str
    seconds: float
    ratio: float
    limit: float


LIMITS = {("-c", "import smalti"): ("import smalti", 5.0), ("-m", "smalti", "--help"): ("smalti --help", 8.0)}


def measure(runs: int = RUNS) -> list[Result]:
    """The medians, Python's own first."""
    commands = [BASE, *LIMITS]
    times: dict[tuple[str, ...], list[float]] = {command: [] for command in commands}
    for run in range(runs + 1):
        for command in commands:
            seconds = _seconds(command)
            times[command] += [seconds] if run else []
    medians = {command: statistics.median(found) for command, found in times.items()}
    base = medians[BASE]
    own = [Result(name, medians[command], medians[command] / base, limit) for command, (name, limit) in LIMITS.items()]
    return [Result("python -c pass", base, 1.0, 1.0), *own]


def _seconds(arguments: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> int:
    """Print the table; 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description="start-up times as multiples of Python's own")
    parser.add_argument("--json", action="store_true", help="as JSON")
    as_json = parser.parse_args().json
    results = measure()
    missed = [result.command for result in results if result.ratio > result.limit]
    if as_json:
        print(json.dumps({"results": [asdict(result) for result in results], "missed": missed}, indent=1))
    else:
        print(f"{'command':<16} {'ms':>7} {'ratio':>6} {'limit':>6}")
        for result in results:
            print(f"{result.command:<16} {result.seconds * 1000:>7.1f} {result.ratio:>6.2f} {result.limit:>6.1f}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
