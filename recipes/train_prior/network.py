"""The masked prior's network in float32 while it learns, and its integers afterwards.

The same layers as `smalti.codecs.priors.masked_network`. Sixteen-bit weights and activations in 2^-10 lose so little that training does not
imitate them. Logits are linear in the entries' vectors and their products at the start, as those of a Gaussian around a foretold vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.codecs.priors import masked_arithmetic as exact
from smalti.codecs.priors.masked_config import LARGEST_BIAS, PATCH, REACH, MaskedConfig, kind
from smalti.codecs.priors.masked_network import relative_places
from smalti.tokenizers.errors import ModelError

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Whole:
    """tensors: what `MaskedNetwork` takes. clipped: how many numbers did not fit into their integers."""

    tensors: dict[str, Array]
    clipped: int


class FloatNetwork(nn.Module):
    """vectors: per stage float32 (V, C), of the tokenizer's codebooks; counts: per stage how often each entry occurs, (V,)."""

    features: Tensor

    def __init__(self, config: MaskedConfig, vectors: Sequence[Tensor], counts: Sequence[Tensor]) -> None:
        super().__init__()
        self.config = config
        self.entries = nn.Parameter(torch.stack([_entries(v, config.entry) for v in vectors]))
        self.stem = nn.Linear(PATCH * config.entry, config.channels, bias=False)
        self.stage = nn.Parameter(torch.zeros(len(config.steps), config.channels))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        features = torch.stack([_features(v) for v in vectors])
        self.register_buffer("features", features, persistent=False)  # the codebooks'; no state of training
        self.join = nn.Parameter(0.002 * torch.randn(len(vectors), features.shape[2], config.channels))
        self.own = nn.Parameter(torch.zeros(len(vectors), config.vocab, config.channels))
        self.bias = nn.Parameter(torch.stack([torch.log((c + 1) / (c + 1).sum() * len(c)) for c in counts]).float())

    def forward(self, grids: Tensor, stage: int, chosen: Tensor, shallow: bool = False) -> Tensor:
        """Logits (M, V) at the chosen positions, arguments as `MaskedNetwork.running_sums`; shallow: without the blocks."""
        return F.linear(_norm(self.hidden(grids, stage, shallow)[chosen.flatten(1)]), self.head()[stage], self.bias[stage])

    def hidden(self, grids: Tensor, stage: int, shallow: bool = False) -> Tensor:
        """float32 (B, N, D) of int64 grids (B, K, side, side)."""
        entries = torch.stack([F.embedding(grids[:, k], self.entries[k]) for k in range(len(self.config.steps))]).sum(0)
        kernel = self.stem.weight.unflatten(1, (self.config.entry, 2 * REACH + 1, 2 * REACH + 1))
        x = F.conv2d(entries.permute(0, 3, 1, 2), kernel, padding=REACH).flatten(2).transpose(1, 2) + self.stage[stage]
        for block in [] if shallow else self.blocks:
            x = block(x)
        return x

    def head(self) -> Tensor:
        """(K, V, D)"""
        return self.features @ self.join + self.own

    def integers(self) -> Whole:
        """The network on integers; raises ModelError where training has left no numbers."""
        tensors = {"entries": self.entries, "stem.weight": self.stem.weight, "stem.bias": self.stage}
        for i, block in enumerate(self.blocks):
            tensors |= {f"block{i}.{name}": value for name, value in block.named_parameters()}
        tensors |= {"head.weight": self.head(), "head.bias": self.bias}
        found = {name: _integers(name, value) for name, value in tensors.items()}
        return Whole({name: whole for name, (whole, _) in found.items()}, sum(clipped for _, clipped in found.values()))


class Block(nn.Module):
    """Attention and a wide layer, both on normed inputs and added to them: (B, N, D)."""

    order: Tensor

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.joint = nn.Linear(config.channels, 3 * config.channels)
        self.out = nn.Linear(config.channels, config.channels)
        self.widen = nn.Linear(config.channels, config.wide)
        self.narrow = nn.Linear(config.wide, config.channels)
        self.places = nn.Parameter(_nearness(config))
        self.register_buffer("order", relative_places(config.side), persistent=False)
        for last in (self.out, self.narrow):
            nn.init.normal_(last.weight, std=0.002)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.joint(_norm(x)).chunk(3, -1))
        bias = self.places.flatten(1)[:, self.order]
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
        x = x + self.out(read.transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(_norm(x))))


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-8)


def _nearness(config: MaskedConfig) -> Tensor:
    """Heads start by looking around, each at another distance."""
    step = torch.arange(2 * config.side - 1.0) - (config.side - 1)
    distance = (step[:, None] ** 2 + step[None, :] ** 2).sqrt()
    return torch.stack([-distance * 2.0 ** -(head + 1) for head in range(config.heads)])


def _features(vectors: Tensor) -> Tensor:
    """(V, C + C (C + 1) / 2): entries and products of their parts, whitened."""
    rows, columns = torch.triu_indices(vectors.shape[1], vectors.shape[1])
    found = torch.cat((vectors, vectors[:, rows] * vectors[:, columns]), 1).double()
    found = found - found.mean(0)
    return (found / (found.std(0) + 1e-6)).float()


def _entries(vectors: Tensor, channels: int) -> Tensor:
    """(V + 2, channels): vectors on random axes, unknown and outside at random."""
    axes = torch.randn(vectors.shape[1], channels) / vectors.shape[1] ** 0.5
    found = (vectors - vectors.mean(0)) / vectors.std() @ axes
    return torch.cat((found + 0.05 * torch.randn_like(found), 0.5 * torch.randn(2, channels)))


def _integers(name: str, value: Tensor) -> tuple[Array, int]:
    """A tensor in its integers, and how many were too large for them."""
    bits = exact.VALUE_BITS if name == "entries" or name.endswith("places") else exact.WEIGHT_BITS
    bits += exact.VALUE_BITS if name.endswith("bias") else 0
    whole = np.rint(value.detach().cpu().double().numpy() * 2.0**bits)
    if not np.isfinite(whole).all():
        raise ModelError(f"{name} has values that are no numbers: training has failed; remove the checkpoint and start anew")
    most = LARGEST_BIAS if name.endswith("bias") else np.iinfo(np.int16).max
    return np.clip(whole, -most, most).astype(kind(name)), int((np.abs(whole) > most).sum())
