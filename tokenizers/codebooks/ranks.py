"""Training in several processes: what tables learn from is the batch of all of them, so that tables stay equal on every rank.

Every function is the identity where torch.distributed is not initialised. All ranks must call it, with tensors of one type and width,
also those that have no rows: the others wait. A quantizer asks for rows on every rank, and what it refuses on one it refuses on all, see
`refuse`. Any other error on one rank must end the whole job, as launchers such as torchrun see to.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist

from smalti.tokenizers.errors import SignalError, SmaltiError


def several() -> bool:
    """Whether more than one process trains."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def add(values: Tensor) -> Tensor:
    """The sum over ranks, written into `values`."""
    if several():
        dist.all_reduce(values)
    return values


def refuse(error: SmaltiError | None, device: torch.device) -> None:
    """Raise the error of any rank on all of them: those without one would wait for the others in the next exchange. None: nothing found."""
    found = add(torch.tensor(int(error is not None), device=device)) if several() else None
    if error is not None:
        raise error
    if found is not None and int(found):
        raise SignalError("another process of this training refused its batch; see its message")


def share(values: Tensor) -> Tensor:
    """Those of rank 0, written into `values`."""
    if several():
        dist.broadcast(values, 0)
    return values


def gather(rows: Tensor) -> Tensor:
    """(N, D) of each rank -> (sum of N, D), in the order of ranks; N may differ. No gradient."""
    rows = rows.detach()
    if not several():
        return rows
    counts = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=rows.device)
    counts[dist.get_rank()] = len(rows)
    sizes = add(counts).tolist()
    padded = rows.new_zeros(max(sizes), rows.shape[1])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def mean(sums: Tensor, count: int) -> Tensor:
    """The mean over the rows of all ranks, of which this one has `count`, 0 or more, and their sums; 0 where nobody has any.

    The gradient is that of this rank's rows: a wrapper that averages gradients over ranks, as DistributedDataParallel does, makes that of
    the mean out of them.
    """
    if not several():
        return sums / max(1, count)
    total = add(torch.cat([sums.detach().double().flatten(), sums.new_tensor([count], dtype=torch.float64)]))
    rows = total[-1].clamp(min=1)
    own = sums * (dist.get_world_size() / rows).to(sums.dtype)
    return own + ((total[:-1] / rows).to(sums.dtype).reshape(sums.shape) - own).detach()


def draw(rows: Tensor, count: int) -> Tensor:
    """At most `count` different rows (N, D) drawn from the batches of all ranks, the same on each; no rank is preferred."""
    found = gather(rows[torch.randperm(len(rows), device=rows.device)[:count]])
    return found[share(torch.randperm(len(found), device=rows.device))[:count]] if several() else found
