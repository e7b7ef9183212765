"""Training steps: windows of random pictures, a random step of the coding order, cross-entropy of the tokens it and later steps ask for.

A few windows have tokens missing at random in place of by rank: what files with lost tokens look like.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch.nn import functional as F

from smalti.codecs.priors.masked_config import MaskedConfig
from smalti.codecs.priors.masked_steps import ranks
from smalti.recipes.train_prior.data import Grids
from smalti.recipes.train_prior.network import FloatNetwork
from smalti.tokenizers.errors import ModelError

Array = np.ndarray
AT_RANDOM = 0.15  # share of windows whose known tokens are random ones
LATER = 0.3  # share of tokens of later steps that are learnt too
WARM_UP = 50
EVERY = 30.0  # seconds between lines of progress and checkpoints


@dataclass(frozen=True)
class Budget:
    """Seconds or steps to train for, whichever is given; batch: windows a step; rate: of learning at its height."""

    seconds: float | None
    steps: int | None
    batch: int = 8
    rate: float = 2e-3


@dataclass
class Progressed:
    """How far training has come."""

    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Batch:
    """grids (B, K, side, side) as the network sees them; whole: the same with all tokens; chosen (B, side, side): what is asked for."""

    grids: Array
    whole: Array
    chosen: Array


def train(net: FloatNetwork, grids: Grids, budget: Budget, checkpoint: Path, say: Callable[[str], None]) -> Progressed:
    """Train on; goes on where the checkpoint stopped."""
    optimizer = torch.optim.AdamW(_groups(net), lr=budget.rate, betas=(0.9, 0.98))
    done = _resume(checkpoint, net, optimizer)
    rng = np.random.default_rng(done.steps)
    areas = np.array([float(item[0].size) for item in grids.items])
    net.train()
    start, shown = time.perf_counter() - done.seconds, done.seconds
    losses: list[list[float]] = [[] for _ in net.config.steps]
    while (share := _share(done, budget)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = budget.rate * group["factor"] * min(1.0, (done.steps + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * share))
        stage = int(rng.integers(len(net.config.steps)))
        batch = draw(grids, net.config, stage, budget.batch, areas, rng)
        chosen = torch.from_numpy(batch.chosen)
        logits = net(torch.from_numpy(batch.grids.astype(np.int64)), stage, chosen)
        loss = F.cross_entropy(logits, torch.from_numpy(batch.whole[:, stage].astype(np.int64))[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses[stage].append(loss.item() / math.log(2))
        done.steps, done.seconds = done.steps + 1, time.perf_counter() - start
        if done.seconds - shown >= EVERY:
            shown = done.seconds
            say(f"step {done.steps}, {done.seconds:.0f} s, bits a token {', '.join(f'{np.mean(found):.3f}' for found in losses if found)}")
            losses = [[] for _ in losses]
            _save(checkpoint, net, optimizer, done)
    _save(checkpoint, net, optimizer, done)
    net.eval()
    return done


def draw(grids: Grids, config: MaskedConfig, stage: int, count: int, areas: Array, rng: np.random.Generator) -> Batch:
    """Windows of pictures, larger ones more often."""
    side, ends = config.side, np.array((0, *config.steps[stage]))
    whole = np.full((count, len(config.steps), side, side), config.outside, np.int16)
    hidden, chosen = whole.copy(), np.zeros((count, side, side), bool)
    sizes = np.diff(ends) + 1.0
    for b, i in enumerate(rng.choice(len(areas), count, p=areas / areas.sum())):
        item = grids.items[i]
        rows, columns = min(item.shape[1], side), min(item.shape[2], side)
        top, left = rng.integers(item.shape[1] - rows + 1), rng.integers(item.shape[2] - columns + 1)
        cut = np.s_[:rows, :columns]
        whole[b][:, :rows, :columns] = item[:, top : top + rows, left : left + columns]
        order = np.roll(ranks(rows + 4, columns + 4), tuple(rng.integers(4, size=2)), (0, 1))[4 : 4 + rows, 4 : 4 + columns]
        step = rng.choice(len(sizes), p=sizes / sizes.sum())
        known = order < ends[step] if rng.random() > AT_RANDOM else rng.random((rows, columns)) < rng.random()
        later = ~known & (order >= ends[step + 1]) & (rng.random((rows, columns)) > LATER)
        hidden[b][:stage] = whole[b][:stage]
        hidden[b][stage:][:, :rows, :columns] = config.unknown
        hidden[b][stage][cut][known] = whole[b][stage][cut][known]
        chosen[b][cut] = ~known & ~later
    return Batch(hidden, whole, chosen)


def _groups(net: FloatNetwork) -> list[dict[str, object]]:
    """Tables learn slower than layers, since each entry is seen seldom; the prior knowledge in `join` and `bias` needs no decay."""
    tables = [net.own, net.entries, net.bias]
    held = {id(p) for p in tables}
    layers = [p for p in net.parameters() if id(p) not in held]
    return [{"params": layers, "weight_decay": 0.02, "factor": 1.0}, {"params": tables, "weight_decay": 0.0, "factor": 0.5}]


def _share(done: Progressed, budget: Budget) -> float:
    return done.steps / budget.steps if budget.steps is not None else done.seconds / (budget.seconds or 1.0)


def _save(path: Path, net: FloatNetwork, optimizer: torch.optim.Optimizer, done: Progressed) -> None:
    part = path.with_suffix(".part")
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "steps": done.steps, "seconds": done.seconds}, part)
    part.replace(path)


def _resume(path: Path, net: FloatNetwork, optimizer: torch.optim.Optimizer) -> Progressed:
    if not path.is_file():
        return Progressed()
    try:
        held = torch.load(path, weights_only=True)
        net.load_state_dict(held["net"])
        optimizer.load_state_dict(held["optimizer"])
        return Progressed(held["steps"], held["seconds"])
    except (OSError, EOFError, RuntimeError, LookupError, TypeError, ValueError, UnpicklingError) as error:
        raise ModelError(f"{path}: can't go on from this checkpoint: {error}; remove it to start anew") from error
