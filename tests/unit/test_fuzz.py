"""Mutated golden files of every form: 500 here, 10,000 in the slow tier. Only our errors, little memory, an end."""

from __future__ import annotations

import random
import signal
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from smalti.recipes.bench.hostile_files import mended, mutated, read_all

MOST_BYTES = 256 << 20  # that reading a file may take beside the file
MEASURED = 25  # every so-manieth file: tracing allocations makes reading slow
GOLDEN = ("solo.smt", "adaptive.smt", "chunked.smt", "archive.smt")


@pytest.fixture(scope="module")
def golden(repository: Path) -> list[bytes]:
    return [(repository / "tests" / "golden" / name).read_bytes() for name in GOLDEN]


@pytest.fixture
def _no_hang() -> Iterator[None]:
    """An endless loop becomes a failure instead of a run that never ends; honest files take milliseconds."""

    def stop(*_: object) -> None:
        raise AssertionError("reading one file has no end")

    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def fuzz(golden: list[bytes], seed: int, count: int) -> Counter[str]:
    """Read that many mutated files; what they were."""
    rng, seen = random.Random(seed), Counter[str]()
    for number in range(count):
        data = mutated(golden, rng)
        if hasattr(signal, "alarm"):
            signal.alarm(120)
        if number % MEASURED:
            seen[read_all(data)] += 1
            continue
        tracemalloc.start()
        try:
            seen[read_all(data)] += 1
            assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
        finally:
            tracemalloc.stop()
    return seen


def test_the_golden_files_themselves_are_read(golden: list[bytes]) -> None:
    assert [read_all(data) for data in golden] == ["read"] * len(golden)
    assert [mended(data) for data in golden] == golden


@pytest.mark.usefixtures("_no_hang")
def test_five_hundred_mutated_files(golden: list[bytes]) -> None:
    seen = fuzz(golden, 0, 500)
    assert (seen["structure"] > 100, seen["tokens"] > 100, seen["read"] > 5) == (True, True, True), seen  # lies of every depth


@pytest.mark.slow
@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("seed", range(1, 11))
def test_ten_thousand_mutated_files(golden: list[bytes], seed: int) -> None:
    seen = fuzz(golden, seed, 1000)
    assert min(seen["structure"], seen["tokens"]) > 200, seen
