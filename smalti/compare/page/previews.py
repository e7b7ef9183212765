"""Media of a report as what a page can hold: crops, spectrograms, contact sheets and turntables as data URIs, of so many bytes in all."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs.media.files import AUDIO_SUFFIXES, IMAGE_SUFFIXES, read_bytes
from smalti.compare.results import MEDIA, is_media
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Audio, Shape

Array = np.ndarray
Box = tuple[int, int, int, int]
LIMIT = 24_000_000  # bytes of media within a page; base64 makes a third more of them
MAX_PREVIEW_BYTES = 2**27
MAX_SIDE = 960  # of pictures that are shown whole
MOMENTS = 5
CELL = 240  # pixels across a frame of a contact sheet
VIEWS, VIEW_SIZE = 12, 200
PLAYED = {".webm": "video/webm", ".mp4": "video/mp4", ".m4v": "video/mp4"}
HEARD = {".wav": "audio/wav", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg", ".flac": "audio/flac", ".mp3": "audio/mpeg"}
HEARD |= {".m4a": "audio/mp4"}


@dataclass(frozen=True)
class Preview:
    """What is seen and heard of one version: numbers of `Store.media`. width, height: of the picture, or of one view of a turntable."""

    picture: int
    width: int
    height: int
    sheet: int | None = None
    played: int | None = None
    views: int = 1


@dataclass
class Store:
    """Data URIs in the order in which they came, until their bytes exceed the limit.

    shown: numbers of those that stand in the page as elements, where scripts find them. left_out: what had no room or could not be read.
    """

    folder: Path
    limit: int
    media: list[str] = field(default_factory=list)
    spent: int = 0
    shown: set[int] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)

    def put(self, data: bytes, kind: str) -> int | None:
        """Its number; None where there is no more room."""
        if self.spent + len(data) > self.limit:
            return None
        self.spent += len(data)
        self.media.append(f"data:{kind};base64,{base64.b64encode(data).decode()}")
        return len(self.media) - 1

    def show(self, number: int) -> str:
        """The data URI of an element that names its number as `data-media`."""
        self.shown.add(number)
        return self.media[number]

    def path(self, name: str) -> Path:
        """A file of the report; SignalError where it lies elsewhere."""
        path = self.folder / name
        if not is_media(name) or not path.resolve().is_relative_to((self.folder / MEDIA).resolve()):
            raise SignalError(f"{name}: expected a file below {MEDIA}/ of the report")
        return path

    def read(self, name: str) -> bytes:
        return read_bytes(self.path(name), MAX_PREVIEW_BYTES)


def cropped(store: Store, name: str, box: Box | None, whole: tuple[int, int]) -> Preview | None:
    """A piece of a picture, without loss. whole: height and width that the box is of."""
    pixels = _pixels(store, name)
    return _piece(store, pixels, box, whole)


def _piece(store: Store, pixels: Array, box: Box | None, whole: tuple[int, int]) -> Preview | None:
    if box is not None:
        pixels = pixels[_within(box, whole, pixels.shape[:2])]
    small = _fitted(pixels, MAX_SIDE)
    number = store.put(_webp(small, lossless=True), "image/webp")
    return Preview(number, small.shape[1], small.shape[0]) if number is not None else None


def _within(box: Box, whole: tuple[int, int], size: Sequence[int]) -> tuple[slice, slice]:
    """A box in pixels of `whole`, on a picture of another size, at least one pixel and inside it."""
    x, y, width, height = box
    found = []
    for start, length, of, has in ((y, height, whole[0], size[0]), (x, width, whole[1], size[1])):
        first = min(max(round(start * has / max(of, 1)), 0), has - 1)
        found.append(slice(first, min(max(first + max(round(length * has / max(of, 1)), 1), first + 1), has)))
    return found[0], found[1]


def thumbnail(store: Store, name: str, across: int = 200) -> Preview | None:
    """A small picture of the whole, to show where a crop is from."""
    small = _fitted(_pixels(store, name), across)
    number = store.put(_webp(small), "image/webp")
    return Preview(number, small.shape[1], small.shape[0]) if number is not None else None


def heard(store: Store, name: str, loudest: float | None) -> Preview | None:
    """A sound and its spectrogram, as bright as `loudest` asks."""
    from smalti.recipes.listening.spectrogram import spectrogram

    pixels = spectrogram(sound_of(store, name), loudest).pixels
    kind = HEARD.get(Path(name).suffix.lower())
    if kind is None:
        raise SignalError(f"{name}: no sound that browsers play, expected one of {' '.join(HEARD)}")
    played = store.put(store.read(name), kind)  # first, since it is large: where it has no room, no picture of it is kept
    picture = store.put(_webp(pixels), "image/webp") if played is not None else None
    return Preview(picture, pixels.shape[1], pixels.shape[0], None, played) if picture is not None else None


def sound_of(store: Store, name: str) -> Audio:
    from smalti.codecs.media.audio import read_audio

    if Path(name).suffix.lower() not in AUDIO_SUFFIXES:
        raise SignalError(f"{name}: no sound by its name, expected one of {' '.join(AUDIO_SUFFIXES)}")
    return read_audio(store.path(name), name)


def filmed(store: Store, name: str, box: Box | None, whole: tuple[int, int]) -> Preview | None:
    """The middle frame (or a piece of it), a contact sheet, and the film where browsers play it."""
    found = _moments(store, name)
    middle = _piece(store, found[len(found) // 2], box, whole)
    if middle is None:
        return None
    cells = [_fitted(frame, CELL) for frame in found]
    gap = np.zeros((cells[0].shape[0], 4, 3), np.uint8)
    strip = np.concatenate([part for cell in cells for part in (cell, gap)][:-1], 1)
    sheet = store.put(_webp(strip), "image/webp")
    kind = PLAYED.get(Path(name).suffix.lower())
    played = store.put(store.read(name), kind) if kind is not None else None
    return Preview(middle.picture, middle.width, middle.height, sheet, played)


def _moments(store: Store, name: str) -> list[Array]:
    """Frames spread evenly from the first to the last; one of a still preview."""
    if Path(name).suffix.lower() in IMAGE_SUFFIXES:
        return [_pixels(store, name)]
    from smalti.codecs.media.video import read_video

    # twice, since a container may tell another number of frames than it has
    count = sum(1 for _ in read_video(store.path(name), sound=False).frames)
    if not count:
        raise SignalError(f"{name}: a film without frames, expected some")
    wanted = {round(k * (count - 1) / (MOMENTS - 1)) for k in range(MOMENTS)}
    return [np.asarray(frame) for k, frame in enumerate(read_video(store.path(name), sound=False).frames) if k in wanted]


def turned(store: Store, name: str, ball: tuple[Array, float] | None) -> Preview | None:
    """A shape from all sides, as a strip of square views. ball: centre and radius of the original, so that both are seen alike."""
    if Path(name).suffix.lower() in IMAGE_SUFFIXES:
        strip = _pixels(store, name)
    else:
        from smalti.recipes.turntables.rendering import frame_of, turntable

        shape = shape_of(store, name)
        strip = turntable(shape, VIEWS, VIEW_SIZE, *(ball or frame_of(shape)))
    height, width = strip.shape[:2]
    if width % height:
        raise SignalError(f"{name}: {width} x {height} pixels, expected a strip of square views")
    number = store.put(_webp(strip), "image/webp")
    return Preview(number, height, height, views=width // height) if number is not None else None


def shape_of(store: Store, name: str) -> Shape:
    from smalti.codecs.media.shapes import read_shape

    return read_shape(store.path(name), name)


def _pixels(store: Store, name: str) -> Array:
    """uint8 (height, width, 3)."""
    from smalti.codecs.media.images import read_image

    if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
        raise SignalError(f"{name}: no picture by its name, expected one of {' '.join(IMAGE_SUFFIXES)}")
    pixels = read_image(store.path(name), name).pixels
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def _fitted(pixels: Array, side: int) -> Array:
    """At most so many pixels on its longer side."""
    import PIL.Image

    height, width = pixels.shape[:2]
    scale = Fraction(side, max(height, width))
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.LANCZOS))


def _webp(pixels: Array, lossless: bool = False) -> bytes:
    import PIL.Image

    out = io.BytesIO()
    # without loss, quality is effort: 30 takes a third of the time of the usual 80, for files 3 % larger
    options: dict[str, Any] = {"lossless": True, "exact": True, "quality": 30, "method": 2} if lossless else {"quality": 82, "method": 4}
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(out, "webp", **options)
    return out.getvalue()
