"""A stretch of a sound without decoding the rest: which frames it needs, and which samples of them it is.

Frames before and behind are decoded with it, as many as the network and the resampler see, so that a stretch equals that of the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from smalti.tokenizers.audio.sounds import SoundSize, grid_of
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Array, Audio
from smalti.tokenizers.tokens import Tokens

FILTER_SAMPLES = 256  # of the lower rate that the resampler sees to each side, with room to spare


@dataclass(frozen=True)
class Margins:
    """Frames that a decoded frame depends on. pause: of sounds with a pitch, how many more before them are decoded at first: each channel's
    voice has to pause in one of those, or where its pulses lie is not known; see `goes_on`."""

    before: int
    behind: int
    pause: int = 0


@dataclass(frozen=True)
class Excerpt:
    """frames: of the whole that are decoded. size: of the sound that they are by themselves. samples: of that sound that are wanted."""

    frames: slice
    size: SoundSize
    samples: slice


@dataclass(frozen=True)
class Stretch:
    """tokens: of a part of a sound, a little longer than what was asked for. samples: where that lies in what they decode to."""

    tokens: Tokens
    samples: slice

    def of(self, decoded: Audio) -> Audio:
        """What was asked for, of what the tokens decode to."""
        return Audio(decoded.samples[:, self.samples], decoded.rate)


def goes_on(pitch: Array, frames: int) -> bool:
    """Whether any channel's voice, int32 (channels, T) of a pitch stage, has no pause in its first frames."""
    return not bool((pitch[:, :frames] == 0).any(1).all())


def excerpt(whole: SoundSize, rate: int, hop: int, margins: Margins, start: float | None, end: float | None) -> Excerpt:
    """The stretch from `start` to `end` seconds (None: the ends) of a sound at a network's rate and hop; UsageError where it is empty."""
    if not (math.isfinite(start or 0.0) and math.isfinite(end or 0.0)):
        raise UsageError(f"times of a sound are finite numbers of seconds, found {start} and {end}")
    first = round((start or 0.0) * whole.rate)
    last = whole.samples if end is None else min(whole.samples, round(end * whole.rate))
    if not 0 <= first < last:
        length = f"{whole.samples / whole.rate:.3f} s"
        raise UsageError(f"nothing lies from {start or 0:g} s to {'the end' if end is None else f'{end:g} s'} of a sound of {length}")
    total = grid_of(whole, rate, hop)[1]
    step = rate // math.gcd(hop * whole.rate, rate)  # frames that begin on a whole sample of the original
    seen = math.ceil(FILTER_SAMPLES * rate / (min(rate, whole.rate) * hop))
    before, behind = (count + seen for count in (margins.before + margins.pause, margins.behind))
    begin = max(0, first * rate // (whole.rate * hop) - before) // step * step
    stop = -(-(last * rate) // (whole.rate * hop)) + behind
    stop = min(total, -(-stop // step) * step)
    place = begin * hop * whole.rate // rate
    count = (whole.samples if stop == total else stop * hop * whole.rate // rate) - place
    return Excerpt(slice(begin, stop), SoundSize(count, whole.rate, whole.channels), slice(first - place, last - place))
