"""Codecs, metrics and tasks whose results one can say beforehand, by `compare_toys:name`: comparisons import them in every process."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.codecs.ladders import Setting
from smalti.tokenizers.contracts import Score, Target
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Image, Signal

CALLS: list[str] = []  # what was asked for, in this process
CRASH_AT = 77  # the first sample of a picture that kills a process


class Coarse:
    """Keeps so many bits of each sample; `padding` bytes times the file's own follow it."""

    version = "coarse 1"
    ladder = tuple(Setting(f"q{bits}", Target(quality=bits)) for bits in (1, 2, 3, 4, 5))
    padding = 0

    def __init__(self, name: str = "coarse") -> None:
        self.name = name

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        assert isinstance(signal, Image)
        CALLS.append(f"compress {self.name}")
        shift = 8 - int(target.quality or 5)
        height, width, _ = signal.pixels.shape
        body = zlib.compress((signal.pixels >> shift).tobytes(), 9)
        head = bytes([shift, height, width, 0])
        return head + body + bytes((len(head) + len(body)) * self.padding)

    def decompress(self, data: bytes) -> Signal:
        CALLS.append(f"decompress {self.name}")
        pixels = np.frombuffer(zlib.decompressobj().decompress(data[4:]), np.uint8).reshape(data[1], data[2], 3)
        return Image((pixels << data[0]) + np.uint8(2 ** data[0] // 2))

    def payload_bytes(self, data: bytes) -> int:
        return len(data) - 4


class Doubled(Coarse):
    padding = 1


class Failing(Coarse):
    """Refuses pictures whose first sample is odd, one way or the other."""

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        assert isinstance(signal, Image)
        if signal.pixels[0, 0, 0] == CRASH_AT:
            os._exit(9)
        if signal.pixels[0, 0, 0] % 2:
            raise ZeroDivisionError("a bug of\nthis codec")
        return super().compress(signal, target)


class Newer(Coarse):
    version = "coarse 2"


class MeanDifference:
    name = "mean-difference"

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        assert isinstance(reference, Image)
        assert isinstance(decoded, Image)
        CALLS.append("mean-difference")
        value = float(np.abs(reference.pixels.astype(int) - decoded.pixels).mean())
        return Score(value, "steps", "lower", "mean of differences")


class ScoresEven(MeanDifference):
    """Scores pictures whose first sample is even alone."""

    def __call__(self, reference: Signal, decoded: Signal) -> Score:
        assert isinstance(reference, Image)
        if reference.pixels[0, 0, 0] % 2:
            raise SignalError("this picture is odd")
        return super().__call__(reference, decoded)


class Bright:
    """Share of pictures that are as bright as the original within two steps; itemized."""

    name = "bright"
    protocol = "nothing is trained"

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        CALLS.append("bright")
        return Score(float(self.per_item(references, decoded).mean()), "", "higher", "mean within 2")

    def per_item(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Any:
        pairs: Any = zip(references, decoded, strict=True)
        return np.array([float(abs(a.pixels.mean() - b.pixels.mean()) < 2) for a, b in pairs])

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


class Labelled:
    """Not itemized: counts the labels that are the first sample's."""

    name = "labelled"

    def __init__(self, labels: Sequence[int]) -> None:
        self.labels = labels

    def __call__(self, references: Sequence[Signal], decoded: Sequence[Signal]) -> Score:
        pictures: Any = decoded
        right = [int(picture.pixels[0, 0, 0]) == label for picture, label in zip(pictures, self.labels, strict=True)]
        return Score(float(np.mean(right)), "", "higher", "first sample")

    def ceiling(self, references: Sequence[Signal]) -> Score:
        return self(references, references)


def coarse() -> Coarse:
    return Coarse()


def doubled() -> Coarse:
    return Doubled("doubled")


def failing() -> Coarse:
    return Failing("failing")


def newer() -> Coarse:
    return Newer()


def quieter() -> Coarse:
    codec = Coarse()
    codec.padding = 2
    return codec


def missing() -> Coarse:
    raise ModelError("this codec needs the package nowhere: pip install nowhere")
