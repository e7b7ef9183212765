"""Training steps: windows of random pictures, a random step of the coding order, cross-entropy of the tokens it and later steps ask for.

A few windows have tokens of all stages missing at random in place of by rank: what files with lost tokens look like.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from smalti.codecs.priors.masked_config import MaskedConfig
from smalti.codecs.priors.masked_steps import ranks
from smalti.recipes.train_prior.data import Grids
from smalti.recipes.train_prior.network import FloatNetwork
from smalti.recipes.training import checkpoint

Array = np.ndarray
SEED = 0
AT_RANDOM = 0.15  # share of windows with random tokens lost
LATER = 0.3  # share of tokens of later steps that are learnt too
SHALLOW = 1080  # steps in which the blocks rest, at most two thirds of all: they take half of the time, and blocks begin as nearly nothing
WARM_UP = 50
HORIZON = 3600  # steps over which the rate falls by a cosine, or all where there are more; shorter runs are their beginning
FALL = 0.25  # share of the steps at the end over which it falls to nothing besides
EVERY_SECONDS = 30.0  # between lines of progress and checkpoints


@dataclass(frozen=True)
class Budget:
    """steps to train for. batch: windows a step. rate: of learning at its height."""

    steps: int
    batch: int = 8
    rate: float = 2e-3


@dataclass(frozen=True, eq=False)
class Batch:
    """int16 grids (B, K, side, side) as the network sees them; whole: the same with all tokens; bool chosen (B, side, side): what is
    asked for."""

    grids: Array
    whole: Array
    chosen: Array


def train(net: FloatNetwork, grids: Grids, budget: Budget, path: Path, say: Callable[[str], None]) -> int:
    """Train on from the checkpoint at `path`, if there is one; returns the steps done. What each step sees hangs on its number alone."""
    device = net.bias.device
    optimizer = torch.optim.AdamW(_groups(net), lr=budget.rate, betas=(0.9, 0.98))
    done = checkpoint.load(path, {"net": net}, {"optimizer": optimizer}) if path.is_file() else 0
    areas = np.array([float(item[0].size) for item in grids.items])
    net.train()
    first, start = done, time.perf_counter()
    shown = 0.0
    losses: list[list[float]] = [[] for _ in net.config.steps]
    deep = min(SHALLOW, 2 * budget.steps // 3)
    while done < budget.steps:
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * _rate(budget, done, deep)
        rng = np.random.default_rng((SEED, done))
        stage = int(rng.integers(len(net.config.steps)))
        batch = draw(grids, net.config, stage, budget.batch, areas, rng)
        chosen = torch.from_numpy(batch.chosen)
        wanted = torch.from_numpy(batch.whole[:, stage].astype(np.int64))[chosen].to(device)
        logits = net(torch.from_numpy(batch.grids.astype(np.int64)).to(device), stage, chosen.to(device), done < deep)
        loss = F.cross_entropy(logits, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses[stage].append(loss.item() / math.log(2))
        done += 1
        seconds = time.perf_counter() - start
        if seconds - shown >= EVERY_SECONDS:
            shown = seconds
            pace = seconds / (done - first)
            bits = ", ".join(f"{np.mean(found):.3f}" for found in losses if found)
            say(f"step {done} of {budget.steps}, {pace:.3f} s each, bits a token {bits}")
            losses = [[] for _ in losses]
            checkpoint.save(path, done, {"net": net}, {"optimizer": optimizer}, {})
    checkpoint.save(path, done, {"net": net}, {"optimizer": optimizer}, {})
    net.eval()
    return done


def _rate(budget: Budget, done: int, deep: int) -> float:
    """Of learning: it grows at the start and where the blocks begin, and falls."""
    grown = min(1.0, (done - deep * (done >= deep) + 1) / WARM_UP)
    fallen = 0.5 + 0.5 * math.cos(math.pi * done / max(HORIZON, budget.steps))
    return budget.rate * grown * fallen * min(1.0, (1 - done / budget.steps) / FALL)


def draw(grids: Grids, config: MaskedConfig, stage: int, count: int, areas: Array, rng: np.random.Generator) -> Batch:
    """`count` windows of pictures, larger ones more often (areas: float64, one each); at least one token of each is asked for."""
    side, ends = config.side, np.array((0, *config.steps[stage]))
    whole = np.full((count, len(config.steps), side, side), config.outside, np.int16)
    hidden, chosen = whole.copy(), np.zeros((count, side, side), bool)
    sizes = np.diff(ends) + 1.0
    for b, i in enumerate(rng.choice(len(areas), count, p=areas / areas.sum())):
        item = grids.items[i]
        rows, columns = min(item.shape[1], side), min(item.shape[2], side)
        top, left = rng.integers(item.shape[1] - rows + 1), rng.integers(item.shape[2] - columns + 1)
        cut = np.s_[:, :rows, :columns]
        whole[b][cut] = item[:, top : top + rows, left : left + columns]
        known = np.zeros((len(config.steps), rows, columns), bool)
        later = np.zeros((rows, columns), bool)
        if rng.random() < AT_RANDOM:
            known = _received(known.shape, rng)
        else:
            order = np.roll(ranks(rows + 4, columns + 4), tuple(rng.integers(4, size=2)), (0, 1))[4 : 4 + rows, 4 : 4 + columns]
            step = rng.choice(len(sizes), p=sizes / sizes.sum())
            known[:stage], known[stage] = True, order < ends[step]
            later = (order >= ends[step + 1]) & (rng.random((rows, columns)) > LATER)
        if (known[stage] | later).all():
            row, column = rng.integers(rows), rng.integers(columns)
            known[stage, row, column] = later[row, column] = False
        hidden[b][cut] = np.where(known, whole[b][cut], config.unknown)
        chosen[b, :rows, :columns] = ~known[stage] & ~later
    return Batch(hidden, whole, chosen)


def _received(shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    """bool (K, rows, columns): what came through of each stage, lost one by one or in runs along a row."""
    run = int(rng.choice((1, 8)))
    dice = rng.random((*shape[:2], -(-shape[2] // run))).repeat(run, 2)
    return np.asarray(dice[..., : shape[2]] < rng.uniform(0.4, 1))


def _groups(net: FloatNetwork) -> list[dict[str, object]]:
    """Tables learn slower than layers, since each entry is seen seldom; the prior knowledge in `join` and `bias` needs no decay."""
    tables = [net.own, net.entries, net.bias]
    held = {id(p) for p in tables}
    layers = [p for p in net.parameters() if id(p) not in held]
    return [{"params": layers, "weight_decay": 0.02, "factor": 1.0}, {"params": tables, "weight_decay": 0.0, "factor": 0.5}]
