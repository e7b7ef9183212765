"""A large picture through a tokenizer: megapixels per second each way and the peak of memory, in one run.

    python -m smalti.recipes.bench.large_image [--megapixels 40] [--model NAME] [--json]

The picture is scikit-learn's sample photo, mirrored again and again, so that no two tiles are cut alike.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from pathlib import Path

import numpy as np

from smalti.codecs.media.images import read_image
from smalti.recipes.bench.photo import sample_photo
from smalti.tokenizers import zoo
from smalti.tokenizers.signals import Image


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--megapixels", type=float, default=40)
    parser.add_argument("--model", default="image-grid-16")
    parser.add_argument("--photo", type=Path, help="another photo to repeat")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    picture = enlarged(read_image(arguments.photo or sample_photo()), arguments.megapixels)
    tokenizer = zoo.load(arguments.model)
    megapixels = picture.height * picture.width / 1e6
    before = _peak()
    started = time.perf_counter()
    tokens = tokenizer.encode([picture])
    encoded = time.perf_counter()
    tokenizer.decode(tokens)
    decoded = time.perf_counter()
    result = {
        "model": tokenizer.name,
        "megapixels": megapixels,
        "encode_megapixels_per_second": megapixels / (encoded - started),
        "decode_megapixels_per_second": megapixels / (decoded - encoded),
        "peak_mebibytes": _peak(),
        "peak_before_mebibytes": before,
    }
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{tokenizer.name}, {picture.width} x {picture.height} = {megapixels:.1f} megapixels")
    print(f"encode {result['encode_megapixels_per_second']:.2f}, decode {result['decode_megapixels_per_second']:.2f} megapixels per second")
    print(f"peak memory {_peak():.0f} MiB, of which {before:.0f} MiB before the first tile (the picture, torch, the model)")


def enlarged(picture: Image, megapixels: float) -> Image:
    """The picture repeated by mirroring to 3:2 and about that many pixels."""
    height = round(math.sqrt(megapixels * 1e6 / 1.5))
    width = round(height * 1.5)
    pad = ((0, max(0, height - picture.height)), (0, max(0, width - picture.width)), (0, 0))
    return Image(np.pad(picture.pixels, pad, mode="symmetric")[:height, :width])


def _peak() -> float:
    """Largest resident size so far, in MiB (Linux counts in KiB, macOS in bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
