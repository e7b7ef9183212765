"""From numbers to places on paper, and where the ticks stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smalti.compare.page.numbers import signed, significant


@dataclass(frozen=True)
class Axis:
    """Numbers low..high lie on paper from start to end; logarithmic where `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value."""
        low, high, here = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (here - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int = 6) -> list[float]:
        """Round values within, about so many."""
        return log_ticks(self.low, self.high, count) if self.log else linear_ticks(self.low, self.high, count)


def axis(values: Sequence[float], start: float, end: float, log: bool = False, room: float = 0.06) -> Axis:
    """One that holds the finite (where logarithmic, positive) values with some room on both sides."""
    found = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    low, high = (min(found), max(found)) if found else (1.0, 10.0) if log else (0.0, 1.0)
    if log:
        spread = max(math.log10(high / low), 0.2)
        return Axis(low / 10 ** (room * spread), high * 10 ** (room * spread), start, end, True)
    spread = (high - low) or abs(high) or 1.0
    return Axis(low - room * spread, high + room * spread, start, end)


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    raw = (high - low) / max(count, 1)
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * k for k in (1, 2, 2.5, 5, 10) if unit * k >= raw * 0.999)
    return [round(k * step, 12) for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """1, 2, 5 of each power of ten, fewer over many and more over few."""
    for digits in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        found = [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]
        if len(found) <= count + 1:
            return found or [math.sqrt(low * high)]
    every = math.ceil(len(found) / count)
    return found[::every]


def tick_text(value: float) -> str:
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return significant(value, 1 if abs(value) < 1e-3 else 2)
    return signed(f"{value:.6g}")
