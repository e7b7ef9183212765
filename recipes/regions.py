"""A model of regions at one rate: what allocation gains over as many bands in all regions, and whether joins between regions show.

    python -m smalti.recipes.regions MODEL PICTURE... --rate 0.03 [--metric lpips-alex] [--tone-passes 2] [--json]

Each picture is written with as many bands as its rate allows, alike in all regions, and again within the bytes of that very file, allocated
(`codecs/allocation.py`). Changes are those of allocation, per picture in percent of the value without it; below 0 is better. Joins are the
mean absolute gradient of decoded minus original across borders of regions over that within regions.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from smalti.codecs import tone
from smalti.codecs.media.files import list_images
from smalti.codecs.media.images import read_image
from smalti.codecs.neural import NeuralCodec
from smalti.metrics.rate_distortion import Interval, bootstrap_mean
from smalti.metrics.registry import resolve
from smalti.recipes import models
from smalti.recipes.joins import join_ratio
from smalti.tokenizers.contracts import Metric, RegionalTokenizer, Target
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Image


@dataclass(frozen=True)
class Coded:
    """One file of a picture. mse: squared error per pixel and channel, 8 bits. scores: by metric, lower is better. join: None of one
    region."""

    bytes: int
    mse: float
    scores: dict[str, float]
    join: float | None


@dataclass(frozen=True)
class Pair:
    """One picture, as many bands in all regions, and allocated."""

    name: str
    bits_per_pixel: float
    alike: Coded
    allocated: Coded


def measure(codec: NeuralCodec, name: str, picture: Image, rate: float, metrics: Sequence[Metric]) -> Pair:
    """Both files of a picture at a rate in bits per pixel; UsageError for a model without regions or a rate that holds nothing."""
    tokenizer = codec.tokenizer
    if not isinstance(tokenizer, RegionalTokenizer):
        raise UsageError(f"{codec.name} has no regions; name a model of the kind image-line")

    def coded(target: Target, allocate: bool) -> Coded:
        codec.allocate = allocate
        data = codec.compress(picture, target)
        decoded = codec.decompress(data)
        assert isinstance(decoded, Image)
        error = decoded.pixels.astype(np.float32) - picture.eight_bits
        scores = {metric.name: _lower(metric, picture, decoded) for metric in metrics}
        return Coded(len(data), float(np.square(error).mean(dtype=np.float64)), scores, join_ratio(error, tokenizer.region_pixels))

    before = codec.allocate
    try:
        alike = coded(Target(bits_per_pixel=rate), False)
        allocated = coded(Target(bytes=alike.bytes), True)
    finally:
        codec.allocate = before
    return Pair(name, 8 * alike.bytes / (picture.height * picture.width), alike, allocated)


def _lower(metric: Metric, picture: Image, decoded: Image) -> float:
    score = metric(picture, decoded)
    if score.better != "lower":
        raise UsageError(f"changes in percent are for metrics of which lower is better; {metric.name} is not")
    return score.value


@dataclass(frozen=True)
class Summary:
    """changes: by measure, mean change by allocation in percent, with its interval over pictures. Joins are means over pictures."""

    changes: dict[str, Interval]
    join_alike: float | None
    join_allocated: float | None


def summary(pairs: Sequence[Pair]) -> Summary:
    """What allocation changed over all pictures."""
    changes = {"mse": _change([pair.alike.mse for pair in pairs], [pair.allocated.mse for pair in pairs])}
    for name in pairs[0].alike.scores:
        changes[name] = _change([pair.alike.scores[name] for pair in pairs], [pair.allocated.scores[name] for pair in pairs])
    return Summary(changes, _mean([pair.alike.join for pair in pairs]), _mean([pair.allocated.join for pair in pairs]))


def _change(before: Sequence[float], after: Sequence[float]) -> Interval:
    """In percent; what was 0 already and stays so has not changed, and what does not stay so has no percentage and counts for none."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a or not b]
    return bootstrap_mean([100 * (b / a - 1) if a else 0.0 for a, b in pairs]) if pairs else Interval(math.inf, math.inf, math.inf)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def main() -> int:
    """Run and print; 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.regions", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("pictures", nargs="+", type=Path, help="pictures, or folders of them")
    parser.add_argument("--rate", type=float, default=0.03, help="bits per pixel")
    parser.add_argument("--metric", action="append", default=[], help="lower is better; may be given again [default: lpips-alex]")
    parser.add_argument("--tone-passes", type=int, default=tone.PASSES, help="as in smalti tokenize")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    pairs: list[Pair] = []
    try:
        metrics = [resolve(name) for name in arguments.metric or ["lpips-alex"]]
        codec = models.codec(arguments.model, tone_passes=arguments.tone_passes)
        for path in [path for item in arguments.pictures for path in (list_images(item) if item.is_dir() else [item])]:
            pairs.append(measure(codec, path.name, read_image(path), arguments.rate, metrics))
            print(path.name, file=sys.stderr, flush=True)
        if not pairs:
            raise UsageError("no picture was found; name files, or folders that hold some")
    except SmaltiError as error:
        print(f"regions: {error}", file=sys.stderr)
        return 2
    found = summary(pairs)
    if arguments.json:
        about = {"model": codec.name, "rate": arguments.rate, "pictures": [asdict(pair) for pair in pairs]}
        print(json.dumps(about | asdict(found), indent=1))
    else:
        _show(codec.name, pairs, found)
    return 0


def _show(model: str, pairs: Sequence[Pair], found: Summary) -> None:
    print(f"{model}, {np.mean([pair.bits_per_pixel for pair in pairs]):.4f} bits per pixel, {len(pairs)} pictures")
    print("| measure | change by allocation, % | interval |\n|---|---|---|")
    for name, item in found.changes.items():
        print(f"| {name} | {item.mean:+.2f} | {item.low:+.2f} to {item.high:+.2f} |")
    joins = (
        f"{name} {'-' if value is None else format(value, '.3f')}"
        for name, value in (("alike", found.join_alike), ("allocated", found.join_allocated))
    )
    print(f"joins: {', '.join(joins)}")


if __name__ == "__main__":
    sys.exit(main())
