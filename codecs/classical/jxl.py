"""JPEG XL by libjxl through imagecodecs: lossy (VarDCT), effort 7 of 1 to 9, a bare codestream, one thread.

Quality is libjxl's own scale, 0..100, fractions counting: a Butteraugli distance of .1 + .09 (100 - q) from 30 on, and below it of
53/3000 q^2 - 23/20 q + 25, which is the largest that libjxl takes. At 100 the distance is .1, not 0: that would be another, lossless codec.
A file's size is read from its first bytes before anything is decoded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.codecs.classical.search import best_quality
from smalti.codecs.classical.still import picture_of, room_of
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import MAX_PIXELS, MAX_SIDE, Array, Image, Signal

QUALITIES = range(101)
EFFORT = 7
_MAGIC = b"\xff\x0a"
_LENGTHS = (9, 13, 18, 30)  # bits of a side, by two bits before it
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # of width to height, from 1 on


class Jxl:
    """`contracts.Codec` of pictures."""

    name = "jxl"

    def __init__(self) -> None:
        self._library = _library()

    @property
    def version(self) -> str:
        """libjxl's, and imagecodecs'."""
        return f"{self._library.jpegxl_version()}, imagecodecs {self._library.__version__}"

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file of that quality, or of the best that fits; the best of all without a target. Raises UsageError where nothing fits."""
        picture = picture_of(signal)
        pixels = np.ascontiguousarray(picture.eight_bits)
        room = room_of(target, picture)
        if room is not None:
            files: dict[int, bytes] = {}

            def size(quality: int) -> int:
                if quality not in files:
                    files[quality] = self._encode(pixels, quality)
                return len(files[quality])

            return files[best_quality(size, QUALITIES, room)]
        quality = QUALITIES[-1] if target.quality is None else target.quality
        if not QUALITIES[0] <= quality <= QUALITIES[-1]:
            raise UsageError(f"{self.name}: quality {quality}, expected {QUALITIES[0]} to {QUALITIES[-1]}")
        return self._encode(pixels, quality)

    def decompress(self, data: bytes) -> Signal:
        """The picture of a bare codestream in three channels of 8 bits; raises BitstreamError for anything else."""
        height, width = stated_size(data)
        if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS):
            raise BitstreamError(
                f"JPEG XL file: {width} x {height} pixels, expected sides of 1 to {MAX_SIDE} and {MAX_PIXELS} pixels at most"
            )
        try:
            pixels = self._library.jpegxl_decode(data, numthreads=1)
        except (self._library.JpegxlError, ValueError, RuntimeError, MemoryError) as error:
            raise BitstreamError(f"JPEG XL file: damaged or cut short ({error}), expected a whole one; get the file again") from None
        if pixels.shape != (height, width, 3) or pixels.dtype != np.uint8:
            raise BitstreamError(
                f"JPEG XL file: {pixels.dtype} {pixels.shape} decode, expected uint8 {(height, width, 3)}: not of our making"
            )
        return Image(pixels)

    def _encode(self, pixels: Array, quality: float) -> bytes:
        try:
            return bytes(
                self._library.jpegxl_encode(pixels, distance=distance_of(quality), effort=EFFORT, numthreads=1, usecontainer=False)
            )
        except (self._library.JpegxlError, ValueError) as error:
            raise SignalError(f"{self.name} cannot hold this picture of {pixels.shape[1]} x {pixels.shape[0]} pixels ({error})") from None


def distance_of(quality: float) -> float:
    """libjxl's Butteraugli distance."""
    return 0.1 + 0.09 * (100 - quality) if quality >= 30 else 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def stated_size(data: bytes) -> tuple[int, int]:
    """(height, width) that a codestream states (ISO/IEC 18181-1, SizeHeader); BitstreamError where it is none."""
    if data[:2] != _MAGIC or len(data) < 12:
        raise BitstreamError(f"no JPEG XL codestream (begins {data[:4]!r}, {len(data)} bytes); decode it with the codec that wrote it")
    bits = int.from_bytes(data[2:12], "little")

    def take(count: int) -> int:
        nonlocal bits
        found = bits & (1 << count) - 1
        bits >>= count
        return found

    small = take(1)
    height = 8 * (take(5) + 1) if small else take(_LENGTHS[take(2)]) + 1
    ratio = take(3)
    if ratio:
        top, bottom = _RATIOS[ratio - 1]
        return height, height * top // bottom
    return height, 8 * (take(5) + 1) if small else take(_LENGTHS[take(2)]) + 1


def _library() -> Any:
    try:
        import imagecodecs
    except ImportError:
        raise ModelError("JPEG XL needs the package imagecodecs: pip install 'smalti[codecs]'") from None
    return imagecodecs
