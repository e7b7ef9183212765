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


class Pool:
    """Processes that stay for several lists of jobs, for `with`. One process: this one, without protection against death.

    Libraries that compute on several threads have one in each.
    """

    def __init__(self, processes: int = 1) -> None:
        self.processes = processes
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._close(wait_for=kind is None)

    def each(self, function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """(number of the job, its result or `Died`) as they finish. function: a module's own, that raises nothing but what stops all."""
        if self.processes <= 1:
            with _one_thread():
                for number, job in enumerate(jobs):
                    yield number, function(job)
            return
        left = dict.fromkeys(range(len(jobs)))
        while left:
            suspects = []
            for number, result in self._some(function, jobs, list(left), self.processes):
                if isinstance(result, Died):
                    suspects.append(number)
                else:
                    del left[number]
                    yield number, result
            for number in suspects:  # a death breaks the pool for all that were at work: each of them alone shows whose fault it was
                ((_, result),) = self._some(function, jobs, [number], 1)
                del left[number]
                yield number, result

    def _some(self, function: Callable[[Any], Any], jobs: Sequence[Any], numbers: Sequence[int], at_once: int) -> Iterator[tuple[int, Any]]:
        """Until all are done, or a process dies: then `Died` for what was under way."""
        waiting = iter(numbers)
        running: dict[Future[Any], int] = {}
        executor = self._open()
        with contextlib.suppress(BrokenProcessPool):  # told by what is running
            while len(running) < at_once and (number := next(waiting, None)) is not None:
                running[executor.submit(function, jobs[number])] = number
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    result = future.result()
                except BrokenProcessPool:
                    self._close()
                    yield from ((number, Died()) for number in running.values())
                    return
                number = running.pop(future)
                with contextlib.suppress(BrokenProcessPool):
                    if (following := next(waiting, None)) is not None:
                        running[executor.submit(function, jobs[following])] = following
                yield number, result

    def _open(self) -> ProcessPoolExecutor:
        if self._executor is None:
            with _environment():
                self._executor = ProcessPoolExecutor(self.processes, multiprocessing.get_context("spawn"))
                # processes begin with the first jobs, and take the environment of that moment
                wait([self._executor.submit(int) for _ in range(self.processes)])
        return self._executor

    def _close(self, wait_for: bool = True) -> None:
        if self._executor is not None:
            executor, self._executor = self._executor, None
            executor.shutdown(wait=wait_for, cancel_futures=True)


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Processes that begin in here have one thread."""
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
