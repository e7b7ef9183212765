"""A ladder of rates from one trained table: its entries clustered into fewer, encoder and decoder as they are.

Mao et al., "Extreme Image Compression using Fine-tuned VQGANs" (arXiv 2307.08265): k-means over the entries of a trained table of 16384
gives tables down to 8 entries. Deviation: entries weigh as much as they are used, so that the smaller table serves the latents and not the
corners that nothing visits. Each rung is made from the whole table, not from the rung above.

Two ways down: encode again with the smaller table (nearest entries), or map the tokens that are there, `Rung.mapping`, without any signal.
The smaller table learns on by its averages where encoder and decoder are frozen (`VQ.update`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from smalti.tokenizers.codebooks import kmeans
from smalti.tokenizers.codebooks.ibq import IBQ
from smalti.tokenizers.codebooks.learned_vq import LearnedVQ
from smalti.tokenizers.codebooks.simvq import SimVQ
from smalti.tokenizers.codebooks.vq import VQ
from smalti.tokenizers.errors import UsageError

TABLES = (VQ, LearnedVQ, SimVQ, IBQ)
T = TypeVar("T", bound=VQ | LearnedVQ | SimVQ | IBQ)


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


@torch.no_grad()
def reduced(book: T, size: int, counts: Tensor | None = None) -> tuple[T, Tensor]:
    """A codebook of `size` entries clustered from a trained one, ready to learn on, and the mapping int64 (K,) of the old entries.

    counts: (K,), how often each is used; by default the averages that the codebook keeps, alike where it keeps none. SimVQ's map becomes
    the identity, over the clustered entries.
    """
    kept = book.counts if isinstance(book, VQ | LearnedVQ) else None
    rung = recluster(book.vectors(), size, kept if counts is None else counts, getattr(book.config, "cosine", False))
    config: Any = replace(book.config, codebook_size=size)
    smaller: Any = type(book)(config).to(rung.table.device).train(book.training)
    (smaller.frozen if isinstance(book, SimVQ) else smaller.table).copy_(rung.table)
    if kept is not None:
        # of the size that averages over batches have, so that they forget as fast as before
        smaller.counts.copy_(rung.counts * (kept.sum() / rung.counts.sum() if kept.any() else 1))
    if isinstance(book, VQ):
        smaller.sums.copy_(rung.table * smaller.counts[:, None])
    return smaller, rung.mapping
