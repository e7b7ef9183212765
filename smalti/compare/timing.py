"""Processor time: of calls, and of frames that are decoded while others look at them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from smalti.tokenizers.signals import Array

T = TypeVar("T")
CHEAP_SECONDS = 0.05  # calls shorter than that are repeated: one is little more than the clock's step and the cache's mood
REPEATS = 3


@dataclass(frozen=True)
class Timed(Generic[T]):
    """What a call gave, and the processor time of it, all threads of this process: the median where it was repeated."""

    value: T
    seconds: float


def timed(call: Callable[[], T], repeat: bool = True) -> Timed[T]:
    """repeat: whether a cheap call is made again, for its time alone."""
    started = time.process_time()
    value = call()
    seconds = [time.process_time() - started]
    while repeat and seconds[0] < CHEAP_SECONDS and len(seconds) < REPEATS:
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return Timed(value, statistics.median(seconds))


class TimedFrames:
    """Frames that count the processor time it takes to make them, over all passes."""

    def __init__(self, frames: Iterable[Array]) -> None:
        self.frames = frames
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Array]:
        frames = iter(self.frames)
        while True:
            started = time.process_time()
            pixels = next(frames, None)
            self.seconds += time.process_time() - started
            if pixels is None:
                return
            yield pixels
