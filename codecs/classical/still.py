"""JPEG, WebP, AVIF and JPEG 2000 by Pillow's encoders, each in the setting that gives the best picture for the bytes, but `jpeg`.

- JPEG: libjpeg-turbo, progressive with Huffman tables made for the picture, which always wins; chroma 4:2:0 or 4:4:4. `jpeg` is what
  Pillow writes unasked and most tables of others show: baseline, the standard's own Huffman tables, 4:2:0.
- WebP: libwebp, method 6, the slowest; lossy WebP is 4:2:0 alone.
- AVIF: libavif with libaom at speed 4, of 0 to 10. Speed 0 takes six times as long; at quality 10 on two half-size Kodak photos it gave
  .2 and .5 dB for 5 and 4 % more bytes. `tune=ssim`: libavif's own choice, `iq`, was worse on Kodak photos at .04 to .16 bits per pixel
  (LPIPS AlexNet by .01 to .05, PSNR by .1 to 1 dB), and `psnr` about equal. Chroma 4:2:0 or 4:4:4; one thread, so that bytes repeat.
  `avif` is the same at speed 6, Pillow's and most tools' own choice, in a third of the time.
- JPEG 2000: OpenJPEG, irreversible wavelet and colour transform, a bare codestream. Quality q, 1..100, asks for a PSNR of 15 + .4 q dB,
  fractions count.

No EXIF, no colour profile, no comments. Quality is Pillow's, 1..100, and 0..100 for WebP, where fractions count too (`Target` wants it
above 0: .001 gives 0's file).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from PIL import Image as Pil
from PIL import features

from smalti.codecs.classical.search import best_quality
from smalti.codecs.media.files import reason
from smalti.codecs.media.images import read_image
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, SignalError, UsageError
from smalti.tokenizers.signals import Image, Signal

_MAGIC = {"JPEG": (0, b"\xff\xd8\xff"), "WEBP": (8, b"WEBP"), "AVIF": (4, b"ftypavif"), "JPEG2000": (0, b"\xff\x4f\xff\x51")}
_LIBRARIES = {  # and Pillow's names for them
    "JPEG": ("libjpeg-turbo", "libjpeg_turbo"),
    "WEBP": ("libwebp", "webp"),
    "AVIF": ("libavif", "avif"),
    "JPEG2000": ("OpenJPEG", "jpg_2000"),
}


@dataclass(frozen=True)
class StillCodec:
    """`contracts.Codec` of one Pillow format. qualities: what a search tries, ascending; options: what else Pillow's writer is told; scale:
    how it is told a quality."""

    name: str
    format: str
    qualities: range
    options: Mapping[str, Any]
    scale: Callable[[float], Mapping[str, Any]] = lambda quality: {"quality": round(quality)}

    @property
    def version(self) -> str:
        """The library that writes, and Pillow."""
        library, known_as = _LIBRARIES[self.format]
        return f"{library} {features.version(known_as)}, Pillow {PIL.__version__}"

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file of that quality, or of the best that fits; the best of all without a target. Raises UsageError where nothing fits."""
        picture = picture_of(signal)
        pixels = Pil.fromarray(np.ascontiguousarray(picture.eight_bits))
        room = room_of(target, picture)
        if room is not None:
            return self._within(pixels, room)
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

    def _within(self, pixels: Any, room: float) -> bytes:
        lowest = self.qualities[0]
        files = {lowest: self._encode(pixels, lowest)}  # refused here: what the format cannot hold at all

        def size(quality: int) -> int | None:
            if quality not in files:
                try:
                    files[quality] = self._encode(pixels, quality)
                except UsageError:  # noise at high quality may overflow Pillow's buffer: too large in any case
                    return None
            return len(files[quality])

        return files[best_quality(size, self.qualities, room)]

    def _encode(self, pixels: Any, quality: float) -> bytes:
        buffer = io.BytesIO()
        try:
            pixels.save(buffer, self.format, **self.scale(quality), **self.options)
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


def jpeg() -> StillCodec:
    """JPEG as Pillow writes it unasked."""
    return StillCodec("jpeg", "JPEG", range(1, 101), {})


def jpeg_420() -> StillCodec:
    """JPEG with halved chroma."""
    return _jpeg("4:2:0")


def jpeg_444() -> StillCodec:
    """JPEG with full chroma."""
    return _jpeg("4:4:4")


def webp() -> StillCodec:
    """Lossy WebP."""
    return StillCodec("webp", "WEBP", range(101), {"method": 6}, lambda quality: {"quality": quality})


def avif() -> StillCodec:
    """AVIF with halved chroma, at the usual speed."""
    return _avif("4:2:0", 6, "avif")


def avif_420() -> StillCodec:
    """AVIF with halved chroma."""
    return _avif("4:2:0")


def avif_444() -> StillCodec:
    """AVIF with full chroma."""
    return _avif("4:4:4")


def jpeg2000() -> StillCodec:
    """JPEG 2000."""
    # without `mct` colours are coded as red, green and blue, which takes twice the bytes
    options = {"quality_mode": "dB", "irreversible": True, "mct": 1, "no_jp2": True}
    return StillCodec("jpeg2000", "JPEG2000", range(1, 101), options, lambda quality: {"quality_layers": [15 + 0.4 * quality]})


def _jpeg(subsampling: str) -> StillCodec:
    options = {"subsampling": subsampling, "progressive": True, "optimize": True}
    return StillCodec(f"jpeg-{subsampling.replace(':', '')}", "JPEG", range(1, 101), options)


def _avif(subsampling: str, speed: int = 4, name: str = "") -> StillCodec:
    options = {"subsampling": subsampling, "codec": "aom", "speed": speed, "max_threads": 1, "advanced": {"tune": "ssim"}}
    return StillCodec(name or f"avif-{subsampling.replace(':', '')}", "AVIF", range(1, 101), options)
