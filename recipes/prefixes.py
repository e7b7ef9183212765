"""What the first tokens of pictures are worth: scores and tasks against tokens per picture, without files.

    python -m smalti.recipes.prefixes MODEL PICTURE... [--side 128] [--metric psnr] [--task classification-agreement] [--json]

All decodable prefixes of a few, of many doublings and the whole. With --side pictures are first cut to their middle square and scaled to
that many pixels: with that of one region of an image-line, tokens per picture are tokens of a line, as those who read lines count them.
Scores are means over pictures; tasks look at all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps

from smalti.codecs.media.files import list_images
from smalti.codecs.media.images import read_image
from smalti.metrics.registry import resolve, resolve_task
from smalti.recipes.training.sheet import shown_cuts
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Metric, Task, Tokenizer
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Image

BATCH = 8


@dataclass(frozen=True)
class Row:
    """stages: of the prefix. tokens: per picture, mean. scores: means over pictures. tasks: over all."""

    stages: int
    tokens: float
    scores: dict[str, float]
    tasks: dict[str, float]


def squared(picture: Image, side: int) -> Image:
    """Its middle square, scaled to side x side pixels."""
    return Image(np.array(PIL.ImageOps.fit(PIL.Image.fromarray(picture.pixels), (side, side), PIL.Image.Resampling.LANCZOS)))


def measure(tokenizer: Tokenizer, pictures: Sequence[Image], metrics: Sequence[Metric], tasks: Sequence[Task]) -> list[Row]:
    """One row per prefix; pictures may differ in size."""
    encoded = [tokens for start in range(0, len(pictures), BATCH) for tokens in tokenizer.encode(pictures[start : start + BATCH])]
    rows = []
    for cut in shown_cuts(encoded[0].layout.cuts):
        prefixes = [tokens.prefix(cut) for tokens in encoded]
        decoded: list[Any] = []
        for start in range(0, len(prefixes), BATCH):
            decoded += tokenizer.decode(prefixes[start : start + BATCH])
        pairs = list(zip(pictures, decoded, strict=True))
        scores = {metric.name: float(np.mean([metric(*pair).value for pair in pairs])) for metric in metrics}
        count = float(np.mean([sum(array.size for array in prefix.arrays) for prefix in prefixes]))
        rows.append(Row(cut, count, scores, {task.name: task(pictures, decoded).value for task in tasks}))
    return rows


def main() -> int:
    """Run and print; 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.prefixes", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("pictures", nargs="+", type=Path, help="pictures, or folders of them")
    parser.add_argument("--side", type=int, default=0, help="cut to a square and scale to so many pixels [default: as they are]")
    parser.add_argument("--metric", action="append", default=[], help="may be given again [default: psnr]")
    parser.add_argument("--task", action="append", default=[], help="may be given again")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        metrics = [resolve(name) for name in arguments.metric or ["psnr"]]
        tasks = [resolve_task(name) for name in arguments.task]
        tokenizer = zoo.load(arguments.model)
        paths = [path for item in arguments.pictures for path in (list_images(item) if item.is_dir() else [item])]
        pictures = [read_image(path) for path in paths]
        if not pictures:
            raise UsageError("no picture was found; name files, or folders that hold some")
        if arguments.side < 0:
            raise UsageError(f"--side is a number of pixels, found {arguments.side}")
        rows = measure(tokenizer, [squared(one, arguments.side) if arguments.side else one for one in pictures], metrics, tasks)
    except SmaltiError as error:
        print(f"prefixes: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps({"model": tokenizer.name, "pictures": len(pictures), "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        names = [*rows[0].scores, *rows[0].tasks]
        print(f"| stages | tokens a picture | {' | '.join(names)} |\n{'|---' * (2 + len(names))}|")
        for row in rows:
            values = (f"{value:.4f}" for value in (*row.scores.values(), *row.tasks.values()))
            print(f"| {row.stages} | {row.tokens:.0f} | {' | '.join(values)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
