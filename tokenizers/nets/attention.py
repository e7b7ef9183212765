"""Transformer blocks: for two sets of vectors, one that is worked on and a context that it reads; and for one set by itself.

Vaswani et al. (arXiv 1706.03762), pre-norm; queries and keys of length 1 per head times a root of the head's width, which keeps logits
small at any learning rate (Henry et al., arXiv 2010.04245). The outputs of self-attention and of the wide layer start at 0, those of
cross-attention do not: at the start each vector is what it has read.

Nothing depends on other items of the batch, and a set is one region of a picture, so that memory does not grow with the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RootNorm(nn.Module):
    """Root-mean-square norm over the last axis (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight)


class Attention(nn.Module):
    """x (B, N, C) reads context (B, M, C): (B, N, C)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=False)
        self.key_value = nn.Linear(channels, 2 * channels, bias=False)
        self.query_norm, self.key_norm = RootNorm(channels // heads), RootNorm(channels // heads)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        batch, count, channels = x.shape
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.key_value(context).chunk(2, -1))
        read = F.scaled_dot_product_attention(self.query_norm(query), self.key_norm(key), value)
        return self.out(read.transpose(1, 2).reshape(batch, count, channels))


class ReadingBlock(nn.Module):
    """Cross-attention to the context, self-attention, then a wide layer per vector; x (B, N, C), context (B, M, C)."""

    def __init__(self, channels: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.read_norm, self.read = RootNorm(channels), Attention(channels, heads)
        self.mix_norm, self.mix = RootNorm(channels), Attention(channels, heads)
        self.wide_norm = RootNorm(channels)
        self.widen, self.narrow = nn.Linear(channels, channels * expansion), nn.Linear(channels * expansion, channels)
        for last in (self.mix.out, self.narrow):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.read(self.read_norm(x), context)
        own = self.mix_norm(x)
        x = x + self.mix(own, own)
        return x + self.narrow(F.silu(self.widen(self.wide_norm(x))))


class MixingBlock(nn.Module):
    """Self-attention, then a wide layer per vector, which alone starts at 0; x (B, N, C)."""

    def __init__(self, channels: int, heads: int, expansion: int = 4) -> None:
        super().__init__()
        self.mix_norm, self.mix = RootNorm(channels), Attention(channels, heads)
        self.wide_norm = RootNorm(channels)
        self.widen, self.narrow = nn.Linear(channels, channels * expansion), nn.Linear(channels * expansion, channels)
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor) -> Tensor:
        own = self.mix_norm(x)
        x = x + self.mix(own, own)
        return x + self.narrow(F.silu(self.widen(self.wide_norm(x))))
