"""The frames of a film, decoded as they are asked for: memory holds one of them, and what the decoder itself keeps.

They can be gone through again and again; each time the file is opened anew. What does not decode is said in `problems`, which are whole
when all frames have passed: a film that ends early gives the frames that are there; a frame that is lost in its midst is shown as the one
before it, so that what follows keeps its time and stays with the sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smalti.codecs.media.video_files.containers import Source, said
from smalti.tokenizers.signals import Array

_MATRICES = (1, 4, 5, 7, 9)  # that PyAV's scaler knows, by their numbers in ITU-T H.273; 6 is the same as 5
_UNKNOWN_MATRIX = 5  # BT.601, which FFmpeg takes too where a file does not say
_SCALER = 4 | 8192 | 262144  # bicubic, chroma at full size, exact rounding


@dataclass(frozen=True)
class Turn:
    """How a stored frame is brought upright: rows and columns exchanged first, then either axis reversed."""

    swap: bool = False
    rows: bool = False
    columns: bool = False

    def of(self, pixels: Array) -> Array:
        """The frame (H, W, 3) upright."""
        pixels = pixels.swapaxes(0, 1) if self.swap else pixels
        pixels = pixels[::-1] if self.rows else pixels
        return np.ascontiguousarray(pixels[:, ::-1] if self.columns else pixels)


@dataclass(eq=False)
class FilmFrames:
    """uint8 (H, W, 3), one after the other, upright. size: height and width as they come. places: of the frames that the file announces, in
    ticks of its clock, ascending. problems: of the last time they were gone through."""

    source: Source
    places: Sequence[int]
    turn: Turn
    size: tuple[int, int]
    problems: list[str] = field(default_factory=list)

    @property
    def announced(self) -> int:
        """How many frames the file says it has."""
        return len(self.places)

    def __iter__(self) -> Iterator[Array]:
        self.problems.clear()
        found = repeated = damaged = 0
        held: Array | None = None
        walk = _Walk(self.source)
        for frame in walk:
            if (pixels := self._pixels(frame)) is None:
                self.problems.append(f"frames change to {frame.width} x {frame.height} pixels after {found}; the rest is left out")
                break
            lost = self._lost_before(frame, found) if walk.errors else 0
            for _ in range(lost):
                yield pixels if held is None else held
            found, repeated, damaged = found + lost, repeated + lost, damaged + bool(frame.is_corrupt)
            if found >= len(self.places):
                if not walk.errors:  # with them it is what stands in for lost frames that is too much
                    self.problems.append(f"more frames than the {found} that it announces; the rest is left out")
                break
            held = pixels
            found += 1
            yield pixels
        if walk.reason:
            self.problems.append(f"it breaks off ({walk.reason})")
        if repeated:
            self.problems.append(f"{repeated} frames did not decode; the one before stands in for each")
        if damaged:
            self.problems.append(f"{damaged} frames are damaged")
        if found < len(self.places):
            self.problems.append(f"{found} of {len(self.places)} frames could be read")

    def _pixels(self, frame: Any) -> Array | None:
        pixels = self.turn.of(pixels_of(frame))
        return pixels if pixels.shape[:2] == self.size else None

    def _lost_before(self, frame: Any, found: int) -> int:
        """How many of the announced frames lie between the last one and this."""
        if frame.pts is None:
            return 0
        lost = 0
        while found + lost < len(self.places) and self.places[found + lost] < frame.pts:
            lost += 1
        return lost


class _Walk:
    """The decoder's frames. errors: packets that did not decode so far. reason: why the file ended before its end, if it did."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.errors = 0
        self.reason = ""

    def __iter__(self) -> Iterator[Any]:
        with self.source.opened() as (av, film, track):
            packets = film.demux(track)
            while True:
                try:
                    packet = next(packets)
                except StopIteration:
                    return
                except (av.FFmpegError, ValueError) as error:
                    self.reason = said(error)
                    return
                try:
                    decoded = packet.decode()
                except (av.FFmpegError, ValueError):
                    self.errors += 1
                    continue
                yield from decoded


def first_frame(source: Source) -> Any | None:
    """The first frame that decodes, as PyAV has it; None where none does."""
    return next(iter(_Walk(source)), None)


def pixels_of(frame: Any) -> Array:
    """uint8 RGB (H, W, 3) of a decoded frame as it is stored; what is transparent lies on white."""
    matrix = {6: 5}.get(frame.colorspace, frame.colorspace if frame.colorspace in _MATRICES else _UNKNOWN_MATRIX)
    form = "rgba" if _may_be_transparent(frame) else "rgb24"
    pixels = frame.reformat(format=form, src_colorspace=matrix, interpolation=_SCALER, threads=1).to_ndarray()
    if form == "rgb24":
        return pixels
    share = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)


def is_transparent(frame: Any) -> bool:
    """Whether some of a decoded frame is."""
    return _may_be_transparent(frame) and bool((frame.reformat(format="rgba", threads=1).to_ndarray()[..., 3] < 255).any())


def _may_be_transparent(frame: Any) -> bool:
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def turn_of(frame: Any) -> Turn:
    """What the display matrix beside a frame asks for; matrices that are no quarter turn or mirror are not followed.

    The matrix (row by row a b u, c d v, x y w, 16.16 fixed point) takes a stored place (p, q) to (a p + c q, b p + d q).
    """
    data = next((bytes(side) for side in frame.side_data if side.type.name == "DISPLAYMATRIX"), b"")
    if len(data) != 36:
        return Turn()
    a, b, _, c, d, *_ = np.frombuffer(data, np.int32)
    if a and d and not b and not c:
        return Turn(False, bool(d < 0), bool(a < 0))
    if b and c and not a and not d:
        return Turn(True, bool(b < 0), bool(c < 0))
    return Turn()
