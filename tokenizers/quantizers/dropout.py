"""How many stages each sample of a training batch keeps, so that every prefix learns to decode.

Quantizer dropout: SoundStream (arXiv 2107.03312), drawn per sample as in DAC (arXiv 2306.06546), not per batch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def keep(batch: int, stages: int, probability: float, device: torch.device) -> Tensor:
    """(stages, B) of 0 and 1: with `probability` a sample keeps its first 1..stages-1, each number alike; otherwise all."""
    fewer = torch.randint(1, max(stages, 2), (batch,), device=device)
    kept = torch.where(torch.rand(batch, device=device) < probability, fewer, stages)
    return (torch.arange(stages, device=device)[:, None] < kept).float()
