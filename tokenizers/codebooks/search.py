"""Nearest entry of a table, without ever holding the whole matrix of distances."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**22  # distances held at a time: 16 MiB in float32


def nearest(z: Tensor, table: Tensor) -> Tensor:
    """Index (N,) int64 of the entry of `table` (K, D) nearest to each row of z (N, D), by Euclidean distance.

    Both are centred on the table's mean first: |z|^2 - 2 z.e + |e|^2 cancels badly when the table lies far from the origin. Always in
    float32, under autocast too: bfloat16 leaves half the entries unused.
    """
    centre = table.mean(0, keepdim=True)
    entries = (table - centre).float()
    offsets = entries.square().sum(1) * 0.5
    rows = max(1, CHUNK_ELEMENTS // len(table))
    if torch.compiler.is_compiling():  # in a traced graph the number of parts would be a constant
        return _nearest_of((z - centre).float(), entries, offsets)
    with torch.autocast(z.device.type, enabled=False):
        found = [_nearest_of(part, entries, offsets) for part in (z - centre).float().split(rows)]
    return torch.cat(found) if found else torch.empty(0, dtype=torch.int64, device=z.device)


def _nearest_of(z: Tensor, entries: Tensor, offsets: Tensor) -> Tensor:
    # |z|^2 is the same for every entry and left out
    return torch.addmm(offsets, z, entries.t(), beta=1, alpha=-1).argmin(1)
