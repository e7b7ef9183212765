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
from smalti.tokenizers.signals import MAX_ALL_SAMPLES, MAX_CHANNELS, MAX_SAMPLES, Array, Audio, Signal
from smalti.tokenizers.tokens import Layout

MIN_RATE, MAX_RATE = 1000, 768000
MOST_GROWTH, MOST_GROWN = 16, 2**24  # so that a file of few tokens does not decode to gigabytes
BLOCK = 2**18  # samples per channel that are converted at a time
SHORTEST = 0.75  # of the longest of a batch: the rest of a shorter one is worked on for nothing
BATCH_FRAMES = 2**17  # of all channels of a batch, unless one sound has more: what is held beside the sounds themselves


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
    own = resampled_length(found.samples, found.rate, rate)
    most = max(found.samples, own)
    if most > MAX_SAMPLES or found.channels * most > MAX_ALL_SAMPLES:
        raise UsageError(
            f"sounds have {MAX_SAMPLES} samples in a channel, {MAX_ALL_SAMPLES} in all at most, found {found.samples} in {found.channels}; "
            "split it"
        )
    if found.samples > max(MOST_GROWN, MOST_GROWTH * own):
        raise UsageError(
            f"sounds of more than {MOST_GROWN} samples have at most {MOST_GROWTH} times the model's rate, {rate} Hz, found {found.samples} "
            f"at {found.rate} Hz; resample first"
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
    found = np.empty((len(samples), length), np.float32)
    resample_into(found, samples, rate, new_rate)
    return found


def resample_into(found: Array, samples: Array, rate: int, new_rate: int) -> None:
    """The same into float32 (channels, length), block by block: bit for bit what soxr makes of the whole."""
    import soxr

    place, count = 0, samples.shape[1]
    stream = soxr.ResampleStream(rate, new_rate, len(samples), dtype="float32", quality="HQ") if rate != new_rate else None
    for start in range(0, count, BLOCK):
        block = samples[:, start : start + BLOCK]
        if stream is not None:
            block = stream.resample_chunk(np.ascontiguousarray(block.T), last=start + BLOCK >= count).T
        block = block[:, : found.shape[1] - place]
        found[:, place : place + block.shape[1]] = block
        place += block.shape[1]
    found[:, place:] = found[:, place - 1 : place] if place else samples[:, :1]


def to_network(audio: Audio, rate: int, hop: int) -> Array:
    """float32 (channels, T) at the network's rate, mid and side, T in whole frames."""
    return waves_of([audio], rate, hop)


def grid_of(size: SoundSize, rate: int, hop: int) -> tuple[int, int]:
    """(channels, frames) of a sound's tokens at a network's rate and hop."""
    return size.channels, -(-resampled_length(size.samples, size.rate, rate) // hop)


def waves_of(audios: Sequence[Audio], rate: int, hop: int, ahead: int = 0) -> Array:
    """The same of several sounds, one below the other: float32 (all channels, T + ahead), T in the
    whole frames of the longest; each one's last sample is repeated to there."""
    lengths = [resampled_length(audio.samples.shape[1], audio.rate, rate) for audio in audios]
    frames = -(-max(lengths) // hop)
    found = np.empty((sum(len(audio.samples) for audio in audios), frames * hop + ahead), np.float32)
    place = 0
    for audio, length in zip(audios, lengths, strict=True):
        own = found[place : place + len(audio.samples)]
        resample_into(own[:, :length], audio.samples, audio.rate, rate)
        for start in range(0, length, BLOCK) if len(own) == 2 else ():
            block = own[:, start : min(start + BLOCK, length)]
            block[:] = mid_side(block)
        own[:, length:] = own[:, length - 1 : length]
        place += len(own)
    return found


def from_network(wave: Array, rate: int, size: SoundSize) -> Audio:
    """The sound of float32 (channels, T) at the network's rate, exactly as long as it was, within [-1, 1]. The wave is used up."""
    wave = wave[:, : resampled_length(size.samples, size.rate, rate)]
    for start in range(0, wave.shape[1], BLOCK) if len(wave) == 2 else ():
        block = wave[:, start : start + BLOCK]
        block[:] = left_right(block)
    samples = resample(wave, rate, size.rate, size.samples)
    return Audio(np.clip(samples, -1, 1, out=samples), size.rate)


def mid_side(samples: Array) -> Array:
    """Of two channels their mean and half their difference; others as they are."""
    return samples if len(samples) != 2 else np.stack([(samples[0] + samples[1]) / 2, (samples[0] - samples[1]) / 2])


def left_right(samples: Array) -> Array:
    """The inverse of `mid_side`."""
    return samples if len(samples) != 2 else np.stack([samples[0] + samples[1], samples[0] - samples[1]])


def batches_of(layouts: Sequence[Layout], channels: int) -> list[list[int]]:
    """Numbers of the sounds that pass a network together, longest first: of one depth and about one length, `channels` and BATCH_FRAMES in
    all at most, or one sound alone.
    """

    def kind(i: int) -> tuple[int, int]:
        return len(layouts[i].stages), layouts[i].stages[0].shape[1]

    batches: list[list[int]] = []
    for i in sorted(range(len(layouts)), key=kind, reverse=True):
        (depth, frames), own = kind(i), layouts[i].stages[0].shape[0]
        if batches:
            first_depth, longest = kind(batches[-1][0])
            rows = own + sum(layouts[j].stages[0].shape[0] for j in batches[-1])
            if depth == first_depth and frames >= SHORTEST * longest and rows <= channels and rows * longest <= BATCH_FRAMES:
                batches[-1].append(i)
                continue
        batches.append([i])
    return batches


def borders_of(batch: Sequence[int], layouts: Sequence[Layout]) -> np.ndarray:
    """Where the channels of one sound of a batch end and those of the next begin."""
    return np.cumsum([layouts[i].stages[0].shape[0] for i in batch])[:-1]


def pairs_of(channels: Sequence[int]) -> tuple[int, ...]:
    """The rows that are mids of stereo sounds, of sounds of that many channels, one below the other."""
    starts = np.cumsum([0, *channels])
    return tuple(int(start) for start, count in zip(starts[:-1], channels, strict=True) if count == 2)


def piece_of(array: Array, piece: slice) -> Array:
    """int64 (channels, frames of the piece) of tokens (channels, T), 0 beyond their end."""
    own = array[:, piece].astype(np.int64)
    return np.pad(own, ((0, 0), (0, piece.stop - piece.start - own.shape[1])))
