"""Our JPEG and WebP on the Kodak photos beside the curves that CompressAI publishes for them.

    python -m smalti.recipes.published KODAK [--json]

Published: CompressAI, results/image/kodak/{jpeg,webp}.json (Pillow 7.1.2, its default settings): means over the 24 photos of bits per pixel
of the whole file and of PSNR over RGB. Set side by side at the published rate: JPEG within .05 dB, WebP (another libwebp) within .15 dB.

Pillow's wheels had IJG's libjpeg 9 until 9.0, and libjpeg-turbo since. The files are the same but for some bytes, what they decode to is
not: libjpeg 9 enlarges colour by its cosine transform, block by block, libjpeg-turbo by a triangle filter, which is .07 to .13 dB nearer
(measured with Pillow 6.2.2's libjpeg 9: 23.7799, 29.7847 and 34.3943 dB at qualities 5, 25 and 75, the published numbers to the last
digit; the same files by libjpeg-turbo: 23.852, 29.896 and 34.541). So JPEG files are decoded here as libjpeg 9 does, and WebP is at its
default effort. Their JPEG 2000 (FFmpeg 3.4.6) is not among them: `jpeg2000` asked for the same ratios of bytes is .6 to 2.5 dB ahead of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs.classical.still import StillCodec, jpeg, webp
from smalti.codecs.media.files import list_images
from smalti.codecs.media.images import read_image
from smalti.tokenizers.contracts import Codec, Target
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Array, Image

# quality: (bits per pixel, PSNR in dB)
PUBLISHED = {
    "jpeg": {5: (0.2212, 23.780), 25: (0.5879, 29.785), 75: (1.3688, 34.394)},
    "webp": {5: (0.2344, 28.328), 25: (0.4608, 30.939), 75: (0.9984, 35.104)},
}
WITHIN = {"jpeg": 0.05, "webp": 0.15}  # dB
AROUND = 12  # qualities below and above a published one, through which our curve is drawn


@dataclass(frozen=True)
class Agreement:
    """One published point. decibels: ours at the published rate less the published."""

    codec: str
    quality: int
    published_bits_per_pixel: float
    published_psnr: float
    bits_per_pixel: float
    psnr: float
    decibels: float

    @property
    def agrees(self) -> bool:
        return abs(self.decibels) <= WITHIN[self.codec]


class Jpeg9(StillCodec):
    """`jpeg`, its files decoded as libjpeg 9 does; for 4:2:0, whose planes FFmpeg gives as they are stored."""

    def decompress(self, data: bytes) -> Image:
        """Colour planes enlarged by zeros in their blocks' spectra, JFIF's colours."""
        import av

        context = av.CodecContext.create("mjpeg", "r")
        frames: list[Any] = [*context.decode(av.Packet(data)), *context.decode(None)]
        (frame,) = frames
        if frame.format.name != "yuvj420p":
            raise UsageError(f"a JPEG file of {frame.format.name}, expected 4:2:0 (yuvj420p)")
        planes = [np.asarray(plane).reshape(plane.height, plane.line_size)[:, : plane.width].astype(np.float64) for plane in frame.planes]
        y, blue, red = planes[0], *(enlarged(plane)[: frame.height, : frame.width] - 128 for plane in planes[1:])
        rgb = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], -1)
        return Image(np.rint(rgb).clip(0, 255).astype(np.uint8))


def enlarged(plane: Array) -> Array:
    """(H, W) at twice each side, each 8 x 8 block by the 16 x 16 cosine transform that begins like its own; rounded to 0..255."""
    from scipy.fft import dctn, idctn

    height, width = plane.shape
    whole = np.pad(plane, ((0, -height % 8), (0, -width % 8)), mode="edge")
    blocks = whole.reshape(whole.shape[0] // 8, 8, whole.shape[1] // 8, 8).transpose(0, 2, 1, 3)
    spectra = np.pad(dctn(blocks, axes=(2, 3), norm="ortho"), ((0, 0), (0, 0), (0, 8), (0, 8)))
    large = 2 * idctn(spectra, axes=(2, 3), norm="ortho")
    return np.rint(large.transpose(0, 2, 1, 3).reshape(2 * whole.shape[0], 2 * whole.shape[1])).clip(0, 255)


def as_theirs(name: str) -> Any:
    """A codec of the registry in the settings, and by the decoder, that the published numbers were made with."""
    if name == "jpeg":
        ours = jpeg()
        return Jpeg9(ours.name, ours.format, ours.qualities, ours.options)
    return replace(webp(), options={})


def curve_point(codec: Codec, quality: float, pictures: Sequence[Image]) -> tuple[float, float]:
    """Means over pictures of bits per pixel and PSNR."""
    rates, decibels = [], []
    for picture in pictures:
        data = codec.compress(picture, Target(quality=quality))
        back = codec.decompress(data)
        assert isinstance(back, Image)
        rates.append(8 * len(data) / (picture.height * picture.width))
        decibels.append(10 * np.log10(255**2 / np.square(back.pixels.astype(np.float64) - picture.pixels).mean()))
    return float(np.mean(rates)), float(np.mean(decibels))


def agreement(name: str, quality: int, pictures: Sequence[Image]) -> Agreement:
    """Of one published point; our PSNR at its rate lies on the line (over the logarithm of the rate) between our neighbouring qualities."""
    codec = as_theirs(name)
    rate, psnr = PUBLISHED[name][quality]
    own = curve_point(codec, quality, pictures)
    points = [own]
    for step in (AROUND // 4, AROUND):  # towards the published rate, until it is passed
        if min(points)[0] <= rate <= max(points)[0]:
            break
        points.append(curve_point(codec, max(quality + (step if rate > own[0] else -step), 1), pictures))
    rates, decibels = np.array(sorted(points)).T
    found = float(np.interp(np.log(rate), np.log(rates), decibels))
    return Agreement(name, quality, rate, psnr, *own, found - psnr)


def kodak(folder: Path) -> list[Image]:
    """All pictures of a folder."""
    found = [Image(read_image(path).eight_bits) for path in list_images(folder)]
    if not found:
        raise UsageError(f"{folder}: no pictures in there; name the folder of the 24 Kodak photos")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where a point does not agree, 2 where there are no pictures."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.published", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kodak", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        pictures = kodak(given.kodak)
        rows = [agreement(name, quality, pictures) for name, points in PUBLISHED.items() for quality in points]
    except SmaltiError as error:
        print(f"published: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    for row in [] if given.json else rows:
        print(
            f"{row.codec} q{row.quality}: {row.bits_per_pixel:.4f} bpp {row.psnr:.3f} dB, published {row.published_bits_per_pixel:.4f} "
            f"{row.published_psnr:.3f}; at the published rate {row.decibels:+.3f} dB" + ("" if row.agrees else ": does not agree")
        )
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
