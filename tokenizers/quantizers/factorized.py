"""Factorized quantization: several small codebooks, each behind an adapter of its own, kept from learning the same thing.

Bai et al., "Factorized Visual Tokenization and Generation" (FQGAN, arXiv 2411.16681). Each factor sees all of z through its adapter; codes
of different factors are pushed to be orthogonal, mean over positions of (q_i . q_j)^2 on unit vectors, over all pairs; a factor
may be taught to predict a given feature. Only all factors together decode.

Deviations: adapters work on one position at a time (the paper's look at the whole picture), so tiles and grids of any shape work. The
regularizer reaches the encoder straight through the entries: tables that are moving averages follow it. Features come with the call,
`quantizer(z, features)`, since who makes them is the training's business; a loss is only there where its feature was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.codebooks import CodebookConfig
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import grouped
from smalti.tokenizers.quantizers.grid import check_latents, to_grid, to_rows
from smalti.tokenizers.quantizers.grouped import Group, GroupedConfig, check_grid, check_prefix, check_stages
from smalti.tokenizers.quantizers.representation import Representation
from smalti.tokenizers.tokens import Layout


@dataclass(frozen=True)
class FactorizedConfig:
    """factors: the codebooks, at least two. Latents have as many channels as they have together.

    adapter_width, adapter_depth: channels and blocks of each adapter. disentanglement: weight of the regularizer, for factors of one
    dimension. feature_dims: per factor the size of the feature that it predicts, 0 for none; empty for none at all.
    representation: weight of that loss.
    """

    kind: ClassVar[str] = "factorized"
    factors: tuple[CodebookConfig, ...]
    adapter_width: int = 256
    adapter_depth: int = 2
    disentanglement: float = 0.1
    feature_dims: tuple[int, ...] = ()
    representation: float = 0.5

    def __post_init__(self) -> None:
        if len(self.factors) < 2:
            raise UsageError(f"a factorized quantizer needs at least two factors, found {len(self.factors)}")
        check_stages(self.factors)
        if self.adapter_width < 1 or self.adapter_depth < 0 or min(self.disentanglement, self.representation) < 0:
            raise UsageError("adapter_width is positive; adapter_depth and the weights of losses are not negative")
        if self.feature_dims and (len(self.feature_dims) != len(self.factors) or min(self.feature_dims) < 0):
            raise UsageError(f"feature_dims has one size per factor, 0 for none: {len(self.factors)} factors, found {self.feature_dims}")
        dims = [factor.dim for factor in self.factors]
        if self.disentanglement and len(set(dims)) > 1:
            raise UsageError(f"disentanglement compares factors of one dimension, found {dims}; set it to 0 or make them equal")


class Factorized(nn.Module):
    """See the module's docstring. Fulfils `contracts.Quantizer`."""

    def __init__(self, config: FactorizedConfig) -> None:
        super().__init__()
        self.config = config
        self.codebooks = grouped.build(GroupedConfig(config.factors))
        dims = self._group.dims
        self.dim, self.cuts = sum(dims), (len(dims),)
        self.adapters = nn.ModuleList(_adapter(self.dim, dim, config.adapter_width, config.adapter_depth) for dim in dims)
        wanted = zip(dims, config.feature_dims or [0] * len(dims), strict=True)
        self.heads = nn.ModuleDict({str(i): Representation(dim, feature) for i, (dim, feature) in enumerate(wanted) if feature})

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...] = ()) -> Layout:
        return Layout(tuple(self._group.stages("factor", tuple(zip(axes, grid, strict=True)))), self.cuts, signal)

    def forward(self, z: Tensor, features: Sequence[Tensor | None] = ()) -> Quantized:
        """features: per factor what it should predict, (B, F) or (B, F, *grid), or None; empty for none."""
        check_latents(z, self.dim, self.training)
        group = self._group
        batch, grid = z.shape[0], tuple(z.shape[2:])
        with torch.autocast(z.device.type, enabled=False):
            rows = to_rows(z).to(self._type)
            adapted = to_grid(torch.cat([adapter(rows) for adapter in self.adapters], -1), batch, grid)
        adapted = group.bound(adapted)
        rows = to_rows(adapted)
        found = group.assign(rows)
        entries = group.read(rows, found)
        indices = tuple(index.reshape(batch, *grid) for index in found)
        z_q = to_grid(entries, batch, grid)
        passed = group.carry(adapted, z_q)
        losses = {"commitment": group.loss(rows, entries)}
        if self.config.disentanglement:
            losses["disentanglement"] = self.config.disentanglement * disentanglement(passed.split(group.dims, 1))
        losses |= self._representation(passed, features)
        if not self.training:
            return Quantized(z_q.to(z.dtype), indices, losses)
        group.update(rows, found)
        return Quantized(passed.to(z.dtype), indices, losses, group.health("", found))

    def dequantize(self, indices: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        self._check(indices, grid)
        return to_grid(self._group.lookup([i.flatten() for i in indices]), indices[0].shape[0], tuple(indices[0].shape[1:]))

    def decode_soft(self, logits: Sequence[Tensor], grid: tuple[int, ...] | None = None) -> Tensor:
        self._check([logit[:, 0] for logit in logits], grid)
        return to_grid(self._group.expect(logits), logits[0].shape[0], tuple(logits[0].shape[2:]))

    def _representation(self, z_q: Tensor, features: Sequence[Tensor | None]) -> dict[str, Tensor]:
        if len(features) not in (0, len(self.adapters)):
            raise UsageError(f"features has one entry per factor: {len(self.adapters)} factors, {len(features)} features")
        losses = {}
        for i, (part, feature) in enumerate(zip(z_q.split(self._group.dims, 1), features or [None] * len(self.adapters), strict=True)):
            if feature is None:
                continue
            if str(i) not in self.heads:
                raise UsageError(f"factor {i} predicts no feature; give it a size in feature_dims, found {self.config.feature_dims}")
            losses[f"representation{i}"] = self.config.representation * self.heads[str(i)](part, feature)
        return losses

    def _check(self, stages: Sequence[Tensor], grid: tuple[int, ...] | None) -> None:
        check_prefix(stages, self.cuts)
        check_grid(tuple(stages[0].shape[1:]), grid)

    @property
    def _group(self) -> Group:
        return Group(self.codebooks)

    @property
    def _type(self) -> torch.dtype:
        return next(self.adapters.parameters()).dtype


def disentanglement(factors: Sequence[Tensor]) -> Tensor:
    """Mean over positions and pairs of the squared cosine between factors (B, D, *grid): a scalar in [0, 1]."""
    units = [F.normalize(factor, dim=1) for factor in factors]
    return torch.stack([(a * b).sum(1).square().mean() for a, b in combinations(units, 2)]).mean()


class _Block(nn.Module):
    """A layer of its own width beside the identity, one position at a time; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.RMSNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, rows: Tensor) -> Tensor:
        return rows + self.second(F.silu(self.first(self.norm(rows))))


def _adapter(dim: int, factor_dim: int, width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, width), *(_Block(width) for _ in range(depth)), nn.Linear(width, factor_dim))
