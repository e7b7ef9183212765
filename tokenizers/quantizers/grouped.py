"""What is written at each position of a grid: one codebook's index, or those of several codebooks side by side, each on its own channels.

Product quantization: Jegou et al., "Product Quantization for Nearest Neighbor Search" (TPAMI 2011); grouped codes as in wav2vec 2.0 (arXiv
2006.11477) and HiFi-Codec (arXiv 2305.02765). G tables of K entries name K^G vectors, and every entry is used K^(G-1) times as often as in
one table of that size. Only all groups together decode.

Residual, multi-scale and line quantizers are written once over `Group`; one codebook alone is a group of one. Residual levels of
groups are the same as groups of residual levels, so this order alone is offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers import codebooks
from smalti.tokenizers.codebooks import CodebookConfig
from smalti.tokenizers.contracts import Codebook, SoftCodebook
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers.dual import Dual, DualConfig
from smalti.tokenizers.quantizers.grid import carry, to_rows, use
from smalti.tokenizers.tokens import MAX_STAGES, Stage


@dataclass(frozen=True)
class GroupedConfig:
    """parts: the codebooks, at least two, in the order of their channels; kinds and sizes may differ."""

    kind: ClassVar[str] = "grouped"
    parts: tuple[CodebookConfig, ...]

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise UsageError(f"a grouped code needs at least two parts, found {len(self.parts)}; name the one codebook itself")
        check_stages([self])

    @property
    def dim(self) -> int:
        """Of all parts together."""
        return sum(part.dim for part in self.parts)


CodeConfig = CodebookConfig | DualConfig | GroupedConfig


def check_stages(configs: Iterable[CodeConfig]) -> None:
    """UsageError where the codes of all levels, scales, bands or factors together make more stages than tokens can have."""
    stages = sum(len(config.parts) if isinstance(config, GroupedConfig) else 1 for config in configs)
    if stages > MAX_STAGES:
        raise UsageError(f"tokens have at most {MAX_STAGES} stages, these codes make {stages}; use fewer of them")


def build(config: CodeConfig) -> nn.Module:
    """The module that holds the tables of a code: a codebook, or a list of them."""
    if isinstance(config, GroupedConfig):
        return nn.ModuleList(codebooks.build(part) for part in config.parts)
    return Dual(config) if isinstance(config, DualConfig) else codebooks.build(config)


def books(module: nn.Module) -> Iterator[Any]:
    """A quantizer's codebooks in the order of its stages; not those within codebooks."""
    for child in module.children():
        if isinstance(child, Codebook):
            yield child
        else:
            yield from books(child)


class Group:
    """Codebooks side by side, seen as one: rows (N, D) <-> one index (N,) per codebook. Holds no state of its own.

    dim: all channels. sizes: entries per codebook.
    """

    def __init__(self, module: nn.Module) -> None:
        found = tuple(module) if isinstance(module, nn.ModuleList) else (module,)
        self.codebooks: tuple[Codebook, ...] = found  # type: ignore[assignment]
        self.dims = [codebook.dim for codebook in self.codebooks]
        self.dim = sum(self.dims)
        self.sizes = tuple(codebook.size for codebook in self.codebooks)

    def bound(self, z: Tensor) -> Tensor:
        """Latents (B, D, *grid) brought to where the entries live; float32 at least."""
        wide = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
        parts = wide.movedim(1, -1).split(self.dims, -1)
        return torch.cat([book.bound(part) for book, part in zip(self.codebooks, parts, strict=True)], -1).movedim(-1, 1)

    def residual_scale(self, level: int) -> Tensor:
        """(D,): what a residual of that level is divided by."""
        return torch.cat([book.residual_scale(level) for book in self.codebooks])

    def assign(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Nearest entries, int64 (N,) per codebook."""
        return tuple(book.assign(part) for book, part in zip(self.codebooks, rows.split(self.dims, -1), strict=True))

    def lookup(self, indices: Sequence[Tensor]) -> Tensor:
        """(N, D) from one index (N,) per codebook."""
        return torch.cat([book.lookup(index) for book, index in zip(self.codebooks, indices, strict=True)], -1)

    def read(self, rows: Tensor, indices: Sequence[Tensor]) -> Tensor:
        """What `lookup` gives; where gradients are recorded, with those that codebooks of their own gradient send to rows (N, D)."""
        parts = []
        for book, part, index in zip(self.codebooks, rows.split(self.dims, -1), indices, strict=True):
            entries = book.lookup(index)
            if book.gradient == "own" and torch.is_grad_enabled():
                soft = cast(SoftCodebook, book).soft(part)
                entries = entries + (soft - soft.detach())
            parts.append(entries)
        return torch.cat(parts, -1)

    def carry(self, z: Tensor, z_q: Tensor) -> Tensor:
        """z_q (B, D, *grid) in the forward pass, with each codebook's way for gradients to reach z."""
        parts = zip(self.codebooks, z.split(self.dims, 1), z_q.split(self.dims, 1), strict=True)
        return torch.cat([carry(book.gradient, part, quantized) for book, part, quantized in parts], 1)

    def expect(self, logits: Sequence[Tensor]) -> Tensor:
        """Expected (N, D) under softmax(logits), logits (B, K, *grid) per codebook."""
        return torch.cat([F.softmax(to_rows(logit), -1) @ book.vectors() for book, logit in zip(self.codebooks, logits, strict=True)], -1)

    def loss(self, rows: Tensor, entries: Tensor) -> Tensor:
        """The codebooks' losses, their mean."""
        parts = zip(self.codebooks, rows.split(self.dims, -1), entries.split(self.dims, -1), strict=True)
        return torch.stack([book.loss(part, entry) for book, part, entry in parts]).mean()

    def update(self, rows: Tensor, indices: Sequence[Tensor]) -> None:
        """Learn from one training batch."""
        for book, part, index in zip(self.codebooks, rows.split(self.dims, -1), indices, strict=True):
            book.update(part, index)

    def stages(self, name: str, axes: tuple[tuple[str, int], ...]) -> list[Stage]:
        """One stage per codebook: NAME, or NAME.group0, NAME.group1, ..."""
        if len(self.sizes) == 1:
            return [Stage(name, axes, self.sizes[0])]
        return [Stage(f"{name}.group{i}", axes, size) for i, size in enumerate(self.sizes)]

    def health(self, name: str, indices: Sequence[Tensor]) -> dict[str, float]:
        """Perplexity and usage of one batch: `perplexityNAME`, with .GROUP where there are several."""
        found = {}
        for i, (index, size) in enumerate(zip(indices, self.sizes, strict=True)):
            place = name if len(self.sizes) == 1 else f"{name}.{i}"
            found[f"perplexity{place}"], found[f"usage{place}"] = use(index, size)
        return found


def check_prefix(indices: Sequence[Tensor], cuts: tuple[int, ...]) -> None:
    """UsageError where that many stages do not decode."""
    if len(indices) not in cuts:
        raise UsageError(f"{len(indices)} stages do not decode on their own; choose one of {', '.join(map(str, cuts))}")


def check_grid(found: tuple[int, ...], grid: tuple[int, ...] | None) -> None:
    """UsageError where stages of shape `found` are not those of the latent grid that the caller names."""
    if grid is not None and tuple(grid) != found:
        raise UsageError(f"the stages are those of a latent grid {found}, asked for {tuple(grid)}")
