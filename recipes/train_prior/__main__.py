"""Train the masked prior of a picture model on the tokens of training pictures.

    python -m smalti.recipes.train_prior MODEL DATA -o FILE [--judge PICTURES] [--minutes M | --steps N] [--json]

FILE: what `--prior` takes. Beside it, FILE.work holds the tokens, made once, and a checkpoint: the same command goes on where it was
stopped, and with a larger budget trains on. With --judge: bits of these pictures' tokens by level, pooled, under H0 (the order-0
entropy of those very tokens), tables fitted to the training tokens, the adaptive prior unprimed and primed on them, and the masked prior,
in float32 as it was trained and in integers as files have it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.codecs.media.files import list_images
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.masked import MaskedPrior, View
from smalti.codecs.priors.masked_config import MaskedConfig
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes.prime_prior import Progress, Row, entropy_bits, judge, tokenize, trees
from smalti.recipes.train_prior import data
from smalti.recipes.train_prior.learning import Budget, train
from smalti.recipes.train_prior.network import FloatNetwork
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Codebook, Prior
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.tokens import Layout, Tokens

SEED = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where the model or the pictures cannot be used."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.train_prior", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--judge", type=Path)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float)
    budget.add_argument("--steps", type=int)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        seconds = None if given.steps is not None else 60 * (given.minutes if given.minutes is not None else 25.0)
        rows = _run(given.model, given.data, given.out, given.judge, Budget(seconds, given.steps))
    except SmaltiError as error:
        print(f"train_prior: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
    for row in [] if given.json else rows:
        levels = " | ".join(f"{bits:.0f}" for bits in row.bits)
        print(f"| {row.name} | {levels} | {sum(row.bits):.0f} | {100 * row.relative - 100:+.2f} % |")
    return 0


def float_price(net: FloatNetwork, tokens: Tokens) -> list[float]:
    """Bits per stage under the network before it became integers, by the same steps and windows."""
    bits = []
    view = View(net.config, tokens.layout.stages[0].shape)
    everywhere = np.ones(tokens.layout.stages[0].shape, bool)
    for k, array in enumerate(tokens.arrays):
        ends, total = net.config.steps[k], 0.0
        for step in zip((0, *ends[:-1]), ends, strict=True):
            for look in view.looks(k, step, everywhere):
                with torch.inference_mode():
                    logits = net(torch.from_numpy(look.grids.astype(np.int64)), k, torch.from_numpy(look.chosen))
                wanted = torch.from_numpy(array[look.rows, look.columns].astype(np.int64))
                total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")) / math.log(2)
            view.know(k, array, view.within(step))
        bits.append(total)
    return bits


def _run(model: str, pictures: Path, out: Path, judged: Path | None, budget: Budget) -> list[Row]:
    if (budget.steps if budget.steps is not None else budget.seconds or 0) <= 0:
        raise UsageError("training wants at least one step, or more than no time")
    tokenizer: Any = zoo.load(model, "cpu")
    work = out.with_name(out.name + ".work")
    grids = data.load(tokenizer, list_images(pictures), work)
    torch.manual_seed(SEED)
    net = _network(tokenizer, grids)
    train(net, grids, budget, work / "checkpoint.pt", lambda line: print(line, file=sys.stderr, flush=True))
    prior = MaskedPrior(net.config, net.integers())
    prior.save(out)
    print(f"{out}: prior {prior.id.hex()}, {out.stat().st_size} bytes", file=sys.stderr)
    if judged is None:
        return []
    return rows(tokenizer, net, prior, grids, tokenize(tokenizer, list_images(judged), mirrored=False))


def rows(tokenizer: Any, net: FloatNetwork, prior: MaskedPrior, grids: data.Grids, judged: Sequence[Tokens]) -> list[Row]:
    """All priors on the judged tokens."""
    layout = judged[0].layout
    learnt = [_tokens(layout, item) for item in grids.items]
    primed = AdaptivePrior.prime(trees(tokenizer.net.quantizer, layout.stages), learnt, progress=Progress("primed", len(learnt)))
    priors: dict[str, Prior] = {
        "static": StaticPrior.fit(learnt),
        "adaptive, unprimed": AdaptivePrior(primed.orders),
        "adaptive, primed": primed,
        "masked": prior,
    }
    found = judge(judged, priors)
    bits = tuple(float(level) for level in np.sum([float_price(net, item) for item in judged], axis=0))
    return [*found, Row("masked, float32", bits, sum(bits) / sum(entropy_bits(judged)))]


def _network(tokenizer: Any, grids: data.Grids) -> FloatNetwork:
    tables = [module for module in tokenizer.net.quantizer.modules() if isinstance(module, Codebook)]
    stages = grids.items[0].shape[0]
    tables = tables * stages if len(tables) == 1 else tables
    if len(tables) != stages or any(table.size != grids.vocab for table in tables):
        raise UsageError("the masked prior wants a model with one codebook a level, or one for all")
    counts = [np.bincount(np.concatenate([item[k].ravel() for item in grids.items]), minlength=grids.vocab) for k in range(stages)]
    config = MaskedConfig(grids.vocab, steps=(MaskedConfig.steps[0], *(MaskedConfig.steps[1] for _ in range(1, stages))))
    vectors = [table.vectors().detach().cpu().float() for table in tables]
    return FloatNetwork(config, vectors, [torch.from_numpy(count).float() for count in counts])


def _tokens(layout: Layout, item: np.ndarray[Any, Any]) -> Tokens:
    """A grid of the cache as tokens; of the layout only the vocabularies count."""
    stages = tuple(type(s)(s.name, (("row", item.shape[1]), ("col", item.shape[2])), s.vocab) for s in layout.stages)
    return Tokens(Layout(stages, layout.cuts), tuple(level.astype(np.int32) for level in item))


if __name__ == "__main__":
    sys.exit(main())
