"""A decoder's tiles shrink on their way through its layers.

A tile enters with a margin as wide as the receptive field, and each layer uses up a part of it; what the layers to come cannot see is cut
off before they are computed. The wide blocks of the shipped decoder need 16 of its 20 tokens, so that the finer grids, which have more
than half of the work, carry 4. The result is the tile's inner part, equal to the whole picture's to float rounding. Measured against
cutting at the end: `recipes/bench/image_speed.py`. The encoder, whose coarse grids come last and whose margin is 8, gains nothing from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from smalti.tokenizers.image.tiles import Tile
from smalti.tokenizers.nets.convolution import ResidualBlock, Upsample, WideBlock


@dataclass(frozen=True)
class Margins:
    """Pixels around a tile's inner part on each side; 0 at the picture's edge, where the network pads as it would for the whole."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


def margins_of(tile: Tile, stride: int) -> Margins:
    """Those of a tile, in pixels."""
    return Margins(*tile.rows.scaled(stride).margins, *tile.columns.scaled(stride).margins)


def reach(layers: Iterable[nn.Module], scale: int) -> int:
    """Pixels that a stack looks to each side; `scale` is the size of its first grid's step in pixels."""
    pixels = 0
    for layer in layers:
        pixels += _radius(layer) * scale
        scale = _scale_after(layer, scale)
    return pixels


def run_trimmed(layers: nn.Sequential, x: Tensor, scale: int, margins: Margins) -> Tensor:
    """The output of a stack whose grids become finer, over the inner part of x (B, C, h, w), whose steps are `scale` pixels.

    margins: those of x, multiples of `scale`.
    """
    ahead = reach(layers, scale)
    for layer in layers:
        ahead -= _radius(layer) * scale
        x, scale = layer(x), _scale_after(layer, scale)
        needed = -(-ahead // scale) * scale
        x, margins = _trim(x, margins, needed, scale)
    return x


def _trim(x: Tensor, margins: Margins, needed: int, scale: int) -> tuple[Tensor, Margins]:
    kept = Margins(*(min(margin, needed) for margin in (margins.top, margins.bottom, margins.left, margins.right)))
    height, width = x.shape[-2:]
    rows = slice((margins.top - kept.top) // scale, height - (margins.bottom - kept.bottom) // scale)
    columns = slice((margins.left - kept.left) // scale, width - (margins.right - kept.right) // scale)
    return x[..., rows, columns], kept


def _radius(layer: nn.Module) -> int:
    """Positions of its own grid that a layer looks to each side."""
    if isinstance(layer, nn.Conv2d):
        return layer.kernel_size[0] // 2 if layer.stride[0] == 1 else 0
    return layer.radius if isinstance(layer, ResidualBlock | WideBlock) else 0


def _scale_after(layer: nn.Module, scale: int) -> int:
    if isinstance(layer, Upsample):
        return scale // 2
    return scale * layer.stride[0] if isinstance(layer, nn.Conv2d) else scale
