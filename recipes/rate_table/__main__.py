"""Ours beside JPEG, WebP and AVIF at equal bytes.

    python -m smalti.recipes.rate_table KODAK --model image-grid-16 --lpips alex --lpips vgg --rate 0.16 --ledger runs/rates.jsonl

For each picture and each number of stages of a model, every rival may spend the bytes of our file of that picture; --rate adds rates
without a model of ours. The Markdown table goes to standard output, progress to standard error. With --ledger a run goes on where an
earlier one was stopped, and a later model finds what was measured for the rivals.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from smalti.codecs import tone
from smalti.codecs.media.files import check_place, list_images, write_atomically
from smalti.codecs.media.images import read_image
from smalti.recipes import models
from smalti.recipes.rate_table import ours
from smalti.recipes.rate_table.figure import draw
from smalti.recipes.rate_table.ledger import Entry, Ledger
from smalti.recipes.rate_table.rivals import RIVALS, Answer, Bench, Judges
from smalti.recipes.rate_table.table import Row, as_json, markdown, own_row, rival_row
from smalti.tokenizers.errors import SmaltiError, UsageError


def measure(
    files: Sequence[Path],
    names: Sequence[str],
    rates: Sequence[float],
    metrics: Sequence[str],
    ledger: Ledger,
    quiet: bool = True,
    tone_passes: int = tone.PASSES,
) -> list[Row]:
    """All rows: per model and number of stages ours and the rivals', then the rivals at each of `rates` (bits per pixel)."""
    codecs = [models.codec(name, tone_passes=tone_passes) for name in names]
    judges = Judges(metrics)
    pixels: list[int] = []
    entries: dict[tuple[str, int], list[Entry]] = {}
    answers: dict[tuple[str, int] | float, list[list[Answer]]] = {}
    for i, path in enumerate(files, 1):
        started = time.monotonic()
        picture = read_image(path)
        pixels.append(picture.height * picture.width)
        rooms: dict[tuple[str, int] | float, float] = {rate: rate * pixels[-1] / 8 for rate in rates}
        for codec in codecs:
            for cut, entry in ours.files(codec, picture, judges, ledger).items():
                entries.setdefault((codec.name, cut), []).append(entry)
                rooms[codec.name, cut] = entry.bytes or 0
        bench = Bench(picture, judges, ledger)
        for place, room in rooms.items():
            answers.setdefault(place, []).append([bench.answer(rival, room) for rival in RIVALS])
        if not quiet:
            print(f"{i} of {len(files)}: {path.name}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    rows = []
    for (name, cut), found in sorted(entries.items(), key=lambda item: sum(entry.bytes or 0 for entry in item[1])):
        row = own_row(f"{name}, {cut} stage{'s' if cut > 1 else ''}", found, pixels)
        rows += [row, *_rivals(row.rate, answers[name, cut], pixels, metrics, found)]
    for rate in sorted(rates):
        rows += _rivals(rate, answers[rate], pixels, metrics)
    return rows


def _rivals(
    rate: float, answers: Sequence[Sequence[Answer]], pixels: Sequence[int], metrics: Sequence[str], found: Sequence[Entry] = ()
) -> list[Row]:
    return [rival_row(rate, rival.name, [item[i] for item in answers], pixels, metrics, found) for i, rival in enumerate(RIVALS)]


def main() -> int:
    """Run and print; 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.rate_table", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", nargs="+", type=Path, help="pictures, or folders of them")
    parser.add_argument("--model", action="append", default=[], help="a model of ours; may be given again")
    parser.add_argument("--rate", action="append", type=float, default=[], help="a further rate in bits per pixel; may be given again")
    parser.add_argument("--lpips", action="append", choices=("alex", "vgg"), default=[], help="judge by this LPIPS too; may be given again")
    parser.add_argument("--ledger", type=Path, help="JSON lines of what was measured; read first, then appended to")
    parser.add_argument("--json", type=Path, help="write the rows, with intervals and chosen settings, to this file")
    parser.add_argument("--figure", type=Path, help="write the curves to this PNG")
    parser.add_argument("--tone-passes", type=int, default=tone.PASSES, help="of ours, as in smalti tokenize")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    arguments = parser.parse_args()
    try:
        files = [path for item in arguments.data for path in (list_images(item) if item.is_dir() else [item])]
        if not files or not (arguments.model or arguments.rate):
            raise UsageError("a table needs pictures, and a model or a rate; see --help")
        for place in (arguments.json, arguments.figure):
            if place is not None:
                check_place(place)
        metrics = [*dict.fromkeys(f"lpips-{net}" for net in arguments.lpips), "psnr"]
        rows = measure(files, arguments.model, arguments.rate, metrics, Ledger(arguments.ledger), arguments.quiet, arguments.tone_passes)
        print(markdown(rows, metrics))
        if arguments.json:
            write_atomically(arguments.json, (json.dumps(as_json(rows, [path.name for path in files]), indent=1) + "\n").encode())
        if arguments.figure:
            draw(rows, metrics, arguments.figure)
    except SmaltiError as error:
        print(f"rate_table: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
