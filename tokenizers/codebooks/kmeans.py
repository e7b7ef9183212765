"""k-means: centres of many rows, for the first entries of a table and for smaller tables from large ones.

Lloyd's iterations; the first centres are rows drawn in a few rounds, by their squared distance to those of earlier rounds (Bahmani et al.,
"Scalable K-Means++", arXiv 1203.6402), and a centre that nothing is nearest to moves to the row that is worst off. Distances are those of
`search.nearest`: the matrix of all of them is never held (a published table of 4096 x 512 takes 75 GB that way).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.tokenizers.codebooks import ranks
from smalti.tokenizers.codebooks.search import nearest
from smalti.tokenizers.errors import UsageError

ITERATIONS = 10
ROUNDS = 8
ROWS_PER_ENTRY = 64  # more don't change the first entries of a table visibly


@dataclass(frozen=True)
class Clusters:
    """centres: (S, D). weights: (S,), the rows' weight at each centre, 0 where there were fewer different rows. found: int64 (N,)."""

    centres: Tensor
    weights: Tensor
    found: Tensor


@torch.no_grad()
def cluster(rows: Tensor, count: int, weights: Tensor | None = None, unit: bool = False, iterations: int = ITERATIONS) -> Clusters:
    """`count` centres of rows (N, D), N >= count. weights: (N,), how often each row occurs. unit: centres have length 1."""
    if not 1 <= count <= len(rows):
        raise UsageError(f"k-means makes 1 to {len(rows)} clusters of {len(rows)} rows, asked for {count}")
    rows = rows.detach().float()
    weights = torch.ones(len(rows), device=rows.device) if weights is None else weights.float()
    centres = rows[_first(rows, weights, count)]
    for _ in range(iterations):
        found = nearest(rows, centres)
        counts = weights.new_zeros(count).index_add_(0, found, weights)
        sums = torch.zeros_like(centres).index_add_(0, found, rows * weights[:, None])
        used = counts > 0
        centres[used] = sums[used] / counts[used, None]
        errors = (rows - centres[found]).square().sum(1) * weights
        empty = torch.nonzero(~used).flatten()
        centres[empty] = rows[errors.topk(len(empty)).indices]
        if unit:
            centres = F.normalize(centres, dim=1)
    found = nearest(rows, centres)
    return Clusters(centres, weights.new_zeros(count).index_add_(0, found, weights), found)


def seed(z: Tensor, count: int, unit: bool = False) -> Clusters:
    """At most `count` centres of the rows (N, D) of all ranks, the same on each; weights are rows of the whole batch."""
    rows = ranks.gather(z.detach().float())
    if not len(rows):
        return Clusters(rows, rows.new_zeros(0), torch.zeros(0, dtype=torch.int64, device=z.device))
    drawn = rows[torch.randperm(len(rows), device=rows.device)[: ROWS_PER_ENTRY * count]]
    made = cluster(drawn, min(count, len(drawn)), unit=unit)
    weights = made.weights * (len(rows) / len(drawn))
    return Clusters(ranks.share(made.centres), ranks.share(weights), made.found)


def _first(rows: Tensor, weights: Tensor, count: int) -> Tensor:
    """Places of `count` different rows, drawn in rounds: those far from all earlier ones are more probable."""
    distances = torch.ones_like(weights)
    taken: list[Tensor] = []
    for size in [count // ROUNDS + (i < count % ROUNDS) for i in range(min(count, ROUNDS))]:
        # exponential variates over weights: the smallest are a draw without replacement (multinomial stops at 2^24 rows)
        keys = torch.empty_like(weights).exponential_() / (weights * distances).clamp(min=1e-12)
        for before in taken:
            keys[before] = torch.inf
        taken.append(keys.topk(size, largest=False).indices)
        drawn = rows[taken[-1]]
        nearer = (rows - drawn[nearest(rows, drawn)]).square().sum(1)
        distances = nearer if len(taken) == 1 else torch.minimum(distances, nearer)
    return torch.cat(taken)
