"""Metrics of films: pictures' metrics as means over frames, and how far the changes from frame to frame are off.

Frames pass one by one, so that memory holds two of each side; films whose frames pass once are used up. `measure` has all metrics look at
the same pass. Times of frames, aspect and sound are not compared.

Temporal consistency without warping: `temporal-difference` compares differences of neighbouring frames, which flicker and judder change
and a constant offset does not. `temporal-lpips` compares LPIPS between neighbouring frames with that in the original: tLP of Chu et al.,
"Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation" (arXiv 1811.09393), not scaled by 100 as there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np

from smalti.metrics.image import LPIPS, PSNR, LumaPSNR, lpips_distance, lpips_features, to_network
from smalti.metrics.structural import SSIM, MultiScaleSSIM
from smalti.tokenizers.contracts import Metric, Score
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Array, Image, Signal, Video

MOST_DECIBELS = 100.0  # of a frame that is equal; else one such frame would make the mean infinite


class Tally(Protocol):
    """The frames that a metric has seen so far."""

    def add(self, reference: Array, decoded: Array) -> None:
        """The next frame of both, uint8 (H, W, 3)."""

    def score(self) -> Score:
        """Of all that were seen; SignalError where they are too few."""


class VideoMetric(Metric, Protocol):
    """A metric of films, which also can look at a pass that others share."""

    def tally(self) -> Tally:
        """For a new pair of films."""


class PerFrame:
    """A metric of pictures as its mean over frames."""

    def __init__(self, name: str, picture: Metric) -> None:
        self.name = name
        self.picture = picture

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        return measure({self.name: self}, reference, decoded)[self.name]

    def tally(self) -> Tally:
        return _Mean(self.picture)


class TemporalDifference:
    """How far differences of neighbouring frames are off, in steps of 8 bits; 0 where all changes are right."""

    name = "temporal-difference"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        return measure({self.name: self}, reference, decoded)[self.name]

    def tally(self) -> Tally:
        return _Differences()


class TemporalLPIPS:
    """How far perceived differences of neighbouring frames are off; 0 where all are as large as in the original."""

    name = "temporal-lpips"

    def __init__(self, device: str = "cpu") -> None:
        self.judge = LPIPS("alex", device)

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        return measure({self.name: self}, reference, decoded)[self.name]

    def tally(self) -> Tally:
        return _Perceived(self.judge)


def measure(metrics: Mapping[str, VideoMetric], reference: Signal, decoded: Signal, every: int = 1) -> dict[str, Score]:
    """What metrics say of a pair of films that pass once. every: look only at each so-many-th frame, where a judge is slow; changes
    between neighbours are then those over so many frames.

    SignalError where frames differ in size, one film is longer, or there are too few.
    """
    tallies = {name: metric.tally() for name, metric in metrics.items()}
    for number, (a, b) in enumerate(_pairs(reference, decoded)):
        if number % every == 0:
            for tally in tallies.values():
                tally.add(a, b)
    return {name: tally.score() for name, tally in tallies.items()}


def _pairs(reference: Signal, decoded: Signal) -> Iterator[tuple[Array, Array]]:
    if not isinstance(reference, Video) or not isinstance(decoded, Video):
        raise SignalError(f"these metrics compare films, found {type(reference).__name__} and {type(decoded).__name__}")
    others: Iterable[Array] = iter(decoded.frames)
    count = 0
    for a in reference.frames:
        b = next(iter(others), None)
        if b is None:
            raise SignalError(f"films differ in length: {count} decoded frames, and the original has more")
        if a.shape != b.shape:
            raise SignalError(f"frames differ in size: {a.shape} and {b.shape}")
        count += 1
        yield a, b
    if next(iter(others), None) is not None:
        raise SignalError(f"films differ in length: {count} original frames, and more that are decoded")
    if not count:
        raise SignalError("films without frames, expected at least one")


class _Mean:
    def __init__(self, picture: Metric) -> None:
        self.picture = picture
        self.values: list[float] = []
        self.last: Score | None = None

    def add(self, reference: Array, decoded: Array) -> None:
        self.last = self.picture(Image(reference), Image(decoded))
        self.values.append(min(self.last.value, MOST_DECIBELS) if self.last.unit == "dB" else self.last.value)

    def score(self) -> Score:
        if self.last is None:
            raise SignalError("films without frames, expected at least one")
        capped = f", equal ones {MOST_DECIBELS:g} dB" if self.last.unit == "dB" else ""
        convention = f"{self.last.convention}; mean over frames{capped}"
        return Score(math.fsum(self.values) / len(self.values), self.last.unit, self.last.better, convention)


class _Differences:
    def __init__(self) -> None:
        self.before: tuple[Array, Array] | None = None
        self.squares: list[float] = []

    def add(self, reference: Array, decoded: Array) -> None:
        now = reference.astype(np.int16), decoded.astype(np.int16)
        if self.before is not None:
            off = (now[0] - self.before[0]) - (now[1] - self.before[1])
            self.squares.append(float(np.square(off, dtype=np.float64).mean()))
        self.before = now

    def score(self) -> Score:
        _check_several(self.squares)
        value = math.sqrt(math.fsum(self.squares) / len(self.squares))
        return Score(value, "steps of 8 bits", "lower", "root mean square of (b' - b) - (a' - a) over neighbouring frames, RGB")


class _Perceived:
    def __init__(self, judge: LPIPS) -> None:
        self.judge = judge
        self.before: tuple[list, list] | None = None
        self.apart: list[float] = []

    def add(self, reference: Array, decoded: Array) -> None:
        import torch

        net = self.judge.net
        with torch.inference_mode():
            now = [lpips_features(net, to_network(pixels).to(self.judge.device)) for pixels in (reference, decoded)]
            if self.before is not None:
                changes = [float(lpips_distance(net, a, b).mean()) for a, b in zip(self.before, now, strict=True)]
                self.apart.append(abs(changes[0] - changes[1]))
        self.before = now[0], now[1]

    def score(self) -> Score:
        _check_several(self.apart)
        convention = f"mean |{self.judge.name} of neighbouring decoded frames - of originals|, heads v0.1, [-1, 1], full size"
        return Score(math.fsum(self.apart) / len(self.apart), "", "lower", convention)


def _check_several(changes: list[float]) -> None:
    if not changes:
        raise SignalError("changes over time need two frames or more, found one; give a longer film")


def psnr() -> PerFrame:
    """PSNR over RGB of each frame."""
    return PerFrame("video-psnr", PSNR())


def psnr_y() -> PerFrame:
    """PSNR of luma of each frame."""
    return PerFrame("video-psnr-y", LumaPSNR())


def ssim() -> PerFrame:
    """SSIM of luma of each frame."""
    return PerFrame("video-ssim", SSIM())


def ms_ssim() -> PerFrame:
    """MS-SSIM of each frame; sides of 161 or more."""
    return PerFrame("video-ms-ssim", MultiScaleSSIM())


def lpips_alex(device: str = "cpu") -> PerFrame:
    """LPIPS by AlexNet of each frame."""
    return PerFrame("video-lpips-alex", LPIPS("alex", device))
