"""Image files in and out, by Pillow: what a viewer would show becomes an `Image`, and what got lost on the way is noted.

Read: PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, PPM, recognised by their content. Written: PNG, JPEG, WebP, by suffix.
Not followed: PNG's gAMA and cHRM chunks (as in most viewers, pixels without a profile are taken for sRGB) and HDR gain maps.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as Pil
from PIL import ImageCms

from smalti.codecs import notes
from smalti.codecs.media.files import read_source, reason, write_atomically
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import MAX_PIXELS, MAX_SIDE, Array, Image

# Pillow's other readers stay shut: one of them starts Ghostscript, none of them holds photos
_READERS = {
    "PNG": "PngImagePlugin",
    "JPEG": "JpegImagePlugin",
    "WEBP": "WebPImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "AVIF": "AvifImagePlugin",
    "PPM": "PpmImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
}
_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95}),
    ".jpeg": ("JPEG", {"quality": 95}),
    ".webp": ("WEBP", {"lossless": True}),
}
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
_TRANSPOSE = {
    2: Pil.Transpose.FLIP_LEFT_RIGHT,
    3: Pil.Transpose.ROTATE_180,
    4: Pil.Transpose.FLIP_TOP_BOTTOM,
    5: Pil.Transpose.TRANSPOSE,
    6: Pil.Transpose.ROTATE_270,
    7: Pil.Transpose.TRANSVERSE,
    8: Pil.Transpose.ROTATE_90,
}
# EXIF/TIFF tags that only say how the pixels are stored or how large they print: nobody misses them
_TECHNICAL_TAGS = {254, 255, 256, 257, 258, 259, 262, 266, 273, *range(277, 285), 296, 301, 317, 318, 319, *range(320, 326), 338, 339, 347}
_TECHNICAL_TAGS |= {_ORIENTATION, 529, 530, 531, 532, 34675}
_QUIET = threading.RLock()  # warning filters are the process's, not the thread's


def read_image(source: str | os.PathLike[str] | bytes | BinaryIO, name: str = "") -> Image:
    """The picture as displayed: uint8, RGB in sRGB, orientation applied, alpha flattened on white; `notes` in the format's order.

    source: a path, the bytes of a file, or an open binary file. name: what errors call it. SignalError where it is missing, no
    image, damaged, or larger than sides of 65535 or 2^28 pixels; the size is checked before anything is decoded.
    """
    data, name = read_source(source, name, "image")
    found: set[str] = set()
    picture = _open(data, name, found)
    try:
        with picture:
            pixels = _displayed(picture, data, found)
            _note_later_frames(picture, found)
    except Exception as error:  # Pillow's decoders raise whatever they stumble over: OSError, SyntaxError, struct.error, ...
        raise _damaged(name, error, picture.format) from None
    return Image(pixels, tuple(note for note in notes.NAMES if note in found))


def write_image(image: Image, destination: str | os.PathLike[str]) -> None:
    """Write a PNG, a JPEG of quality 95 or a lossless WebP, by suffix, all or nothing; UsageError where that is impossible.

    16-bit pixels are written with 8 bits.
    """
    write_atomically(destination, encode_image(image, os.path.splitext(destination)[1], str(destination)))


def encode_image(image: Image, suffix: str, name: str = "image") -> bytes:
    """The bytes that `write_image` writes for this suffix (".png", ".jpg", ".jpeg", ".webp")."""
    if suffix.lower() not in _WRITERS:
        raise UsageError(f"{name}: unknown suffix {suffix!r} for a picture, expected one of {', '.join(_WRITERS)}; change the name")
    writer, options = _WRITERS[suffix.lower()]
    pixels = image.pixels if image.pixels.dtype == np.uint8 else _to_8_bits(image.pixels)
    buffer = io.BytesIO()
    try:
        Pil.fromarray(np.ascontiguousarray(pixels)).save(buffer, writer, **options)
    except (OSError, ValueError) as error:
        size = f"{image.width} x {image.height}"
        raise UsageError(f"{name}: {writer} cannot hold {size} pixels ({reason(error)}); write .png instead") from None
    return buffer.getvalue()


def _open(data: bytes, name: str, found: set[str]) -> Any:
    """The file's header, within the limits. Not `PIL.Image.open`, whose own limit is a global and lower than ours."""
    with _quiet() as caught:
        for format_name, module in _READERS.items():
            with contextlib.suppress(ImportError):
                importlib.import_module(f"PIL.{module}")
            reader, accepts = Pil.OPEN.get(format_name, (None, None))
            if reader is None or accepts is None or accepts(data[:16]) is not True:
                continue
            try:
                picture: Any = reader(io.BytesIO(data), name)
            except Exception as error:  # as above
                raise _damaged(name, error, format_name) from None
            break
        else:
            raise SignalError(f"{name}: no known image (begins {data[:8]!r}), expected {', '.join(_READERS)}; convert it first")
    if any(not issubclass(warning.category, Pil.DecompressionBombWarning) for warning in caught):
        found.add(notes.BROKEN_METADATA)
    width, height = picture.size
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise SignalError(
            f"{name}: {width} x {height} pixels, expected sides of 1 to {MAX_SIDE} and {MAX_PIXELS} pixels at most; scale or crop it first"
        )
    if picture.mode in ("F", "LAB") or (picture.mode == "I" and picture.format not in ("PNG", "PPM")):
        raise SignalError(f"{name}: samples of kind {picture.mode}, expected 8 or 16 bits of gray, RGB or CMYK; convert it to PNG first")
    return picture


