"""What lost tokens cost, and what each way of standing in for them leaves of a picture.

    python -m smalti.recipes.restoring MODEL PICTURES [--prior FILE] [--loss 0.2]... [--metric psnr]... [--device cpu] [--json]

FILE: a masked prior, from `smalti.recipes.train_prior`; without it the one beside the model. Of each picture's tokens a share is lost,
level by level: at random, or in bursts, runs of 16 on average in reading order. Ways: the entry nearest to the codebook's mean; the
nearest received token; the prior's, which is what `--conceal` takes where there is one. Equal damage for all ways and metrics. A row has
the means over the pictures; the share 0 is what is decoded without damage.
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
from smalti.codecs.priors import stored
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.restore import restore, vectors_of
from smalti.metrics import registry
from smalti.recipes.prime_prior import Progress, readable
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.tokens import Layout, Tokens

Array = np.ndarray
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)
LARGEST_SHARE = 0.9  # above 16/17 no chain of bursts of 16 loses as much
BURST = 16  # tokens that are lost in a row, on average
PATTERNS = ("random", "bursts")
WAYS = ("mean", "nearest", "restored")


@dataclass(frozen=True)
class Row:
    """Means over all pictures; values: by metric."""

    pattern: str
    share: float
    way: str
    values: dict[str, float]


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
    begin = share / (1 - share) / BURST
    for i, dice in enumerate(rng.random(count)):
        good = dice >= begin if good else dice < 1 / BURST
        there[i] = good
    return there


@dataclass(frozen=True, eq=False)
class Ways:
    """What the ways of standing in need; vectors: as `vectors_of` has them."""

    vectors: Sequence[Array]
    prior: MaskedPrior

    def stand_in(self, way: str, tokens: Tokens, there: Sequence[Array]) -> Tokens:
        """Tokens with their lost ones filled in."""
        if way == "restored":
            return restore(self.prior, tokens, there, self.vectors)
        if way == "nearest":
            return conceal(tokens, there)
        means = [int(((table - table.mean(0)) ** 2).sum(1).argmin()) for table in self.vectors]
        filled = [np.where(ok, array, mean).astype(np.int32) for ok, array, mean in zip(there, tokens.arrays, means, strict=True)]
        return Tokens(tokens.layout, tuple(filled), tokens.present)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where model, prior, pictures or metrics cannot be used."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.restoring", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--prior", default="", metavar="FILE", help="  [default: the one beside the model]")
    parser.add_argument("--loss", type=float, action="append", help=f"share of tokens lost  [default: {SHARES}]")
    parser.add_argument("--metric", action="append", help="  [default: psnr]")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    names = given.metric or ["psnr"]
    try:
        rows = _run(given.model, given.prior, given.pictures, given.loss or SHARES, names, given.device)
    except SmaltiError as error:
        print(f"restoring: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    print(f"| pattern | lost | way | {' | '.join(names)} |\n|---|---|---|{'---|' * len(names)}")
    for row in rows:
        print(f"| {row.pattern} | {row.share:g} | {row.way} | {' | '.join(f'{row.values[name]:.4f}' for name in names)} |")
    return 0


def _run(model: str, path: str, pictures: Path, shares: Sequence[float], names: Sequence[str], device: str) -> list[Row]:
    if not all(0 < share <= LARGEST_SHARE for share in shares):
        raise UsageError(f"shares of lost tokens lie between 0 and {LARGEST_SHARE}, found {shares}")
    info = zoo.find(model)
    tokenizer: Any = zoo.load_model(info, device)
    prior, metrics = MaskedPrior.load(path or info.folder / stored.MASKED, device), [registry.resolve(name) for name in names]
    stages = tokenizer.layout((("height", 64), ("width", 64))).stages
    prior.check(tokenizer.layout((("height", 64), ("width", 64))))
    ways = Ways(vectors_of(tokenizer.net.quantizer, stages[0].vocab, len(stages)), prior)
    files = list_images(pictures)
    cases = [(pattern, share, way) for pattern in PATTERNS for share in shares for way in WAYS]
    sums, read = np.zeros((len(cases) + 1, len(metrics))), 0
    progress = Progress("damaged and restored", len(files))
    for number, picture in readable(files):
        tokens = tokenizer.encode([picture])[0]
        damage = {
            (pattern, share): received(tokens.layout, pattern, share, np.random.default_rng([number, i, j]))
            for i, pattern in enumerate(PATTERNS)
            for j, share in enumerate(shares)
        }
        filled = [tokens, *(ways.stand_in(way, tokens, damage[pattern, share]) for pattern, share, way in cases)]
        for case, item in enumerate(filled):
            decoded = tokenizer.decode([item])[0]
            sums[case] += [metric(picture, decoded).value for metric in metrics]
        read += 1
        progress(number)
    if not read:
        raise UsageError("none of the pictures can be read")
    values = [dict(zip(names, map(float, row), strict=True)) for row in sums / read]
    rows = [Row(pattern, share, way, value) for (pattern, share, way), value in zip(cases, values[1:], strict=True)]
    return [Row("none", 0.0, "decoded", values[0]), *rows]


if __name__ == "__main__":
    sys.exit(main())
