"""Entropy of binary codes without a table: what LFQ and BSQ add to their loss, at a cost that does not grow with K = 2^bits.

Under softmax(-|z - c|^2 / T) over all codes c the bits are independent, each with a logit of its own. So
- the mean entropy of a row's code is the sum of the entropies of its bits: exact for any number of bits;
- the code's distribution averaged over rows, whose entropy is to be large, does not factorise. Over a group of g bits it is a matrix
  product of the rows' 2^(g/2) and 2^(g/2) half codes: exact, with N * 2^(g/2) + 2^g numbers held instead of N * 2^g. Several groups: the
  sum of their entropies, an upper bound of the whole code's, blind for what bits of different groups have in common.
All in nats, float32. In several processes both means are over the rows of all, however many each has.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from smalti.tokenizers.codebooks import ranks

CHUNK_ELEMENTS = 2**20  # of half codes held at a time: 4 MiB, a few times over
SMALLEST = 1e-30  # below it p log p is 0, and so is its gradient


def entropy_loss(logits: Tensor, diversity: float, group_bits: int) -> Tensor:
    """E[H(code | row)] - diversity * H(E[code]) of rows with logits (N, bits) that a bit is 1: small where they are sure and codes vary."""
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float()
        return row_entropy(logits) - diversity * batch_entropy(logits, group_bits)


def row_entropy(logits: Tensor) -> Tensor:
    """The mean of the entropy of all bits (N, bits) over the rows of all ranks."""
    size = logits.abs()
    return ranks.mean((F.softplus(-size) + size * torch.sigmoid(-size)).sum(), len(logits))


def batch_entropy(logits: Tensor, group_bits: int) -> Tensor:
    """The entropy of the codes' mean distribution over the rows of all ranks, summed over groups of at most `group_bits` bits."""
    groups = logits.split(group_bits, 1)
    return torch.stack([entropy(ranks.mean(_total(group), len(group))) for group in groups]).sum()


def entropy(p: Tensor) -> Tensor:
    """Of one distribution."""
    return -(p * p.clamp(min=SMALLEST).log()).sum()


def _total(logits: Tensor) -> Tensor:
    """(N, g) -> (2^(g - g/2), 2^(g/2)): how probable each code of the group is, summed over rows."""
    parts = logits.split(max(1, CHUNK_ELEMENTS >> -(-logits.shape[1] // 2)))
    if len(parts) == 1:
        return _sum(logits)
    total = torch.zeros((), device=logits.device)
    for part in parts:
        total = total + checkpoint(_sum, part, use_reentrant=False)
    return total


def _sum(logits: Tensor) -> Tensor:
    half = -(-logits.shape[1] // 2)
    return _products(logits[:, :half]).t() @ _products(logits[:, half:])


def _products(logits: Tensor) -> Tensor:
    """(N, b) -> (N, 2^b): the probability of each setting of b independent bits."""
    products = logits.new_ones(len(logits), 1)
    for logit in logits.unbind(1):
        ones, zeros = torch.sigmoid(logit)[:, None], torch.sigmoid(-logit)[:, None]
        products = torch.cat([products * zeros, products * ones], 1)
    return products
