"""A film through a tokenizer on one thread: pictures per second each way, and the peak of memory for a long one.

    python -m smalti.recipes.bench.films [FILM] [--frames 300] [--side 256] [--model video-causal-16] [--json]

FILM: its first frames, cut to a square of the short side and scaled to `side`, over and over; without one, scikit-learn's sample photo,
through which a window moves. Frames are made as they are read, and decoded ones are counted and dropped, so what grows with their number
is the codec's. 15,000 frames are ten minutes at 25 a second.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smalti.codecs.media.images import read_image
from smalti.recipes.bench.photo import sample_photo
from smalti.tokenizers import zoo
from smalti.tokenizers.signals import Array, Video

if TYPE_CHECKING:
    from smalti.tokenizers.contracts import Tokenizer

KEPT = 64  # frames of a film that are held, to be repeated
RATE = 25


@dataclass(frozen=True)
class Repeated:
    """`count` frames that go through `pictures` and back, over and over."""

    pictures: tuple[Array, ...]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Array]:
        there = len(self.pictures)
        period = max(1, 2 * there - 2)
        for number in range(self.count):
            place = number % period
            yield self.pictures[place if place < there else period - place]


def moving_photo(side: int) -> tuple[Array, ...]:
    """Windows of the sample photo, each 3 pixels right of and 2 below the one before."""
    pixels = read_image(sample_photo()).eight_bits
    steps = min((pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 3, KEPT)
    if steps < 1:
        raise SystemExit(f"films: a window of {side} pixels does not fit into the sample photo; name a film")
    return tuple(np.ascontiguousarray(pixels[2 * i : 2 * i + side, 3 * i : 3 * i + side]) for i in range(steps))


def pictures_of(path: Path, side: int) -> tuple[Array, ...]:
    """The first frames of a film, as squares."""
    from PIL import Image

    from smalti.codecs.media.video import read_video

    found = []
    for frame in islice(read_video(path).frames, KEPT):
        short = min(frame.shape[:2])
        found.append(np.asarray(Image.fromarray(frame[:short, :short]).resize((side, side), Image.Resampling.LANCZOS)))
    return tuple(found)


def measured(tokenizer: Tokenizer, film: Video, frames: int) -> dict[str, float]:
    """Pictures per second each way, the first groups beforehand; peak resident set in MiB before and after."""
    list(tokenizer.decode(tokenizer.encode([Video(list(islice(film.frames, 9)), film.timing)]))[0].frames)  # type: ignore[union-attr]
    before, started = _peak(), time.process_time()
    tokens = tokenizer.encode([film])
    encoded = time.process_time()
    (decoded,) = tokenizer.decode(tokens)
    assert isinstance(decoded, Video)
    count = sum(1 for _ in decoded.frames)
    done = time.process_time()
    assert count == frames
    return {
        "encode_frames_per_second": frames / (encoded - started),
        "decode_frames_per_second": frames / (done - encoded),
        "both_frames_per_second": frames / (done - started),
        "peak_before_mebibytes": before,
        "peak_mebibytes": _peak(),
    }


def _peak() -> float:
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Run and print. Seconds are those of this process on the CPU, so that other programs do not count."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.bench.films", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("film", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--model", default="video-causal-16")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    tokenizer = zoo.load(given.model)
    pictures = pictures_of(given.film, given.side) if given.film else moving_photo(given.side)
    found = measured(tokenizer, Video(Repeated(pictures, given.frames), Fraction(RATE)), given.frames)
    if given.json:
        print(json.dumps({"model": tokenizer.name, "frames": given.frames, "side": given.side, **found}, indent=1))
        return
    print(f"{tokenizer.name}, {given.frames} frames of {given.side} x {given.side}, one thread")
    each = ", ".join(f"{way} {found[f'{way}_frames_per_second']:.1f}" for way in ("encode", "decode", "both"))
    print(f"frames per CPU second: {each}")
    print(f"peak memory {found['peak_mebibytes']:.0f} MiB, of which {found['peak_before_mebibytes']:.0f} MiB after nine frames")


if __name__ == "__main__":
    main()
