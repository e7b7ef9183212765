"""Open-MAGVIT2 (Luo et al., arXiv:2409.04410): a grid of signs, 18 of them a token and no table at all, in our words.

The convolutional network of MAGVIT-v2 (arXiv:2310.05737) without attention; each level of its decoder is normed by spread and mean of all
the latents, so that a picture's tokens mean a little less without the others. A token's bits are the signs of its channels, the first one
counting least. Sizes are those of the tensors. Written from the papers and the lists of published tensors; no code is taken over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.configs import from_dict
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.peers.naming import Table, averaged, filled_by, publisher, shape_of
from smalti.tokenizers.peers.vqgan import GROUPS, LEFT_OUT

EPSILON = 1e-6
TABLE: Table = (
    ("encoder.levels.{n}.blocks.{m}.shortcut.", "encoder.down.{n}.block.{m}.nin_shortcut."),
    ("encoder.levels.{n}.blocks.{m}.", "encoder.down.{n}.block.{m}."),
    ("encoder.levels.{n}.change.", "encoder.down.{n}.downsample."),
    ("decoder.levels.{n}.blocks.{m}.shortcut.", "decoder.up.{r}.block.{m}.nin_shortcut."),
    ("decoder.levels.{n}.blocks.{m}.", "decoder.up.{r}.block.{m}."),
    ("decoder.levels.{n}.change.", "decoder.up.{r}.upsample.conv1."),
    ("decoder.levels.{n}.scale.", "decoder.adaptive.{r}.gamma."),
    ("decoder.levels.{n}.shift.", "decoder.adaptive.{r}.beta."),
    *(
        (f"{half}.{ours}", f"{half}.{theirs}")
        for half in ("encoder", "decoder")
        for ours, theirs in (
            ("middle.{n}.", "mid_block.{n}."),
            ("norm.", "norm_out."),
            ("first.", "conv_in."),
            ("last.", "conv_out."),
        )
    ),
)


@dataclass(frozen=True)
class Magvit2Config:
    """channels: of the finest level; multipliers: of each, fine to coarse. blocks: residual ones a level. bits: channels of a token."""

    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    bits: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.multipliers) <= 7 or min(self.multipliers) < 1 or not 1 <= self.blocks <= 64:
            raise UsageError(f"1 to 7 levels of 1 to 64 blocks, found multipliers {self.multipliers} and {self.blocks} blocks")
        if any(self.channels * m % GROUPS for m in self.multipliers) or not 1 <= self.bits <= 20:
            raise UsageError(f"channels in groups of {GROUPS} and 1 to 20 bits, found {self.channels} and {self.bits}")

    @property
    def stride(self) -> int:
        return 2 ** (len(self.multipliers) - 1)


def magvit2_config(settings: Mapping[str, Any]) -> Magvit2Config:
    """ModelError where the settings are none."""
    try:
        return from_dict(Magvit2Config, dict(settings), "settings")
    except UsageError as error:
        raise ModelError(str(error)) from None


class Residual(nn.Module):
    """Two convolutions without biases behind norms, added to what came in."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, channels, EPSILON), nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, out, EPSILON), nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(channels, out, 1, bias=False) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return (x if self.shortcut is None else self.shortcut(x)) + inner


def _row(channels: int, out: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(channels if i == 0 else out, out) for i in range(blocks)))


