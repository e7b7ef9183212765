"""How many stages each sample of a training batch keeps, so that every prefix learns to decode.

Quantizer dropout: SoundStream (arXiv 2107.03312), drawn per sample as in DAC (arXiv 2306.06546), not per batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from smalti.tokenizers.contracts import Quantized


def keep(batch: int, stages: int, probability: float, device: torch.device) -> Tensor:
    """(stages, B) of 0 and 1: with `probability` a sample keeps its first 1..stages-1, each number alike; otherwise all."""
    fewer = torch.randint(1, max(stages, 2), (batch,), device=device)
    kept = torch.where(torch.rand(batch, device=device) < probability, fewer, stages)
    return (torch.arange(stages, device=device)[:, None] < kept).float()


def latents_for_decoder(quantizer: Any, quantized: Quantized, learning: bool) -> Tensor:
    """z_q as a decoder is to see it: that of a quantizer in training as it is, with its own dropout.

    learning: whether the network is in training. Where only its decoder is, so that tokens stay what they are, the quantizer is frozen and
    gives all stages; dropout, with the probability in its config, is drawn here, or prefixes would decode worse the longer it learns.
    """
    z_q, probability = quantized.z_q, getattr(quantizer.config, "dropout", 0.0)
    if quantizer.training or not (learning and probability):
        return z_q
    kept = keep(len(z_q), len(quantizer.cuts), probability, z_q.device).sum(0).long()
    rows = [
        quantizer.dequantize([index[i : i + 1] for index in quantized.indices[: quantizer.cuts[count - 1]]])
        for i, count in enumerate(kept.tolist())
    ]
    return torch.cat(rows).to(z_q.dtype)
