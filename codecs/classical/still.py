"""JPEG, WebP and AVIF by Pillow's encoders, each in the setting that gives the best picture for the bytes.

- JPEG: libjpeg-turbo, progressive with Huffman tables made for the picture, which always wins; chroma 4:2:0 or 4:4:4.
- WebP: libwebp, method 6, the slowest; lossy WebP is 4:2:0 alone.
- AVIF: libavif with libaom at speed 4, of 0 to 10. Speed 0 takes six times as long; at quality 10 on two half-size Kodak photos it gave
  .2 and .5 dB for 5 and 4 % more bytes. `tune=ssim`: libavif's own choice, `iq`, was worse on Kodak photos at .04 to .16 bits per pixel
  (LPIPS AlexNet by .01 to .05, PSNR by .1 to 1 dB), and `psnr` about equal. Chroma 4:2:0 or 4:4:4; one thread, so that bytes repeat.

No EXIF, no colour profile, no comments. Quality is Pillow's: 1..100 for JPEG, 0..100 for the others (`Target` wants it above 0; fractions
count for WebP alone).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as Pil

from smalti.codecs.classical.search import best_within
from smalti.codecs.media.files import reason
from smalti.codecs.media.images import read_image
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, SignalError, UsageError
from smalti.tokenizers.signals import Image, Signal

_MAGIC = {"JPEG": (0, b"\xff\xd8\xff"), "WEBP": (8, b"WEBP"), "AVIF": (4, b"ftypavif")}


@dataclass(frozen=True)
class StillCodec:
    """`contracts.Codec` of one Pillow format. qualities: what a search tries, ascending; options: what else Pillow's writer is told."""

    name: str
    format: str
    qualities: range
    options: Mapping[str, Any]

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file of that quality, or of the best that fits; the best of all without a target. Raises UsageError where nothing fits."""
        picture = picture_of(signal)
        pixels = Pil.fromarray(np.ascontiguousarray(picture.eight_bits))
        room = room_of(target, picture)
        if room is not None:
            return best_within(lambda quality: self._encode(pixels, quality), self.qualities, room)
        quality = self.qualities[-1] if target.quality is None else target.quality
        if not self.qualities[0] <= quality <= self.qualities[-1]:
            raise UsageError(f"{self.name}: quality {quality}, expected {self.qualities[0]} to {self.qualities[-1]}")
        return self._encode(pixels, quality)

    def decompress(self, data: bytes) -> Signal:
        """The picture of a file of this format, within the limits of `signals`; raises BitstreamError for anything else."""
        place, magic = _MAGIC[self.format]
        if data[place : place + len(magic)] != magic:
            raise BitstreamError(f"no {self.format} file (begins {data[:12]!r}); decode it with the codec that wrote it")
        try:
            return Image(read_image(data, f"{self.format} file").pixels)
        except SignalError as error:
            raise BitstreamError(str(error)) from None

    def _encode(self, pixels: Any, quality: float) -> bytes:
        buffer = io.BytesIO()
        try:
            pixels.save(buffer, self.format, quality=quality if self.format == "WEBP" else round(quality), **self.options)
        except (OSError, ValueError) as error:
            size = f"{pixels.width} x {pixels.height}"
            raise UsageError(f"{self.name} cannot hold this picture of {size} pixels at quality {quality} ({reason(error)})") from None
        return buffer.getvalue()


def picture_of(signal: Signal) -> Image:
    """The signal, if it is a picture; SignalError else."""
    if not isinstance(signal, Image):
        raise SignalError(f"this codec takes pictures, found {type(signal).__name__}")
    return signal


def room_of(target: Target, picture: Image) -> float | None:
    """Bytes that a target allows, None where it sets no size; UsageError for targets that pictures of one stage cannot meet."""
    if target.kbps is not None or target.stages is not None:
        raise UsageError("classical picture codecs know no kbps and no stages; give bytes, bits per pixel or quality")
    if target.bits_per_pixel is not None:
        return target.bits_per_pixel * picture.height * picture.width / 8
    return target.bytes


def jpeg_420() -> StillCodec:
    """JPEG with halved chroma."""
    return _jpeg("4:2:0")


def jpeg_444() -> StillCodec:
    """JPEG with full chroma."""
    return _jpeg("4:4:4")


def webp() -> StillCodec:
    """Lossy WebP."""
    return StillCodec("webp", "WEBP", range(101), {"method": 6})


def avif_420() -> StillCodec:
    """AVIF with halved chroma."""
    return _avif("4:2:0")


def avif_444() -> StillCodec:
    """AVIF with full chroma."""
    return _avif("4:4:4")


def _jpeg(subsampling: str) -> StillCodec:
    options = {"subsampling": subsampling, "progressive": True, "optimize": True}
    return StillCodec(f"jpeg-{subsampling.replace(':', '')}", "JPEG", range(1, 101), options)


def _avif(subsampling: str) -> StillCodec:
    options = {"subsampling": subsampling, "codec": "aom", "speed": 4, "max_threads": 1, "advanced": {"tune": "ssim"}}
    return StillCodec(f"avif-{subsampling.replace(':', '')}", "AVIF", range(101), options)
