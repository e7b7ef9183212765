"""Train the masked prior of a picture model on the tokens of training pictures.

    python -m smalti.recipes.train_prior MODEL DATA -o FILE [--judge PICTURES] [--steps N] [--blocks 2] [--device cpu] [--json]

FILE: what `--prior` takes. Beside it, FILE.work holds the tokens, made once, and a checkpoint: the same command goes on where it was
stopped, and with more steps trains on; another model, other pictures or sizes start anew. Equal machines and threads give equal numbers.
With --judge: bits of these pictures' tokens by level, pooled, under H0 (the order-0 entropy of those very tokens), tables fitted to the
training tokens, the adaptive prior unprimed and primed on them, and the masked prior, in float32 as it was trained and in integers as
files have it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.codecs.media.files import check_place, list_images
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_config import MaskedConfig
from smalti.codecs.priors.masked_view import View
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes.prime_prior import Progress, Row, entropy_bits, judge, tables_of, tokenize, trees
from smalti.recipes.train_prior import data
from smalti.recipes.train_prior.learning import SEED, Budget, train
from smalti.recipes.train_prior.network import FloatNetwork
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError
from smalti.tokenizers.tokens import Layout, Tokens

STEPS = 1800


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where the model or the pictures cannot be used."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.train_prior", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS, help="of 8 windows each  [default: %(default)s]")
    parser.add_argument("--blocks", type=int, default=MaskedConfig.blocks, help="of the transformer  [default: %(default)s]")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        rows = _run(given.model, given.data, given.out, given.judge, given.device, Budget(given.steps), given.blocks)
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
    bits, device = [], net.bias.device
    view = View(net.config, tokens.layout.stages[0].shape)
    everywhere = np.ones(tokens.layout.stages[0].shape, bool)
    for k, array in enumerate(tokens.arrays):
        ends, total = net.config.steps[k], 0.0
        for step in zip((0, *ends[:-1]), ends, strict=True):
            for look in view.looks(step, everywhere):
                with torch.inference_mode():
                    logits = net(torch.from_numpy(look.grids.astype(np.int64)).to(device), k, torch.from_numpy(look.chosen).to(device))
                wanted = torch.from_numpy(array[look.rows, look.columns].astype(np.int64)).to(device)
                total += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")) / math.log(2)
            view.know(k, array, view.within(step))
        bits.append(total)
    return bits


def _run(model: str, pictures: Path, out: Path, judged: Path | None, device: str, budget: Budget, blocks: int) -> list[Row]:
    check_place(out)
    if budget.steps < 1:
        raise UsageError(f"training wants at least one step, found {budget.steps}")
    tokenizer: Any = zoo.load(model, device)
    tables, config = _suited(tokenizer, blocks)
    work = out.with_name(out.name + ".work")
    grids = data.load(tokenizer, pictures, list_images(pictures), work)
    torch.manual_seed(SEED)
    net = FloatNetwork(config, [table.vectors().detach().cpu().float() for table in tables], _counts(grids, len(tables)))
    checkpoint = work / f"{_key(tokenizer.fingerprint, config, grids, budget)}.checkpoint"
    train(net.to(device), grids, budget, checkpoint, lambda line: print(line, file=sys.stderr, flush=True))
    whole = net.integers()
    prior = MaskedPrior(net.config, whole.tensors)
    prior.save(out)
    print(f"{out}: prior {prior.id.hex()}, {out.stat().st_size} bytes, {whole.clipped} numbers clipped", file=sys.stderr)
    if judged is None:
        return []
    return rows(tokenizer, net, prior, grids, tokenize(tokenizer, list_images(judged), mirrored=False))


def _suited(tokenizer: Any, blocks: int) -> tuple[list[Any], MaskedConfig]:
    """The codebook of each level, and the config of a prior for them; UsageError where the model has no such levels."""
    stages = tokenizer.layout((("height", 64), ("width", 64))).stages
    tables = tables_of(tokenizer.net.quantizer, len(stages))
    shapes = {stage.shape for stage in stages}
    if len(shapes) != 1 or len(stages[0].shape) != 2 or not tables or any(table.size != stages[0].vocab for table in tables):
        raise UsageError("the masked prior wants a model whose levels lie on one grid, with one codebook a level, or one for all")
    steps = (MaskedConfig.steps[0], *(MaskedConfig.steps[1] for _ in stages[1:]))
    try:
        return tables, MaskedConfig(stages[0].vocab, steps=steps, blocks=blocks)
    except ModelError as error:
        raise UsageError(f"the masked prior is not for this model: {error}") from None


def _counts(grids: data.Grids, stages: int) -> list[torch.Tensor]:
    """How often each entry occurs, float32 (V,) a stage."""
    every = [np.concatenate([item[k].ravel() for item in grids.items]) for k in range(stages)]
    return [torch.from_numpy(np.bincount(found, minlength=grids.vocab)).float() for found in every]


def _key(model: str, config: MaskedConfig, grids: data.Grids, budget: Budget) -> str:
    """Of all that a checkpoint is made of, but not of how long it is trained."""
    return hashlib.sha256(json.dumps([model, asdict(config), grids.hash, budget.batch, budget.rate]).encode()).hexdigest()[:16]


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


def _tokens(layout: Layout, item: np.ndarray[Any, Any]) -> Tokens:
    """A grid of the cache as tokens; of the layout only the vocabularies count."""
    stages = tuple(type(s)(s.name, (("row", item.shape[1]), ("col", item.shape[2])), s.vocab) for s in layout.stages)
    return Tokens(Layout(stages, layout.cuts), tuple(level.astype(np.int32) for level in item))


if __name__ == "__main__":
    sys.exit(main())
