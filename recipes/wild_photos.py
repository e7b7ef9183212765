"""Photos from elsewhere, and one of 12 megapixels: do colours drift, do tiles or tokens show?

    python -m smalti.recipes.wild_photos [PICTURE...] [--model image-grid-16] [--megapixels 12] [--tone-passes 2] [--json]

Without pictures: the photos that scikit-image brings, and scikit-learn's, mirrored until it is that large. Errors are decoded minus
original, in steps of 255. `color` is their mean per channel: at most 1 either way is asked for (exit code 1 else). Joins are ratios of the
error's mean absolute gradient, and 1 is invisible: `token` is that across borders of tokens (of regions, where a region has a line of
tokens) over that within; `tile` is that across borders of tiles over that at the same places when the picture is coded in tiles three
quarters as large, so that the picture's own edges cancel. Pictures no larger than a tile are cut into smaller ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs import tone
from smalti.codecs.media.files import list_images
from smalti.codecs.media.images import read_image
from smalti.recipes.bench.large_image import enlarged
from smalti.recipes.bench.photo import sample_photo
from smalti.recipes.joins import gradients, join_ratio, ratio
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import RegionalTokenizer
from smalti.tokenizers.errors import SignalError, SmaltiError
from smalti.tokenizers.signals import Image

# of those that its wheel holds: photos in colour
PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
MOST_COLOR = 1.0
SMALL_TILE_PIXELS = 256


@dataclass(frozen=True)
class Found:
    """One picture through a model. color: mean error per channel; joins as the module says, None where the picture has no such border."""

    name: str
    width: int
    height: int
    color: tuple[float, float, float]
    token_join: float | None
    tile_join: float | None

    @property
    def drifts(self) -> bool:
        return max(map(abs, self.color)) > MOST_COLOR


def check(tokenizer: Any, name: str, picture: Image, passes: int = tone.PASSES) -> Found:
    """Encode and decode twice, in tiles of two sizes; tokenizer: of the kind image-grid or image-line."""
    usual = tokenizer.tile_pixels
    tile = SMALL_TILE_PIXELS if max(picture.height, picture.width) <= usual else usual
    try:
        error, other = (_error(tokenizer, picture, pixels, passes) for pixels in (tile, 3 * tile // 4))
    finally:
        tokenizer.tile_pixels = usual
    red, green, blue = (float(error[..., c].mean(dtype=np.float64)) for c in range(3))
    side = tokenizer.region_pixels if isinstance(tokenizer, RegionalTokenizer) else tokenizer.config.stride
    border = join_ratio(error, side)

    def joins(place: int) -> bool:
        return place % tile == 0 and place % (3 * tile) != 0  # there the smaller tiles join too

    tiles = ratio(gradients(error, joins), gradients(other, joins))
    return Found(name, picture.width, picture.height, (red, green, blue), border, tiles)


def _error(tokenizer: Any, picture: Image, tile: int, passes: int) -> np.ndarray:
    """Decoded minus original, float32 (H, W, 3)."""
    tokenizer.tile_pixels = tile
    (decoded,) = tokenizer.decode(tone.encode(tokenizer, [picture], passes))
    return decoded.pixels.astype(np.float32) - picture.eight_bits


def samples(megapixels: float) -> Iterator[tuple[str, Image]]:
    """scikit-image's photos, then scikit-learn's at that size; SignalError where the first are missing."""
    spec = find_spec("skimage")
    paths = [Path(root) / "data" / name for root in (spec.submodule_search_locations if spec else None) or [] for name in PHOTOS]
    there = [path for path in paths if path.is_file()]
    if not there:
        raise SignalError("scikit-image's sample photos are missing; pip install scikit-image, or name pictures of your own")
    yield from ((path.name, read_image(path)) for path in there)
    path = sample_photo()
    yield f"{path.name}, {megapixels:g} megapixels", enlarged(read_image(path), megapixels)


def main() -> int:
    """Run and print; 1 where a colour drifts, 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.wild_photos", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("pictures", nargs="*", type=Path, help="pictures, or folders of them, instead of the samples")
    parser.add_argument("--model", default="image-grid-16")
    parser.add_argument("--megapixels", type=float, default=12, help="size of the large sample")
    parser.add_argument("--tone-passes", type=int, default=tone.PASSES, help="as in smalti tokenize")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results: list[Found] = []
    try:
        tokenizer = zoo.load(arguments.model)
        files = [path for item in arguments.pictures for path in (list_images(item) if item.is_dir() else [item])]
        pictures = ((path.name, read_image(path)) for path in files) if files else samples(arguments.megapixels)
        for name, picture in pictures:
            results.append(check(tokenizer, name, picture, arguments.tone_passes))
            print(name, file=sys.stderr, flush=True)
    except SmaltiError as error:
        print(f"wild_photos: {error}", file=sys.stderr)
        return 2
    drifting = [found.name for found in results if found.drifts]
    if arguments.json:
        print(json.dumps({"model": tokenizer.name, "results": [asdict(found) for found in results], "drifting": drifting}, indent=1))
    else:
        print(f"{tokenizer.name}\n| photo | size | red | green | blue | token join | tile join |\n|---|---|---|---|---|---|---|")
        for found in results:
            color = " | ".join(f"{value:+.2f}" for value in found.color)
            joins = " | ".join("-" if join is None else f"{join:.3f}" for join in (found.token_join, found.tile_join))
            print(f"| {found.name} | {found.width} x {found.height} | {color} | {joins} |")
    return 1 if drifting else 0


if __name__ == "__main__":
    sys.exit(main())
