"""A film beside what a model makes of it: a contact sheet (PNG) and a film (MP4), for people to look at.

    python -m smalti.recipes.video_sheet clip.mp4 --model video-causal --stages 1 --stages 4 --rival x264:.02 -o out/clip

writes out/clip.png, whose rows are the original and each version and whose columns are moments, and out/clip.mp4, where they run side by
side. Under each stand its bits per pixel (whole file, without sound). A rival is NAME:BITS, or NAME/2:BITS at half the size. Rows can be
drawn larger by --zoom, with pixels kept as squares. The MP4 is H.264 at crf 12: look at it, and measure elsewhere.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pil
from PIL import ImageDraw

from smalti.codecs.media.files import write_atomically
from smalti.codecs.media.images import encode_image
from smalti.codecs.media.video import read_video, take, write_video
from smalti.codecs.registry import VIDEO_CODECS, resolve
from smalti.recipes import models
from smalti.tokenizers.contracts import Codec, Target
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Array, Image, Video

CAPTION = 16  # rows of a caption
GAP = 4
COLUMNS = 5


@dataclass(frozen=True)
class Version:
    """One way to see the film. bits_per_pixel: None of the original."""

    title: str
    frames: Sequence[Array]
    bits_per_pixel: float | None = None

    @property
    def caption(self) -> str:
        return self.title if self.bits_per_pixel is None else f"{self.title}, {self.bits_per_pixel:.4f} bits/pixel"


def versions(film: Video, settings: Sequence[tuple[str, Codec, Target]]) -> list[Version]:
    """The original and what each setting makes of it. The film's frames pass once; all are held."""
    whole = Video(list(film.frames), film.timing, film.aspect)
    found = [Version("original", list(whole.frames))]
    pixels = sum(frame.shape[0] * frame.shape[1] for frame in whole.frames)
    for title, codec, target in settings:
        data = codec.compress(whole, target)
        decoded = codec.decompress(data)
        assert isinstance(decoded, Video)
        found.append(Version(title, list(decoded.frames), 8 * len(data) / pixels))
    return found


def sheet(shown: Sequence[Version], columns: int = COLUMNS, zoom: int = 1) -> Image:
    """Rows are versions, columns moments spread evenly over the film, from the first frame to the last."""
    count = len(shown[0].frames)
    places = sorted({round(i * (count - 1) / max(columns - 1, 1)) for i in range(columns)})
    rows = []
    for version in shown:
        cells = [_enlarged(version.frames[place], zoom) for place in places]
        row = np.concatenate([part for cell in cells for part in (cell, _white(cell.shape[0], GAP))][:-1], 1)
        rows += [_captioned(row, version.caption), _white(GAP, row.shape[1])]
    return Image(np.concatenate(rows[:-1], 0))


def beside(shown: Sequence[Version], zoom: int = 1) -> Iterator[Array]:
    """Frames with all versions side by side, of even sides, so that chroma can be halved."""
    for frames in zip(*(version.frames for version in shown), strict=True):
        cells = [_captioned(_enlarged(frame, zoom), version.caption) for frame, version in zip(frames, shown, strict=True)]
        whole = np.concatenate([part for cell in cells for part in (cell, _white(cell.shape[0], GAP))][:-1], 1)
        yield np.pad(whole, ((0, whole.shape[0] % 2), (0, whole.shape[1] % 2), (0, 0)), mode="edge")


def _enlarged(pixels: Array, zoom: int) -> Array:
    return np.repeat(np.repeat(pixels, zoom, 0), zoom, 1) if zoom > 1 else pixels


def _white(height: int, width: int) -> Array:
    return np.full((height, width, 3), 255, np.uint8)


def _captioned(pixels: Array, caption: str) -> Array:
    strip = Pil.fromarray(_white(CAPTION, pixels.shape[1]))
    ImageDraw.Draw(strip).text((2, 2), caption, fill=(0, 0, 0))
    return np.concatenate([pixels, np.array(strip)], 0)


def _settings(given: argparse.Namespace) -> list[tuple[str, Codec, Target]]:
    """(title, codec, target) of what was asked for; UsageError for what nobody knows."""
    found: list[tuple[str, Codec, Target]] = []
    for name in given.model:
        codec = models.codec(name)
        found += [(f"{codec.name}, {k} stage{'s' if k > 1 else ''}", codec, Target(stages=k)) for k in given.stages]
        found += [(codec.name, codec, Target(bits_per_pixel=rate)) for rate in given.bpp]
        found += [(codec.name, codec, Target())] if not given.stages and not given.bpp else []
    for rival in given.rival:
        name, _, rate = rival.partition(":")
        try:
            target = Target(bits_per_pixel=float(rate))
        except ValueError:
            raise UsageError(f"{rival!r}: a rival is NAME:BITS, as in x264:.02") from None
        if name.partition("/")[0] not in VIDEO_CODECS:
            raise UsageError(f"{rival!r}: the rivals are {', '.join(VIDEO_CODECS)}, also with /2 and /4")
        found.append((name, resolve(name), target))
    if not found:
        raise UsageError("nothing to show beside the film; give --model or --rival")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("film", help="a film")
    parser.add_argument("--model", action="append", default=[], help="a model of films; may be given again")
    parser.add_argument("--stages", action="append", type=int, default=[], help="of models; may be given again")
    parser.add_argument("--bpp", action="append", type=float, default=[], help="bits per pixel of models; may be given again")
    parser.add_argument("--rival", action="append", default=[], help="NAME:BITS, as x264:.02; may be given again")
    parser.add_argument("--frames", type=int, default=150, help="the first so many")
    parser.add_argument("--columns", type=int, default=COLUMNS, help="moments in the sheet")
    parser.add_argument("--zoom", type=int, default=1, help="how much larger to draw")
    parser.add_argument("-o", "--out", required=True, help="results are OUT.png and OUT.mp4")
    given = parser.parse_args(arguments)
    try:
        settings = _settings(given)
        film = read_video(given.film, sound=False)
        shown = versions(take(film, given.frames), settings)
        Path(given.out).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(f"{given.out}.png", encode_image(sheet(shown, given.columns, given.zoom), ".png"))
        timing = film.timing if not isinstance(film.timing, tuple) else film.timing[: given.frames]
        write_video(Video(beside(shown, given.zoom), timing, film.aspect), f"{given.out}.mp4")
    except SmaltiError as error:
        print(error, file=sys.stderr)
        return 2
    for version in itertools.islice(shown, 1, None):
        print(version.caption)
    print(f"{given.out}.png, {given.out}.mp4")
    return 0


if __name__ == "__main__":
    sys.exit(main())
