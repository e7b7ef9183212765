"""Train the hyperprior codec on photos, and make its folder of weights.

    python -m smalti.recipes.train_hyperprior PHOTOS -o FOLDER [--steps N] [--judge PICTURES] [--json]

FOLDER gets config.json, model.safetensors and card.md; `codecs.hyperprior.codec.load(FOLDER)` reads it. Beside it, FOLDER.work holds a
checkpoint: the same command goes on where it was stopped. The last 24 photos are held out. With --judge: bits per pixel of whole files and
PSNR of 8-bit pictures, means over pictures, at some qualities, beside `jpeg` and `webp` at theirs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from smalti.codecs import registry
from smalti.codecs.hyperprior.codec import load
from smalti.codecs.hyperprior.config import HyperpriorConfig
from smalti.codecs.media.files import check_place, list_images, write_atomically
from smalti.codecs.media.images import read_image
from smalti.recipes.train_hyperprior.learning import CROPS, SEED, Budget, train
from smalti.recipes.train_hyperprior.model import LAMBDAS, Model, start
from smalti.recipes.train_hyperprior.release import lowered, tensors_of
from smalti.tokenizers.contracts import Codec, Target
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError
from smalti.tokenizers.signals import Array, Image

HELD_OUT = 24
COUNTED_ON = 80  # photos that tables are counted on
BELOW = 2  # rates below those trained
JUDGED = (1, 15, 29, 43, 57, 72, 86, 100)
RIVALS = {"jpeg": (5, 15, 25, 50, 75, 90), "webp": (0.001, 15, 35, 60, 80, 90)}


@dataclass(frozen=True)
class Row:
    """Means over pictures. psnr: in dB, of each picture."""

    codec: str
    quality: float
    bits_per_pixel: float
    psnr: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where the photos or the place cannot be used."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.train_hyperprior", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder of photos")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--steps", type=int, default=Budget.steps, help="of 8 crops each  [default: %(default)s]")
    parser.add_argument("--judge", type=Path, help="folder of pictures to measure on")
    parser.add_argument("--json", action="store_true", help="measurements as JSON on standard output")
    given = parser.parse_args(arguments)
    try:
        make(given.data, given.out, Budget(given.steps))
        rows = judged(load(given.out), given.judge) if given.judge else []
    except SmaltiError as error:
        print(f"train_hyperprior: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    for row in [] if given.json else rows:
        print(f"{row.codec} {row.quality:g}: {row.bits_per_pixel:.4f} bits per pixel, {row.psnr:.2f} dB")
    return 0


def make(data: Path, out: Path, budget: Budget, config: HyperpriorConfig = HyperpriorConfig()) -> None:
    """Train, or train on, and write the folder."""
    pictures = photos_of(data)
    work = out.with_name(out.name + ".work")
    try:
        for folder in (out, work):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: the folder cannot be made ({error.strerror}); choose another with -o") from None
    check_place(out / "model.safetensors")
    learned = pictures[:-HELD_OUT] if len(pictures) > 2 * HELD_OUT else pictures
    torch.manual_seed(SEED)
    model = Model(config)
    path = work / "checkpoint.safetensors"
    if not path.is_file():
        start(model, learned, SEED)
    steps = train(model, learned, budget, path, lambda line: print(line, file=sys.stderr, flush=True))
    print(f"counting tables on {min(COUNTED_ON, len(learned))} photos", file=sys.stderr)
    write(lowered(model, BELOW), out, learned[:COUNTED_ON], f"{steps} steps of {budget.batch} crops on {len(learned)} photos, seed {SEED}")


def write(model: Model, out: Path, pictures: Sequence[Array], how: str) -> None:
    """The folder of a trained model; how: for its card. pictures: that tables are counted on."""
    from safetensors.numpy import save

    write_atomically(out / "model.safetensors", save(tensors_of(model, pictures)))
    write_atomically(out / "config.json", (json.dumps(asdict(model.config), indent=1) + "\n").encode())
    card = f"# hyperprior\n\nMean-scale hyperprior for pictures, {how}, lambdas {', '.join(map(str, LAMBDAS))}. Not measured yet.\n"
    if not (out / "card.md").exists():
        write_atomically(out / "card.md", card.encode())


def photos_of(folder: Path) -> list[Array]:
    """uint8 (H, W, 3), those that are large enough for crops; UsageError where there are none."""
    found = []
    for path in list_images(folder):
        try:
            pixels = read_image(path).eight_bits
        except SignalError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if min(pixels.shape[:2]) >= CROPS[-1]:
            found.append(pixels)
    if not found:
        raise UsageError(f"{folder}: no picture of {CROPS[-1]} pixels a side in there; name a folder of photos")
    return found


def judged(codec: Codec, folder: Path) -> list[Row]:
    """The codec and `RIVALS` on a folder of pictures."""
    pictures = [Image(read_image(path).eight_bits) for path in list_images(folder)]
    if not pictures:
        raise UsageError(f"{folder}: no pictures in there; name another folder")
    rows = [measured(codec, quality, pictures) for quality in JUDGED]
    return rows + [measured(registry.resolve(name), quality, pictures) for name, qualities in RIVALS.items() for quality in qualities]


def measured(codec: Codec, quality: float, pictures: Sequence[Image]) -> Row:
    """One setting."""
    rates, decibels = [], []
    for picture in pictures:
        data = codec.compress(picture, Target(quality=quality))
        back = codec.decompress(data)
        assert isinstance(back, Image)
        rates.append(8 * len(data) / (picture.height * picture.width))
        error = np.square(back.pixels.astype(np.float64) - picture.pixels).mean()
        decibels.append(10 * np.log10(255**2 / max(error, 1e-10)))
    return Row(codec.name, quality, float(np.mean(rates)), float(np.mean(decibels)))


if __name__ == "__main__":
    sys.exit(main())
