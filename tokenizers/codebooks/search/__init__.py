"""Nearest entry of a table: the exact one, without holding the matrix of distances.

On a CPU `kernel.py`, elsewhere `blocked.py`. In graphs that torch traces, for export or `torch.compile`, it is `traced.py`, which holds all
N x K distances and is not exact between near-equals. The first two centre the table on its mean, since
|e|^2 - 2 z.e cancels badly far from the origin, score in float32, also under autocast (bfloat16 leaves half the entries unused), and
decide in float64 between entries that float32 can't tell apart. So they give what a float64 brute force over the given numbers gives,
for any chunk, batch and thread count; float32 alone, uncentred, picks a wrong entry for 17 of 512 rows where table and rows have mean
3 and spread .015.

FAISS's flat index has no part in it: an index that returns the best entry alone can't tell that another was as near.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

from smalti.tokenizers.codebooks.search import blocked, traced
from smalti.tokenizers.errors import UsageError

NUMBA_FROM = 2**26  # multiplications; below, loading numba (0.5 s) costs more than it saves, and both give the same


def nearest(z: Tensor, table: Tensor) -> Tensor:
    """Index (N,) int64 of the entry of `table` (K, D) nearest to each row of z (N, D), by Euclidean distance; of equal ones the lowest.

    Any floating type. No gradient. A row that has NaN or infinity gets index 0. UsageError where the shapes don't fit.
    """
    if torch.compiler.is_compiling():
        return traced.nearest(z, table)
    if z.ndim != 2 or table.ndim != 2 or z.shape[1] != table.shape[1] or not table.numel():
        raise UsageError(
            f"search needs latents (N, D) and a table (K, D), K and D at least 1, found {tuple(z.shape)}, {tuple(table.shape)}"
        )
    small = len(z) * table.numel() < NUMBA_FROM and "numba" not in sys.modules
    if z.device.type != "cpu" or small:
        return blocked.nearest(z, table)
    from smalti.tokenizers.codebooks.search import kernel

    return kernel.nearest(z, table)


__all__ = ["nearest"]
