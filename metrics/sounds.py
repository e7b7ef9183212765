"""What metrics of sound share: pairs of one size, other rates, channels one by one, and a variant below 4 kHz.

Narrow-band codecs, such as Opus at 6 kbps, keep nothing above 4 kHz, and lose there by default. The variant asks what is left to say
below: both sounds are resampled to 8 kHz (soxr, its high quality), and the metric sees no others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from smalti.tokenizers.contracts import Metric, Score
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Array, Audio, Signal

NARROW_RATE = 8000
NARROW = "-4k"


class BelowFourKilohertz:
    """A metric of both sounds at 8 kHz, named as it with "-4k" behind."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.name = metric.name + NARROW

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        """Score one pair of sounds of one length, rate and number of channels."""
        a, b = both(reference, decoded)
        score = self.metric(at_rate(a, NARROW_RATE), at_rate(b, NARROW_RATE))
        return replace(score, convention=f"both sounds cut at 4 kHz first; {score.convention}")


def both(reference: Signal, decoded: Signal) -> tuple[Audio, Audio]:
    """The two as sounds; SignalError where one is none, or where lengths, rates or channels differ."""
    if not isinstance(reference, Audio) or not isinstance(decoded, Audio):
        raise SignalError(f"sound metrics compare sounds, found {type(reference).__name__} and {type(decoded).__name__}")
    if reference.samples.shape != decoded.samples.shape or reference.rate != decoded.rate:
        found = f"{reference.samples.shape} at {reference.rate} Hz and {decoded.samples.shape} at {decoded.rate} Hz"
        raise SignalError(f"sounds differ in size: {found}")
    return reference, decoded


def at_rate(audio: Audio, rate: int) -> Audio:
    """The sound at another rate, or itself; SignalError where nothing of it is left."""
    import soxr

    if rate == audio.rate:
        return audio
    found = soxr.resample(np.ascontiguousarray(audio.samples.T), audio.rate, rate, quality="HQ").astype(np.float32)
    if not len(found):
        raise SignalError(f"a sound of {audio.samples.shape[1]} samples at {audio.rate} Hz has none at {rate} Hz; take a longer one")
    return Audio(np.ascontiguousarray(found.T), rate)


def mean_of_channels(reference: Audio, decoded: Audio, measure: Callable[[Array, Array], float]) -> float:
    """measure: (reference, decoded), float32 (T,) each -> a number. Warnings of the libraries beneath are refusals: SignalError."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(np.mean([measure(a, b) for a, b in zip(reference.samples, decoded.samples, strict=True)]))
        except RuntimeWarning as warning:
            raise SignalError(f"the sounds cannot be scored ({str(warning).splitlines()[0]}); take longer ones with speech") from None
