"""A small decoder-only transformer over ids: what shows that prepared tokens train.

Pre-norm blocks and rotary positions (arXiv 2104.09864), which count from the beginning of each document; attention runs over the whole row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.tokenizers.errors import UsageError


@dataclass(frozen=True)
class TokenModelConfig:
    """vocabulary: ids, rounded up by whoever likes. width: of the residual stream, in whole heads. blocks: how many."""

    kind: ClassVar[str] = "token-model"
    vocabulary: int
    width: int = 160
    blocks: int = 4
    heads: int = 5
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if min(self.vocabulary, self.width, self.blocks, self.heads) < 1 or self.width % (2 * self.heads):
            raise UsageError(f"a token model's width is a multiple of twice its heads, all from 1 on; found {self}")


class TokenModel(nn.Module):
    """ids (B, T) -> logits (B, T, vocabulary). The input's table is the output's too; to that come logits of order 0, the same
    everywhere."""

    def __init__(self, config: TokenModelConfig) -> None:
        super().__init__()
        self.config = config
        self.table = nn.Embedding(config.vocabulary, config.width)
        self.order_0 = nn.Parameter(torch.zeros(config.vocabulary))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.RMSNorm(config.width)
        self.drop = nn.Dropout(config.dropout)
        for name, weights in self.named_parameters():
            if weights.ndim > 1:
                last = name.endswith(("out.weight", "down.weight"))  # what is added to the stream, once or twice a block
                nn.init.normal_(weights, std=0.02 / math.sqrt(2 * config.blocks) if last else 0.02)

    def forward(self, ids: Tensor, positions: Tensor, cache: list[Cache] | None = None) -> Tensor:
        """positions: int64 (B, T), of each id in its document. cache: of each block, what it saw before; then one more id follows."""
        x = self.drop(self.table(ids))
        turn = rotations(positions, self.config.width // self.config.heads)
        for i, block in enumerate(self.blocks):
            x = block(x, turn, cache[i] if cache is not None else None)
        return F.linear(self.norm(x), self.table.weight, self.order_0)


class Block(nn.Module):
    """Attention, then two layers, the inner one four times as wide."""

    def __init__(self, config: TokenModelConfig) -> None:
        super().__init__()
        width, self.heads, self.rate = config.width, config.heads, config.dropout
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], cache: Cache | None) -> Tensor:
        x = x + self.drop(self.out(self._attended(self.norms[0](x), turn, cache)))
        return x + self.drop(self.down(F.gelu(self.up(self.norms[1](x)))))

    def _attended(self, x: Tensor, turn: tuple[Tensor, Tensor], cache: Cache | None) -> Tensor:
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        query, key = turned(query, turn), turned(key, turn)
        if cache is not None:
            key, value = cache.grown(key, value)
        causal = query.shape[2] == key.shape[2]  # with a cache, the one id sees all before it
        found = F.scaled_dot_product_attention(query, key, value, is_causal=causal, dropout_p=self.rate if self.training else 0.0)
        return found.transpose(1, 2).flatten(2)


@dataclass
class Cache:
    """Keys and values (B, heads, T, width / heads) of what a block saw. State: both."""

    key: Tensor | None = None
    value: Tensor | None = None

    def grown(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Those of before and these."""
        if self.key is not None and self.value is not None:
            key, value = torch.cat([self.key, key], 2), torch.cat([self.value, value], 2)
        self.key, self.value = key, value
        return key, value


def rotations(positions: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """cos and sin (B, 1, T, size / 2) of the angles of positions (B, T)."""
    speeds = 10_000.0 ** (-torch.arange(0, size, 2, device=positions.device) / size)
    angles = positions[:, None, :, None] * speeds
    return angles.cos(), angles.sin()


def turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """x (B, heads, T, size), its halves rotated against each other."""
    cos, sin = turn
    one, two = x.chunk(2, -1)
    return torch.cat([one * cos - two * sin, one * sin + two * cos], -1)


def positions_of(ids: Tensor, first: int) -> Tensor:
    """int64 (B, T): places since the last id `first`, with which documents begin; from 0 on before any."""
    places = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
    begins = torch.where(ids == first, places, torch.zeros_like(places)).cummax(1).values
    return places - begins
