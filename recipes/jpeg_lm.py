"""JPEG-LM (arXiv 2408.08459) in small: pictures as the bytes of canonical JPEGs, prepared, packed and trained on like any other tokens.

    python -m smalti.recipes.jpeg_lm PHOTOS OUT [--quality 25] [--size 64] [--steps 300] [-o RUN]

OUT/jpeg-bytes-Q is the model folder (nothing is trained in it), OUT/data the prepared folder with a pack, both written once. Pictures are
cut to whole squares of `size` pixels first, into OUT/crops-SIZE, since a byte says far less than a token of a network: 256 x 256 pixels
take some 5,000. For the paper: 7B parameters, a vocabulary of 320 merged bytes on top, contexts of 12,288. What `train_tokens` says holds
here too. Bits of a byte and of a network's token are no measure of each other: compare by bits of a pixel.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from smalti.codecs.media.files import list_images
from smalti.codecs.media.images import read_image, write_image
from smalti.prepare.codes import Codes
from smalti.prepare.packs import PackOptions, write_packs
from smalti.prepare.run import Options, prepare
from smalti.recipes import train_tokens
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.image.jpeg_bytes import JpegBytes, JpegBytesConfig
from smalti.tokenizers.signals import Image

NAME, HELD_OUT, CONTEXT = "tokens", 0.06, 1023


def cut_squares(photos: Path, folder: Path, size: int, most: int) -> int:
    """Squares from the middles of pictures of at least that size, as PNG files by the picture's number; how many. They are written once."""
    folder.mkdir(parents=True, exist_ok=True)
    done = 0
    for number, path in enumerate(list_images(photos)):
        if done == most:
            break
        target = folder / f"{number:06d}.png"
        if not target.exists():
            pixels = read_image(path).eight_bits
            top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
            if min(top, left) < 0:
                continue
            write_image(Image(pixels[top : top + size, left : left + size]), target)
        done += 1
    if not done:
        raise UsageError(f"{photos}: no picture of {size} x {size} pixels or more; give another folder, or a smaller --size")
    return done


def prepared(photos: Path, out: Path, config: JpegBytesConfig, size: int, most: int) -> Codes:
    """Model folder, codes and packs in `out`; what is there already is used, and refused where it is of another quality or size."""
    model = out / f"jpeg-bytes-{config.quality}"
    if not (model / "config.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        zoo.save(JpegBytes(config), model, about={"summary": "the bytes of canonical JPEGs", "licence": "nothing is trained in it"})
    crops = out / f"crops-{size}"
    cut_squares(photos, crops, size, most)
    codes = prepare(crops, out / "data", [str(model)], Options(held_out=HELD_OUT, jobs=1)).codes
    write_packs(codes, PackOptions(NAME, context=CONTEXT, packing="concat"))
    return codes


def main() -> int:
    """Prepare and train; the exit code of `train_tokens`, 2 where something is refused."""
    parser = argparse.ArgumentParser(description="a language model over the bytes of canonical JPEGs")
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quality", type=int, default=25, help="of JPEG (default 25)")
    parser.add_argument("--size", type=int, default=64, help="side of a picture in pixels (default 64)")
    parser.add_argument("--most", type=int, default=2000, help="pictures at most (default 2000)")
    parser.add_argument("--steps", type=int, default=300, help="of training (default 300); 0 prepares only")
    parser.add_argument("--batch", type=int, default=2, help="rows of 1,024 ids a step (default 2)")
    parser.add_argument("-o", "--run", type=Path, help="run folder (default OUT/run)")
    arguments = parser.parse_args()
    try:
        codes = prepared(arguments.photos, arguments.out, JpegBytesConfig(arguments.quality), arguments.size, arguments.most)
    except SmaltiError as error:
        print(f"jpeg_lm: {error}", file=sys.stderr)
        return 2
    bits = 8 * codes.manifest["tokens"] / max(codes.manifest["documents"] * arguments.size**2, 1)
    print(f"{codes.manifest['documents']} pictures, {codes.manifest['tokens']} bytes, {bits:.3f} bits a pixel as they are", file=sys.stderr)
    if not arguments.steps:
        return 0
    run = arguments.run or arguments.out / "run"
    return train_tokens.main(
        [str(arguments.out / "data"), "-o", str(run), "--steps", str(arguments.steps), "--batch", str(arguments.batch)]
    )


if __name__ == "__main__":
    sys.exit(main())
