"""What entries that nothing uses are replaced by: two ways, the same on every rank.

"batch": latents of the batch, drawn at random, for entries whose average count lies below a fraction of the fair share N/K (the fraction is
free of the batch's size; the common threshold of 2 rows replaces every entry at every step where N < 2K).

"anchor": Zheng and Vedaldi, "Online Clustered Codebook" (CVQ-VAE, arXiv 2307.15139): entry k moves by exp(-10 K p_k / (1 - decay) - 0.001)
of the way to the latent nearest to it, p_k its share of the running average of use. Deviations: entries that would move by less than a
thousandth stay, and where several have the same nearest latent, all but the first go to random ones (else they would stay equal)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smalti.tokenizers.codebooks import ranks
from smalti.tokenizers.codebooks.search import nearest

WAYS = ("batch", "anchor")
SMALLEST_MOVE = 1e-3


@dataclass(frozen=True)
class Revived:
    """places: int64 (M,), which entries. vectors: (M, D), what they become. counts: (M,), how used they count as."""

    places: Tensor
    vectors: Tensor
    counts: Tensor


def revive(way: str, z: Tensor, table: Tensor, counts: Tensor, below: float, decay: float, fair_share: float) -> Revived:
    """The entries of `table` (K, D), of average use `counts` (K,), that latents z (N, D) should replace."""
    if way == "anchor":
        return _to_anchors(z, table, counts, decay)
    dead = torch.nonzero(counts < below * fair_share).flatten()
    seeds = ranks.draw(z, len(dead))
    return Revived(dead[: len(seeds)], seeds, torch.full((len(seeds),), fair_share, device=z.device))


def _to_anchors(z: Tensor, table: Tensor, counts: Tensor, decay: float) -> Revived:
    share = counts / counts.sum().clamp(min=1e-12)
    moves = torch.exp(-10 * len(table) * share / (1 - decay) - 1e-3)
    places = torch.nonzero(moves > SMALLEST_MOVE).flatten()
    vectors = table[places]
    drawn = ranks.draw(z, len(places))
    if not len(drawn):
        return Revived(places[:0], vectors[:0], counts[:0])
    anchors = _nearest_latents(z, vectors)
    taken = _is_repeated(anchors)
    spare = drawn[torch.arange(int(taken.sum()), device=z.device) % len(drawn)]
    anchors[taken] = spare
    return Revived(places, torch.lerp(vectors, anchors, moves[places, None]), counts[places])


def _nearest_latents(z: Tensor, vectors: Tensor) -> Tensor:
    """(M, D): of the latents (N, D) of all ranks, the nearest to each vector; of equally near ones the first rank's."""
    own = z[nearest(vectors, z)] if len(z) else torch.full_like(vectors, torch.inf)
    candidates = ranks.gather(own).reshape(-1, *vectors.shape)
    best = (candidates - vectors).square().sum(-1).argmin(0)
    return candidates[best, torch.arange(len(vectors), device=z.device)]


def _is_repeated(rows: Tensor) -> Tensor:
    """bool (M,): whether an equal row stands before."""
    _, inverse = rows.unique(dim=0, return_inverse=True)
    order = torch.arange(len(rows), device=rows.device)
    first = torch.full_like(order, len(rows)).scatter_reduce_(0, inverse, order, "amin")
    return first[inverse] != order
