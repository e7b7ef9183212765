"""What the files of sound codecs begin with here: a letter, and the size of the sound that must come back.

Raw packets know neither lengths nor the rate that a sound had. A container for players tells both and costs more: Ogg about .85 kbps on
clips of some seconds. At most 12 bytes: the letter, samples per channel, samples per second, channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

from smalti.codecs.bitstream.wire import Cursor, uvarint
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, SignalError, UsageError
from smalti.tokenizers.signals import MAX_CHANNELS, MAX_SAMPLES, Array, Audio, Signal

MAX_RATE = 768000


@dataclass(frozen=True)
class Head:
    """samples: per channel, at `rate`."""

    samples: int
    rate: int
    channels: int

    def pack(self, letter: bytes) -> bytes:
        """As files begin."""
        return letter + uvarint(self.samples) + uvarint(self.rate) + uvarint(self.channels)

    def at(self, rate: int) -> int:
        """Samples per channel that last as long at another rate, rounded up."""
        return -(-self.samples * rate // self.rate)


def read_head(data: bytes, letter: bytes, name: str, most_channels: int = MAX_CHANNELS) -> tuple[Head, Cursor]:
    """The head, and where the rest begins; BitstreamError for another codec's file or sizes beyond the limits of `signals`."""
    if data[:1] != letter:
        raise BitstreamError(f"no file of {name} (begins {data[:4]!r}); decode it with the codec that wrote it")
    cursor = Cursor(data, f"file of {name}", 1)
    head = Head(cursor.uvarint(MAX_SAMPLES), cursor.uvarint(MAX_RATE), cursor.uvarint(most_channels))
    if 0 in (head.samples, head.rate, head.channels):
        raise BitstreamError(f"file of {name}: {head.samples} samples at {head.rate} Hz in {head.channels} channels, expected some of each")
    if head.samples * head.channels > MAX_SAMPLES or head.at(48000) * head.channels > MAX_SAMPLES:
        raise BitstreamError(f"file of {name}: {head.samples} samples in {head.channels} channels, expected {MAX_SAMPLES} in all at most")
    return head, cursor


def sound_of(signal: Signal, name: str, most_channels: int = MAX_CHANNELS) -> Audio:
    """The signal, if it is a sound that the codec can hold; SignalError else."""
    if not isinstance(signal, Audio):
        raise SignalError(f"{name} takes sounds, found {type(signal).__name__}")
    channels, samples = signal.samples.shape
    if channels > most_channels or signal.rate > MAX_RATE:
        raise SignalError(
            f"{name} takes {most_channels} channels and {MAX_RATE} Hz at most, found {channels} and {signal.rate}; convert the sound first"
        )
    if Head(samples, signal.rate, channels).at(48000) * channels > MAX_SAMPLES:
        raise SignalError(f"{name} takes {MAX_SAMPLES} samples at 48 kHz over all channels at most; split the sound")
    if not np.isfinite(signal.samples).all():
        raise SignalError(f"{name}: the sound holds samples that are no numbers (NaN or infinity); repair it first")
    return signal


def room_of(target: Target, sound: Audio, name: str) -> float | None:
    """Bytes that a target allows, None where it sets no size; UsageError for targets that such codecs cannot meet."""
    if target.bits_per_pixel is not None or target.stages is not None:
        raise UsageError(f"{name} knows no bits per pixel and no stages; give bytes, kbps or quality")
    if target.kbps is not None:
        return target.kbps * 1000 / 8 * sound.seconds
    return target.bytes


def resampled(samples: Array, rate: int, new_rate: int, length: int) -> Array:
    """float32 (channels, length) by soxr's very high quality; cut, or the last sample repeated."""
    if rate != new_rate:
        found = soxr.resample(np.ascontiguousarray(samples.T), rate, new_rate, quality="VHQ").astype(np.float32).T
        samples = found if found.shape[1] else samples[:, :1]
    missing = length - samples.shape[1]
    return samples[:, :length] if missing <= 0 else np.pad(samples, ((0, 0), (0, missing)), mode="edge")
