"""A ladder of rates from one trained table: its entries clustered into fewer, encoder and decoder as they are.

Mao et al., "Extreme Image Compression using Fine-tuned VQGANs" (arXiv 2307.08265): k-means over the entries of a trained table of 16384
gives tables down to 8 entries. Deviation: entries weigh as much as they are used, so that the smaller table serves the latents and not the
corners that nothing visits. Each rung is made from the whole table, not from the rung above.

Two ways down: encode again with the smaller table (nearest entries), or map the tokens that are there, `Rung.mapping`, without any signal.
The smaller table learns on by its averages where encoder and decoder are frozen (`VQ.update`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smalti.tokenizers.codebooks import kmeans
from smalti.tokenizers.codebooks.vq import VQ
from smalti.tokenizers.errors import UsageError


@dataclass(frozen=True)
class Rung:
    """table: (S, D). mapping: int64 (K,), the entry of `table` that an entry of the whole table becomes. counts: (S,), their use."""

    table: Tensor
    mapping: Tensor
    counts: Tensor


@torch.no_grad()
def recluster(table: Tensor, size: int, counts: Tensor | None = None, unit: bool = False) -> Rung:
    """`table` (K, D) in `size` entries, 2 to K. counts: (K,), how often each is used; alike where it is left out. unit: as in `kmeans`."""
    if not 2 <= size <= len(table):
        raise UsageError(f"a table of {len(table)} entries can be brought to 2 to {len(table)}, asked for {size}")
    weights = torch.ones(len(table), device=table.device) if counts is None or not counts.any() else counts.float()
    if size == len(table):
        return Rung(table.clone(), torch.arange(size, device=table.device), weights)
    made = kmeans.cluster(table, size, weights, unit, iterations=4 * kmeans.ITERATIONS)
    return Rung(made.centres, made.found, made.weights)


def reduced(vq: VQ, size: int) -> tuple[VQ, Tensor]:
    """A VQ of `size` entries clustered from a trained one, ready to learn on, and the mapping int64 (K,) of the old entries."""
    rung = recluster(vq.table, size, vq.counts, vq.config.cosine)
    smaller = VQ(replace(vq.config, codebook_size=size)).to(vq.table.device).train(vq.training)
    smaller.table.copy_(rung.table)
    smaller.counts.copy_(rung.counts)
    smaller.sums.copy_(rung.table * rung.counts[:, None])
    return smaller, rung.mapping
