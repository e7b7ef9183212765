"""Films as tokenizers see them: their size, their pictures checked one by one, and the way to networks and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.image.network import pad_to_stride
from smalti.tokenizers.image.pixels import to_float
from smalti.tokenizers.signals import MAX_SIDE, Array, Image, Signal, Video

MAX_FRAMES = 2**22  # 38 hours at 30 a second
MAX_FRAME_PIXELS = 2**23  # 4K; pictures of films are not cut into tiles, and one of that size takes about 3 GB
STILL_RATE = Fraction(1)  # of a film of one picture made of a still image
NAMES = ("frames", "height", "width", "rate_num", "rate_den")


@dataclass(frozen=True)
class FilmSize:
    """Pictures, pixels, and pictures a second: what `Layout.signal` holds of a film."""

    frames: int
    height: int
    width: int
    rate: Fraction

    @property
    def signal(self) -> tuple[tuple[str, int], ...]:
        values = (self.frames, self.height, self.width, self.rate.numerator, self.rate.denominator)
        return tuple(zip(NAMES, values, strict=True))

    def padded(self, stride: int) -> tuple[int, int]:
        """(rows, columns) of the token grid."""
        return -(-self.height // stride), -(-self.width // stride)


def size_of(signal: tuple[tuple[str, int], ...], name: str) -> FilmSize:
    """A film's size as `Layout.signal` has it; UsageError where it is none, or too large. name: of the tokenizer."""
    size = dict(signal)
    if set(size) != set(NAMES) or size["frames"] < 0 or min(size[key] for key in NAMES[1:]) < 1:
        raise UsageError(f"{name} tokenizes films: the size of one is {', '.join(NAMES)}, found {signal}")
    if size["frames"] > MAX_FRAMES or max(size["height"], size["width"]) > MAX_SIDE:
        raise UsageError(f"films have up to {MAX_FRAMES} pictures of sides up to {MAX_SIDE}, found {signal}")
    if size["height"] * size["width"] > MAX_FRAME_PIXELS:
        raise UsageError(f"{name} takes pictures of up to {MAX_FRAME_PIXELS} pixels, found {size['width']} x {size['height']}")
    return FilmSize(size["frames"], size["height"], size["width"], Fraction(size["rate_num"], size["rate_den"]))


def video_of(signal: Signal, name: str) -> Video:
    """The signal, if it is a film, or a still image as a film of one picture. Raises SignalError."""
    if isinstance(signal, Image):
        return Video((signal.eight_bits,), STILL_RATE)
    if not isinstance(signal, Video):
        raise SignalError(f"{name} tokenizes films and pictures, found {type(signal).__name__}")
    return signal


def rate_of(video: Video, frames: int) -> Fraction:
    """Pictures a second; where each has its own time, the mean rate. SignalError where the times are not those of `frames` pictures."""
    if isinstance(video.timing, Fraction):
        if video.timing <= 0:
            raise SignalError(f"a film has a positive number of pictures a second, found {video.timing}")
        return _storable(video.timing)
    if len(video.timing) != frames:
        raise SignalError(f"a film has one time per picture: {len(video.timing)} times, {frames} pictures")
    length = video.timing[-1] - video.timing[0] if frames > 1 else Fraction(0)
    return _storable((frames - 1) / Fraction(length)) if length > 0 else STILL_RATE


def _storable(rate: Fraction) -> Fraction:
    """Files hold rates as two numbers below 2^32."""
    near = Fraction(rate).limit_denominator(10**6)
    return near if 0 < near < 2**31 else STILL_RATE


def check_frame(frame: Array, shape: tuple[int, ...] | None, name: str) -> None:
    """SignalError where a picture is not uint8 (H, W, 3) of the shape of those before it."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise SignalError(f"a film has uint8 pictures (H, W, 3), found {found}")
    if shape is not None and frame.shape != shape:
        raise SignalError(f"all pictures of a film have one size: {shape[1]} x {shape[0]}, then {frame.shape[1]} x {frame.shape[0]}")
    if frame.shape[0] * frame.shape[1] > MAX_FRAME_PIXELS or max(frame.shape) > MAX_SIDE:
        raise SignalError(
            f"{name} takes pictures of up to {MAX_FRAME_PIXELS} pixels, found {frame.shape[1]} x {frame.shape[0]}; make the film smaller"
        )


def to_network(frames: Sequence[Array], stride: int) -> Tensor:
    """uint8 pictures (H, W, 3) -> float32 (n, 3, h, w) in [-1, 1], padded by their edges to whole strides."""
    return pad_to_stride(torch.stack([to_float(frame) for frame in frames]), stride)


def pieces(video: Video, count: int) -> Iterator[list[Array]]:
    """The pictures, `count` at a time."""
    held: list[Array] = []
    for frame in video.frames:
        held.append(frame)
        if len(held) == count:
            yield held
            held = []
    if held:
        yield held
