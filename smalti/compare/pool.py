"""Jobs over processes: a few at a time, each result as it comes; a process that dies takes only its own job with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Died:
    """Instead of a result: the process that had the job ended, by a crash of a library or for want of memory."""

    error: str = "the process died (a crash in a library, or no memory left); run it alone to see more"


def each(function: Callable[[Any], Any], jobs: Sequence[Any], processes: int = 1) -> Iterator[tuple[int, Any]]:
    """(number of the job, its result or `Died`) as they finish. function: a module's own, that raises nothing but what stops the run.

    One process: in this one, without protection against death. Networks have one thread in each.
    """
    if processes <= 1 or len(jobs) <= 1:
        with _one_thread():
            for number, job in enumerate(jobs):
                yield number, function(job)
        return
    left = list(range(len(jobs)))
    while left:
        suspects = []
        for number, result in _over_pool(function, jobs, left, min(processes, len(left))):
            if isinstance(result, Died):
                suspects.append(number)
            else:
                left.remove(number)
                yield number, result
        for number in suspects:  # a dead process breaks the pool for all that were at work: each of them alone shows whose fault it was
            ((_, result),) = _over_pool(function, jobs, [number], 1)
            left.remove(number)
            yield number, result


def _over_pool(function: Callable[[Any], Any], jobs: Sequence[Any], numbers: Sequence[int], processes: int) -> Iterator[tuple[int, Any]]:
    """Until all are done, or a process dies: then `Died` for what was under way."""
    waiting = iter(numbers)
    with _environment():
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start)
        running: dict[Future[Any], int] = {}
        try:
            for number in waiting:
                running[pool.submit(function, jobs[number])] = number
                if len(running) == processes:
                    break
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    number = running.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        yield number, Died()
                        yield from ((other, Died()) for other in running.values())
                        return
                    if (following := next(waiting, None)) is not None:
                        try:
                            running[pool.submit(function, jobs[following])] = following
                        except BrokenProcessPool:  # told with the next future
                            pass
                    yield number, result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start() -> None:
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Libraries of the processes that begin in here have one thread."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
