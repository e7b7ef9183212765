"""When frames are shown: an exact rate where there is one, else a time for each frame.

Containers count in ticks, Matroska in milliseconds: frames at 30000/1001 a second lie up to half a tick beside their place there. A rate
holds where every frame lies within one tick of where it would put it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

USUAL = tuple(
    Fraction(*rate)
    for rate in (
        (24000, 1001),
        (24, 1),
        (25, 1),
        (30000, 1001),
        (30, 1),
        (50, 1),
        (60000, 1001),
        (60, 1),
        (12, 1),
        (15, 1),
        (10, 1),
        (1, 1),
    )
)


MAX_TERM = 2**31 - 1  # of a rate's numerator and denominator: what containers and FFmpeg hold
MAX_SECONDS = 2**31  # of a film, 68 years: a clock that says more is broken


def timing_of(places: Sequence[int], tick: Fraction, told: Sequence[Fraction | None], slack: int = 1) -> Fraction | tuple[Fraction, ...]:
    """Frames per second, or a time in seconds for each frame, the first at 0.

    places: of frames in ticks, ascending. told: rates that the file names, the most believable first. slack: ticks that a frame may lie
    beside its place; none in GIF, whose times are meant as they are.
    """
    rates = [rate for rate in told if rate and held_rate(rate) == rate]
    if len(places) < 2:
        return rates[0] if rates else Fraction(25)
    whole = places[-1] - places[0]
    if whole > 0:
        mean = (len(places) - 1) / (whole * tick)
        rates += [rate for rate in USUAL if abs(rate / mean - 1) < Fraction(1, 100)] + [held_rate(mean)]
    for rate in dict.fromkeys(rates):
        if holds(places, tick, rate, slack):
            return rate
    return tuple((place - places[0]) * tick for place in places)


def holds(places: Sequence[int], tick: Fraction, rate: Fraction, slack: int = 1) -> bool:
    """Whether all frames lie within so many ticks of where the rate puts them."""
    step = 1 / (rate * tick)
    up, down, first = step.numerator, step.denominator, places[0]
    return all(abs((place - first) * down - i * up) <= slack * down for i, place in enumerate(places))


def mean_rate(timing: Fraction | Sequence[Fraction], frames: int) -> Fraction:
    """Frames per second over so many frames, above 0 and in terms up to MAX_TERM; 25 where one frame says nothing."""
    if isinstance(timing, Fraction):
        return timing
    last = timing[frames - 1] - timing[0] if 1 < frames <= len(timing) else Fraction(0)
    return held_rate((frames - 1) / last) if last > 0 else Fraction(25)


def held_rate(rate: Fraction) -> Fraction:
    """The rate itself, or the nearest that has a numerator and a denominator of 1..MAX_TERM."""
    if rate < 1:
        return 1 / held_rate(1 / rate)
    return min(rate, Fraction(MAX_TERM)).limit_denominator(max(1, MAX_TERM // (int(rate) + 1)))


def seconds(timing: Fraction | Sequence[Fraction], frames: int) -> float:
    """How long so many frames are shown; the last of them as long as they are on the mean."""
    return float(frames / mean_rate(timing, frames)) if frames else 0.0


def time_of(timing: Fraction | Sequence[Fraction], frame: int) -> Fraction:
    """When a frame is shown, in seconds after the first."""
    return frame / timing if isinstance(timing, Fraction) else timing[frame] - timing[0]
