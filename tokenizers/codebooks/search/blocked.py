"""The search in torch alone, for every device: a block of scores at a time by one matrix product."""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.tokenizers.nets.precision import full_precision

CHUNK_ELEMENTS = 2**21  # scores held at a time: 8 MiB
PAIR_ELEMENTS = 2**19  # numbers held at a time in float64, several times over


def nearest(z: Tensor, table: Tensor) -> Tensor:
    """As `search.nearest`, on the device of z and table."""
    z, table = (values.detach() if values.dtype == torch.float64 else values.detach().float() for values in (z, table))
    centre = table.mean(0, dtype=torch.float64).to(table.dtype)
    entries = (table - centre).float()
    squares = entries.square().sum(1, dtype=torch.float64)
    offsets, bound = (0.5 * squares).float(), squares.max().sqrt()
    found = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    rows = max(1, CHUNK_ELEMENTS // len(table))
    with torch.autocast(z.device.type, enabled=False), full_precision(z.device):
        for start in range(0, len(z), rows):
            part = z[start : start + rows]
            centred = (part - centre).float()
            scores = torch.addmm(offsets, centred, entries.t(), alpha=-1)  # |z|^2 is the same for every entry and left out
            best, found[start : start + rows] = scores.min(1)
            limits = _limits(best.double(), centred.double().square().sum(1), bound, z.shape[1])
            near = ~(scores > limits[:, None])
            for unsure in torch.nonzero(near.sum(1) != 1).flatten().split(max(1, PAIR_ELEMENTS // len(table))):
                found[start + unsure] = _decide(part[unsure].double(), table, near[unsure])
    return found


def _limits(best: Tensor, squares: Tensor, bound: Tensor, dim: int) -> Tensor:
    """The greatest score in float32 that the nearest entry can have; see `kernel._limit`. NaN where the scores overflowed."""
    lengths = squares.sqrt()
    radius = torch.minimum(bound, lengths + (squares + 2 * best).clamp(min=0).sqrt())
    return (best + 1.5 * 2 * (dim + 4) * 2.0**-24 * radius * (lengths + 0.5 * radius)).float()


def _decide(z: Tensor, table: Tensor, near: Tensor) -> Tensor:
    """The nearest in float64 of the entries that `near` (N, K) marks for each row, the first of equal ones."""
    rows, columns = torch.nonzero(near, as_tuple=True)
    pairs = max(1, PAIR_ELEMENTS // z.shape[1])
    parts = zip(rows.split(pairs), columns.split(pairs), strict=True)
    distances = torch.cat([(z[row] - table[column].double()).square().sum(1) for row, column in parts])
    least = distances.new_full((len(z),), torch.inf).scatter_reduce_(0, rows, distances, "amin")
    nearest = distances == least[rows]
    none = torch.full((len(z),), len(table), device=z.device)
    found = none.scatter_reduce_(0, rows[nearest], columns[nearest], "amin")
    return found.where(found < len(table), 0)