class CoarserLevel(nn.Module):
    def __init__(self, channels: int, out: int, blocks: int, last: bool) -> None:
        super().__init__()
        self.blocks = _row(channels, out, blocks)
        self.change = None if last else nn.Conv2d(out, out, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return x if self.change is None else self.change(x)


class FinerLevel(nn.Module):
    """A norm whose gain and offset come from the latents; then blocks; then a grid twice as fine, whose squares lie in channels."""

    def __init__(self, channels: int, out: int, blocks: int, bits: int, last: bool) -> None:
        super().__init__()
        self.scale, self.shift = nn.Linear(bits, channels), nn.Linear(bits, channels)
        self.blocks = _row(channels, out, blocks)
        self.change = None if last else nn.Conv2d(out, 4 * out, 3, padding=1)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        flat = latents.flatten(2)
        # of a single token there is no spread
        spread = (flat.var(-1) if flat.shape[-1] > 1 else torch.zeros_like(flat[..., 0])).add(EPSILON).sqrt()
        x = self.scale(spread)[:, :, None, None] * F.group_norm(x, GROUPS, eps=EPSILON) + self.shift(flat.mean(-1))[:, :, None, None]
        x = self.blocks(x)
        if self.change is None:
            return x
        x = self.change(x)  # channels: row, column, then the grid's own
        batch, channels, height, width = x.shape
        squares = x.reshape(batch, 2, 2, channels // 4, height, width).permute(0, 3, 4, 1, 5, 2)
        return squares.reshape(batch, channels // 4, 2 * height, 2 * width)


class Encoder(nn.Module):
    def __init__(self, config: Magvit2Config) -> None:
        super().__init__()
        widths = [config.channels, *(config.channels * m for m in config.multipliers)]
        last = len(config.multipliers) - 1
        self.first = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.levels = nn.Sequential(*(CoarserLevel(widths[i], widths[i + 1], config.blocks, i == last) for i in range(last + 1)))
        self.middle = _row(widths[-1], widths[-1], config.blocks)
        self.norm, self.last = nn.GroupNorm(GROUPS, widths[-1], EPSILON), nn.Conv2d(widths[-1], config.bits, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.silu(self.norm(self.middle(self.levels(self.first(x))))))


class Decoder(nn.Module):
    """Its levels lie in the order in which they run, coarse to fine."""

    def __init__(self, config: Magvit2Config) -> None:
        super().__init__()
        widths = [config.channels * m for m in (config.multipliers[-1], *reversed(config.multipliers))]
        last = len(config.multipliers) - 1
        self.first = nn.Conv2d(config.bits, widths[0], 3, padding=1)
        self.middle = _row(widths[0], widths[0], config.blocks)
        self.levels = nn.ModuleList(FinerLevel(widths[k], widths[k + 1], config.blocks, config.bits, k == last) for k in range(last + 1))
        self.norm, self.last = nn.GroupNorm(GROUPS, widths[-1], EPSILON), nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.middle(self.first(latents))
        for level in self.levels:
            x = level(x, latents)
        return self.last(F.silu(self.norm(x)))


class Magvit2Net(nn.Module):
    def __init__(self, config: Magvit2Config) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)


class Magvit2:
    """`picture_families.PictureNet` of a filled network."""

    def __init__(self, network: Magvit2Net, published: Callable[[str], str]) -> None:
        self.network: Any = network
        self.published = published

    def tokenize(self, pixels: Tensor) -> Tensor:
        signs = self.network.encoder(pixels) > 0
        return (signs.permute(0, 2, 3, 1).long() << self._places(pixels)).sum(-1)

    def detokenize(self, indices: Tensor) -> Tensor:
        signs = ((indices[..., None] >> self._places(indices)) & 1).float() * 2 - 1
        return self.network.decoder(signs.permute(0, 3, 1, 2).contiguous())

    def _places(self, like: Tensor) -> Tensor:
        return torch.arange(self.network.config.bits, device=like.device)


def names_of(config: Magvit2Config) -> Callable[[str], str]:
    """How checkpoints call our tensors."""
    return publisher(TABLE, len(config.multipliers))


def build(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> Magvit2:
    """ModelError where settings and tensors do not belong together."""
    config = magvit2_config(settings)
    return Magvit2(filled_by(lambda: Magvit2Net(config), averaged(tensors), names_of(config), name, LEFT_OUT), names_of(config))


def settings_of(shapes: Mapping[str, tuple[int, ...]], name: str) -> dict[str, Any] | None:
    """Settings that a checkpoint's names and shapes say; None where it is no such network. ModelError for one that lacks what they are read
    from."""
    if not any(key.startswith("decoder.adaptive.") for key in shapes):
        return None

    def shape(key: str, axes: int) -> tuple[int, ...]:
        return shape_of(shapes, key, axes, name, "this is no whole checkpoint of Open-MAGVIT2")

    pattern = re.compile(r"encoder\.down\.(\d+)\.block\.(\d+)\.")
    found = [(int(match.group(1)), int(match.group(2))) for key in shapes if (match := pattern.match(key))]
    if not found:
        raise ModelError(f"{name}: tensors encoder.down.* are missing; this is no whole checkpoint of Open-MAGVIT2")
    channels = shape("encoder.conv_in.weight", 4)[0]
    widths = [shape(f"encoder.down.{i}.block.0.conv1.weight", 4)[0] for i in range(1 + max(level for level, _ in found))]
    if channels < 1 or any(width % channels for width in widths):
        raise ModelError(f"{name}: levels of {widths} channels are no multiples of the first convolution's {channels}")
    return {
        "channels": channels, "multipliers": [width // channels for width in widths], "blocks": 1 + max(block for _, block in found),
        "bits": shape("encoder.conv_out.weight", 4)[0],
    }  # fmt: skip
