"""Shapes on turntables beside what files of so many bytes keep of them, as a page that works offline.

    python -m smalti.recipes.turntables SHAPES [--model shape] [--bytes 64 --bytes 128 --bytes 256] -o FILE.html [--only NAME]

SHAPES: a folder or a zip. Each version stands with its bytes, F-score at 2 % of the longest side, and Chamfer L1.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from smalti.codecs.media.files import write_atomically
from smalti.metrics.shape import ChamferL1, FScore
from smalti.recipes.models import codec
from smalti.recipes.prime_prior import Progress
from smalti.recipes.shape_data import Source
from smalti.recipes.turntables.page import Item, Version, page
from smalti.recipes.turntables.rendering import Array, frame_of, turntable
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Shape

SIZE = 240
NONE = np.zeros((0, 3), np.int64)


def item_of(name: str, shape: Shape, model: str, sizes: Sequence[int], views: int) -> Item:
    """A shape and what each size keeps of it."""
    coder, frame = codec(model), frame_of(shape)
    faces = f"{len(shape.faces)} faces" if shape.faces is not None else f"{len(shape.vertices)} points"
    versions = [Version("original", _strip(turntable(shape, views, SIZE, *frame)), faces)]
    for size in sizes:
        try:
            data = coder.compress(shape, Target(bytes=size))
        except UsageError as error:
            versions.append(Version(f"{size} bytes", _strip(turntable(Shape(shape.vertices[:0], NONE), views, SIZE, *frame)), str(error)))
            continue
        decoded = coder.decompress(data)
        assert isinstance(decoded, Shape)
        near, far = FScore(2)(shape, decoded).value, ChamferL1()(shape, decoded).value
        strip = _strip(turntable(decoded, views, SIZE, *frame))
        versions.append(Version(f"{len(data)} bytes", strip, f"F 2 % {near:.3f}, Chamfer {far:.4f}"))
    return Item(name, f"{coder.name}", versions)


def _strip(pixels: Array) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(pixels).save(out, "webp", quality=80, method=4)
    return out.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m smalti.recipes.turntables", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("shapes", help="folder or zip")
    parser.add_argument("--model", default="shape", help="name or folder (shape)")
    parser.add_argument("--bytes", type=int, action="append", help="of whole files at most; may be repeated (64, 128, 256)")
    parser.add_argument("--only", action="append", help="part of a name; may be repeated")
    parser.add_argument("--views", type=int, default=12, choices=range(2, 73), metavar="N", help="2..72 (12)")
    parser.add_argument("-o", "--output", required=True, help="the page")
    given = parser.parse_args(argv)
    try:
        source = Source(given.shapes)
        names = [name for name in source.names if not given.only or any(part in name for part in given.only)]
        if not names:
            raise UsageError(f"no shape of {given.shapes} has {' or '.join(given.only)} in its name")
        progress = Progress("shapes", len(names))
        items = []
        for done, name in enumerate(names, 1):
            items.append(item_of(name, source.read(name), given.model, given.bytes or (64, 128, 256), given.views))
            progress(done)
        write_atomically(Path(given.output), page("Turntables", items, given.views).encode())
    except SmaltiError as error:
        print(f"turntables: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