def _damaged(name: str, error: Exception, format_name: str) -> SignalError:
    if isinstance(error, Pil.DecompressionBombError):
        return SignalError(f"{name}: larger than Pillow reads a {format_name} file ({reason(error)}); convert it to PNG or JPEG first")
    return SignalError(f"{name}: damaged or cut short ({reason(error)}), expected a whole {format_name} file; get the file again")


def _displayed(picture: Any, data: bytes, found: set[str]) -> Array:
    """Decode the first frame and bring it to sRGB, upright, on white: uint8 (H, W, 3)."""
    # Pillow turns TIFFs itself while it loads them, and reads a PNG's metadata only then
    turned = _exif(picture, found).get(_ORIENTATION) if picture.format == "TIFF" else None
    bits = _bits(picture, data)
    picture.load()
    exif = _exif(picture, found)
    _note_dropped(picture, exif, found)

    info, profile = picture.info, picture.info.get("icc_profile")
    opaque = None
    if picture.mode in ("P", "PA"):
        found.add(notes.PALETTE)
        frame = picture.convert("RGBA" if picture.mode == "PA" or "transparency" in info else "RGB")
    else:
        opaque = _unkeyed(picture, bits)
        frame = _eight_bits(picture)
    if bits == 16:
        found.add(notes.DEPTH)
    if picture.format == "PNG" and data[25] in (0, 4):  # gray, gray and alpha; Pillow reads the latter's 16 bits as RGBA
        found.add(notes.GRAY)
    if frame.mode in ("RGBa", "La"):
        frame = frame.convert(frame.mode.upper())
    if frame.mode in ("RGBA", "LA"):
        opaque = np.asarray(frame.getchannel("A"))
        frame = frame.convert(frame.mode.removesuffix("A"))
    rgb = _to_srgb(frame, profile, found)
    pixels = np.array(rgb, dtype=np.uint8)
    if opaque is not None and opaque.min() < 255:
        found.add(notes.ALPHA)
        pixels = _on_white(pixels, opaque)

    orientation = turned or exif.get(_ORIENTATION)
    if orientation in _TRANSPOSE:
        found.add(notes.ORIENTATION)
        if not turned:
            pixels = np.array(Pil.fromarray(pixels).transpose(_TRANSPOSE[orientation]))
    return pixels


