"""What sound tokenizers share: from an `Audio` of any rate to the network's channels, and back to exactly the length that came.

The network works at one rate; resampling is soxr's, at its high quality (the SoX resampler, 20 bits of precision, linear phase). Two
channels become mid (L + R) / 2 and side (L - R) / 2, which speech and most music leave nearly empty; one channel, or more than two, stay
as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import MAX_CHANNELS, MAX_SAMPLES, Array, Audio, Signal
from smalti.tokenizers.tokens import Layout

MIN_RATE, MAX_RATE = 1000, 768000


@dataclass(frozen=True)
class SoundSize:
    """How a sound was given: samples per channel, samples per second, channels."""

    samples: int
    rate: int
    channels: int

    @property
    def signal(self) -> tuple[tuple[str, int], ...]:
        """As `Layout.signal` has it."""
        return (("samples", self.samples), ("rate", self.rate), ("channels", self.channels))


def size_of(signal: tuple[tuple[str, int], ...], rate: int, name: str) -> SoundSize:
    """The size that tokens at the network's `rate` come from; UsageError where it is none, or too large for memory."""
    size = dict(signal)
    if set(size) != {"samples", "rate", "channels"} or min(size.values()) < 1:
        raise UsageError(f"{name} tokenizes sound: its signal size is samples, rate and channels, found {signal}")
    found = SoundSize(size["samples"], size["rate"], size["channels"])
    if not MIN_RATE <= found.rate <= MAX_RATE or found.channels > MAX_CHANNELS:
        raise UsageError(
            f"sound has {MIN_RATE} to {MAX_RATE} samples per second, 1 to {MAX_CHANNELS} channels, found {found.rate} and {found.channels}"
        )
    if found.channels * max(found.samples, resampled_length(found.samples, found.rate, rate)) > MAX_SAMPLES:
        raise UsageError(
            f"sounds have {MAX_SAMPLES} samples over all channels at most, found {found.samples} in {found.channels}; split it"
        )
    return found


def sound_of(signal: Signal, name: str) -> Audio:
    """The sound itself; SignalError for another kind of signal, or for samples that are no numbers."""
    if not isinstance(signal, Audio):
        raise SignalError(f"{name} tokenizes sound, found {type(signal).__name__}")
    if not np.isfinite(signal.samples).all():
        raise SignalError(f"{name}: the sound holds samples that are no numbers (NaN or infinity); repair it first")
    return signal


def size_of_sound(audio: Audio) -> SoundSize:
    """The size of a sound at hand."""
    return SoundSize(audio.samples.shape[1], audio.rate, audio.samples.shape[0])


def resampled_length(samples: int, rate: int, new_rate: int) -> int:
    """Samples that last as long at another rate, rounded up."""
    return -(-samples * new_rate // rate)


def resample(samples: Array, rate: int, new_rate: int, length: int) -> Array:
    """float32 (channels, length) at the new rate; the last sample is repeated where the filter gives fewer."""
    import soxr

    if rate == new_rate:
        return fitted(samples, length)
    found = soxr.resample(np.ascontiguousarray(samples.T), rate, new_rate, quality="HQ").astype(np.float32)
    return fitted(np.ascontiguousarray(found.T) if len(found) else samples[:, :1], length)


def fitted(samples: Array, length: int) -> Array:
    """(channels, length): cut, or the last sample repeated."""
    missing = length - samples.shape[1]
    return samples[:, :length] if missing <= 0 else np.pad(samples, ((0, 0), (0, missing)), mode="edge")


def to_network(audio: Audio, rate: int, hop: int) -> Array:
    """float32 (channels, T) at the network's rate, mid and side, T in whole frames."""
    length = resampled_length(audio.samples.shape[1], audio.rate, rate)
    samples = resample(audio.samples, audio.rate, rate, length)
    return fitted(mid_side(samples), -(-length // hop) * hop)


def from_network(wave: Array, rate: int, size: SoundSize) -> Audio:
    """The sound of float32 (channels, T) at the network's rate, exactly as long as it was, within [-1, 1]."""
    wave = wave[:, : resampled_length(size.samples, size.rate, rate)]
    samples = resample(left_right(wave), rate, size.rate, size.samples)
    return Audio(np.clip(np.ascontiguousarray(samples), -1, 1), size.rate)


def mid_side(samples: Array) -> Array:
    """Of two channels their mean and half their difference; others as they are."""
    return samples if len(samples) != 2 else np.stack([(samples[0] + samples[1]) / 2, (samples[0] - samples[1]) / 2])


def left_right(samples: Array) -> Array:
    """The inverse of `mid_side`."""
    return samples if len(samples) != 2 else np.stack([samples[0] + samples[1], samples[0] - samples[1]])


def batches_of(layouts: Sequence[Layout], channels: int) -> list[list[int]]:
    """Numbers of the sounds that pass a network together: those of equal length and depth, `channels` in all at most, or one sound."""
    kinds: dict[tuple[int, int], list[list[int]]] = {}
    for i, layout in enumerate(layouts):
        own, frames = layout.stages[0].shape
        batches = kinds.setdefault((frames, len(layout.stages)), [[]])
        held = sum(layouts[j].stages[0].shape[0] for j in batches[-1])
        if batches[-1] and held + own > channels:
            batches.append([])
        batches[-1].append(i)
    return [batch for batches in kinds.values() for batch in batches]


def borders_of(batch: Sequence[int], layouts: Sequence[Layout]) -> np.ndarray:
    """Where the channels of one sound of a batch end and those of the next begin."""
    return np.cumsum([layouts[i].stages[0].shape[0] for i in batch])[:-1]
