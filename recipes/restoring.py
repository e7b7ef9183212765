"""What lost tokens cost, and what each way of standing in for them leaves of a picture.

    python -m smalti.recipes.restoring MODEL PRIOR PICTURES [--loss 0.2]... [--metric psnr]... [--json]

PRIOR: a masked prior, from `smalti.recipes.train_prior`. Of each picture's tokens a share is lost, level by level: at random, or in
bursts, runs of 16 on average in reading order. Ways: the entry nearest to the codebook's mean; the nearest received token (`--conceal`);
the prior's. Equal damage for all ways and metrics. A row has the means over the pictures; the share 0 is what is decoded without damage.
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

from smalti.codecs.conceal import conceal
from smalti.codecs.media.files import list_images
from smalti.codecs.media.images import read_image
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.restore import restore
from smalti.metrics import registry
from smalti.recipes.prime_prior import Progress
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Codebook
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.tokens import Layout, Tokens

Array = np.ndarray
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)
BURST = 16  # tokens that are lost in a row, on average
PATTERNS = ("random", "bursts")
WAYS = ("mean", "nearest", "restored")


@dataclass(frozen=True)
class Row:
    """Means over all pictures; values: one for each metric, in the order asked for."""

    pattern: str
    share: float
    way: str
    values: tuple[float, ...]


def received(layout: Layout, pattern: str, share: float, rng: np.random.Generator) -> list[Array]:
    """Per stage bool, True where a token came through; about `share` did not, at least one did."""
    found = []
    for stage in layout.stages:
        there = rng.random(stage.count) >= share if pattern == "random" else _in_bursts(stage.count, share, rng)
        if not there.any():
            there[rng.integers(stage.count)] = True
        found.append(there.reshape(stage.shape))
    return found


def _in_bursts(count: int, share: float, rng: np.random.Generator) -> Array:
    """A two-state chain: bursts end with 1 in BURST, and begin as often as the share asks."""
    there = np.empty(count, bool)
    good = rng.random() >= share
    begin = min(1.0, share / (1 - share) / BURST)
    for i, dice in enumerate(rng.random(count)):
        good = dice >= begin if good else dice < 1 / BURST
        there[i] = good
    return there


def mean_entries(quantizer: Any, stages: int) -> list[int]:
    """The entry nearest to each level's mean vector."""
    tables = [module for module in quantizer.modules() if isinstance(module, Codebook)]
    tables = tables * stages if len(tables) == 1 else tables
    if len(tables) != stages:
        raise UsageError("the codebook's mean is known for models with one codebook a level, or one for all")
    return [int(table.assign(table.vectors().mean(0, keepdim=True))[0]) for table in tables]


def stand_in(way: str, tokens: Tokens, there: Sequence[Array], prior: MaskedPrior, means: Sequence[int]) -> Tokens:
    """Tokens with their lost ones filled in."""
    if way == "restored":
        return restore(prior, tokens, there)
    if way == "nearest":
        return conceal(tokens, there)
    filled = [np.where(ok, array, mean).astype(np.int32) for ok, array, mean in zip(there, tokens.arrays, means, strict=True)]
    return Tokens(tokens.layout, tuple(filled), tokens.present)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where model, prior, pictures or metrics cannot be used."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.restoring", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("prior", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--loss", type=float, action="append", help=f"share of tokens lost  [default: {SHARES}]")
    parser.add_argument("--metric", action="append", help="  [default: psnr]")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    names = given.metric or ["psnr"]
    try:
        rows = _run(given.model, given.prior, given.pictures, given.loss or SHARES, names)
    except SmaltiError as error:
        print(f"restoring: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    print(f"| pattern | lost | way | {' | '.join(names)} |\n|---|---|---|{'---|' * len(names)}")
    for row in rows:
        print(f"| {row.pattern} | {row.share:g} | {row.way} | {' | '.join(f'{value:.4f}' for value in row.values)} |")
    return 0


def _run(model: str, path: Path, pictures: Path, shares: Sequence[float], names: Sequence[str]) -> list[Row]:
    if not all(0 < share < 1 for share in shares):
        raise UsageError(f"shares of lost tokens lie between 0 and 1, found {shares}")
    tokenizer: Any = zoo.load(model, "cpu")
    prior, metrics = MaskedPrior.load(path), [registry.resolve(name) for name in names]
    files = list_images(pictures)
    cases = [(pattern, share, way) for pattern in PATTERNS for share in shares for way in WAYS]
    sums = np.zeros((len(cases) + 1, len(metrics)))
    progress = Progress("damaged and restored", len(files))
    for number, file in enumerate(files):
        picture = read_image(file)
        tokens = tokenizer.encode([picture])[0]
        means = mean_entries(tokenizer.net.quantizer, len(tokens.arrays))
        damage = {
            (pattern, share): received(tokens.layout, pattern, share, np.random.default_rng([number, i, j]))
            for i, pattern in enumerate(PATTERNS)
            for j, share in enumerate(shares)
        }
        filled = [tokens, *(stand_in(way, tokens, damage[pattern, share], prior, means) for pattern, share, way in cases)]
        for case, item in enumerate(filled):
            decoded = tokenizer.decode([item])[0]
            sums[case] += [metric(picture, decoded).value for metric in metrics]
        progress(number + 1)
    values = [tuple(float(v) for v in row) for row in sums / len(files)]
    rows = [Row(pattern, share, way, value) for (pattern, share, way), value in zip(cases, values[1:], strict=True)]
    return [Row("none", 0.0, "decoded", values[0]), *rows]


if __name__ == "__main__":
    sys.exit(main())