def _bits(picture: Any, data: bytes) -> int:
    """Bits per sample in the file; Pillow's mode does not tell, since it reads 16-bit colours as 8."""
    if picture.format == "PNG":
        return data[24]  # IHDR is always the first chunk
    if picture.format == "TIFF":
        bits = picture.tag_v2.get(_BITS_PER_SAMPLE, 1)
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    return 16 if picture.mode.startswith("I") else 8


def _eight_bits(picture: Any) -> Any:
    """The picture in a mode of 8 bits a sample; 16-bit gray is scaled, where `convert` would clip it."""
    if picture.mode.startswith("I"):
        return Pil.fromarray(_to_8_bits(np.asarray(picture)))
    if picture.mode in ("1", "L", "LA", "La", "RGB", "RGBA", "RGBa", "CMYK"):
        return picture.convert("L") if picture.mode == "1" else picture
    return picture.convert("RGB")


def _to_8_bits(pixels: Array) -> Array:
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _unkeyed(picture: Any, bits: int) -> Array | None:
    """Alpha from one colour that counts as transparent (PNG's tRNS): uint8 (H, W), or None where there is none.

    The colour is given in the file's own bits; Pillow compares it to samples already brought to 8.
    """
    key = picture.info.get("transparency")
    if picture.mode in ("1", "L") and isinstance(key, int):
        key = key * 255 // (2**bits - 1) if bits < 8 else key
        hit = np.asarray(picture.convert("L")) == key
    elif picture.mode.startswith("I") and isinstance(key, int):
        hit = np.asarray(picture) == key
    elif picture.mode == "RGB" and isinstance(key, tuple):
        hit = np.all(np.asarray(picture) == np.array([k >> 8 if bits == 16 else k for k in key]), axis=2)
    else:
        return None
    return np.where(hit, 0, 255).astype(np.uint8)


def _to_srgb(frame: Any, profile: bytes | None, found: set[str]) -> Any:
    """RGB of an L, RGB or CMYK frame, through its colour profile where that makes sense, else by plain arithmetic."""
    if frame.mode == "L":
        found.add(notes.GRAY)
    elif frame.mode == "CMYK":
        found.add(notes.CMYK)
    if profile:
        try:
            source = ImageCms.getOpenProfile(io.BytesIO(profile))
            space = source.profile.xcolor_space.strip()
            fitting = frame.convert("RGB") if (frame.mode, space) == ("L", "RGB") else frame
            converted = ImageCms.profileToProfile(fitting, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            found.add(notes.PROFILE)
            return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            found.add(notes.BROKEN_METADATA)
    return frame.convert("RGB")


def _on_white(pixels: Array, alpha: Array) -> Array:
    a = alpha.astype(np.uint16)[..., None]
    return ((pixels * a + 255 * (255 - a) + 127) // 255).astype(np.uint8)


def _exif(picture: Any, found: set[str]) -> dict[int, Any]:
    """EXIF tags of the picture; what is broken is noted and left out."""
    with _quiet() as caught:
        try:
            tags = dict(picture.getexif())
        except Exception:  # a parser over bytes of unknown origin; the pixels are what we came for
            tags = {}
            found.add(notes.BROKEN_METADATA)
    if caught:
        found.add(notes.BROKEN_METADATA)
    return tags


def _note_dropped(picture: Any, exif: dict[int, Any], found: set[str]) -> None:
    info = picture.info
    text = getattr(picture, "text", None) if picture.format == "PNG" else None
    if text or not exif.keys() <= _TECHNICAL_TAGS or any(info.get(key) for key in ("xmp", "comment", "photoshop")):
        found.add(notes.METADATA)


def _note_later_frames(picture: Any, found: set[str]) -> None:
    with contextlib.suppress(Exception):  # a GIF reads on to tell; damage behind the first frame does not concern it
        if getattr(picture, "is_animated", False):
            found.add(notes.LATER_FRAMES)


@contextlib.contextmanager
def _quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Catch Pillow's warnings on odd headers, in one thread at a time; gives the list of what was caught."""
    with _QUIET, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
