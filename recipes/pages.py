"""Pages of text to read: pictures whose words are known, for `character-error-rate`.

`python -m smalti.recipes.pages FOLDER -n 24` writes page-000.png and so on, and texts.json with what is written on each. A page has
paragraphs of plain words in black on near-white, or the other way round, in sizes from 12 to 26 pixels, so that coarser and coarser
files lose smaller type first. Words, sizes and tints follow from the seed; glyphs are those of Pillow's built-in font, so pages are equal
wherever Pillow is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalti.codecs.media.images import write_image
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError
from smalti.tokenizers.signals import Image

WIDTH, HEIGHT, MARGIN = 384, 256, 20
SIZES = (12, 14, 17, 21, 26)  # pixels
_WORDS = """
about after again almost along animal another apple autumn basket because before behind below beside between bicycle bottle bread bridge
bright brother button candle carpet castle center cheese circle clever cloud coffee color corner cotton country courage dance danger
desert dinner doctor donkey door dream early earth eight engine evening every family farmer feather finger flower forest fortune garden
gentle giant glass golden green hammer harbor heavy hidden honest horse house hundred iron island jacket journey kettle kitchen ladder
language leather letter library little lonely machine market meadow metal middle minute mirror money morning mountain music narrow needle
nephew never night north number ocean office orange orchard paper pencil people pepper picture pocket point police power quarter question
quick quiet rabbit railway rain reason ribbon river road saddle sailor school season second shadow silver simple singer sister sleep smoke
soldier spring square station stone story street sugar summer table tailor thirty thunder ticket timber tomorrow tower travel uncle under
valley velvet village violin visitor wagon water weather welcome whisper window winter wisdom wonder yellow yesterday young zebra
"""


@dataclass(frozen=True, eq=False)
class Page:
    """A picture and what is written on it, lines separated by newlines."""

    image: Image
    text: str


def page(number: int, seed: int = 0) -> Page:
    """One page; ModelError where Pillow was built without FreeType."""
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    rng = np.random.default_rng((seed, number))
    paper, ink = (int(rng.integers(235, 256)), int(rng.integers(0, 40)))
    if rng.random() < 0.25:
        paper, ink = 255 - paper, 255 - ink
    tint = rng.integers(-4, 5, 3)
    canvas = PIL.Image.new("RGB", (WIDTH, HEIGHT), tuple(np.clip(paper + tint, 0, 255).tolist()))
    draw = PIL.ImageDraw.Draw(canvas)
    lines: list[str] = []
    top = MARGIN
    while True:
        size = int(rng.choice(SIZES))
        font = PIL.ImageFont.load_default(size)
        if not isinstance(font, PIL.ImageFont.FreeTypeFont):
            raise ModelError("Pillow was built without FreeType, which pages are set with; install a wheel of it")
        step = round(1.5 * size)
        for _ in range(int(rng.integers(1, 4))):
            if top + step > HEIGHT - MARGIN:
                return Page(Image(np.array(canvas, np.uint8)), "\n".join(lines))
            line = _line(rng, font)
            draw.text((MARGIN, top), line, (ink, ink, ink), font)
            lines.append(line)
            top += step
        top += 6


def pages(count: int, seed: int = 0) -> list[Page]:
    """So many of them; UsageError for none."""
    if count < 1:
        raise UsageError(f"pages are counted from 1, found {count}")
    return [page(number, seed) for number in range(count)]


def write(folder: Path, count: int, seed: int = 0) -> None:
    """page-000.png and on, and texts.json: {file name: text}, written last; UsageError for a place that cannot be written."""
    made = {f"page-{number:03}.png": page for number, page in enumerate(pages(count, seed))}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, one in made.items():
            write_image(one.image, folder / name)
        draft = folder / f".smalti-{secrets.token_hex(8)}.part"
        draft.write_text(json.dumps({name: one.text for name, one in made.items()}, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, folder / "texts.json")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); name another folder") from None


def _line(rng: np.random.Generator, font: object) -> str:
    """Words until the width is full."""
    every = _WORDS.split()
    words: list[str] = []
    while True:
        word = str(rng.choice(every))
        longer = [*words, word if words else word.capitalize()]
        if font.getlength(" ".join(longer)) > WIDTH - 2 * MARGIN:  # type: ignore[attr-defined]
            return " ".join(words)
        words = longer


def main() -> int:
    """Write pages; 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.pages", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", "--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        write(arguments.folder, arguments.count, arguments.seed)
    except SmaltiError as error:
        print(f"pages: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
