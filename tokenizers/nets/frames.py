"""Layers over frames of sound that look both ways, over a bounded stretch: (B, C, T) in and out, no statistics over time.

What a frame becomes depends on `radius` frames to each side, so that a long sound can be worked on in overlapping stretches. Beyond the
ends the edge is repeated.

ends: int64 (B,), where a batch holds sounds of several lengths: how many of the T frames each has, 1 to T. What lies behind does not count,
so that each comes out as it would by itself; what comes out behind means nothing. None where all have T.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.nets.causal import FrameNorm, zero


class FrameConv(nn.Module):
    """A convolution of an odd kernel that keeps the length."""

    def __init__(self, channels: int, out_channels: int, kernel: int, groups: int = 1) -> None:
        super().__init__()
        self.radius = kernel // 2
        self.conv = nn.Conv1d(channels, out_channels, kernel, padding=self.radius, padding_mode="replicate", groups=groups)

    def forward(self, x: Tensor, ends: Tensor | None = None) -> Tensor:
        return self.conv(x if ends is None or not self.radius else held(x, ends))


class FrameBlock(nn.Module):
    """ConvNeXt block (Liu et al., arXiv 2201.03545) over seven frames; norm per frame, a last layer that starts at 0."""

    radius = 3

    def __init__(self, channels: int, expansion: int = 3) -> None:
        super().__init__()
        self.mix, self.norm = FrameConv(channels, channels, 7, groups=channels), FrameNorm(channels)
        self.widen, self.narrow = nn.Conv1d(channels, channels * expansion, 1), nn.Conv1d(channels * expansion, channels, 1)
        zero(self.narrow)

    def forward(self, x: Tensor, ends: Tensor | None = None) -> Tensor:
        return x + self.narrow(F.silu(self.widen(self.norm(self.mix(x, ends)))))


class WindowAttention(nn.Module):
    """Each frame reads those within `radius` to each side; beside the identity, starts at 0.

    Places are relative: rotary embeddings (Su et al., arXiv 2104.09864). Attention over a whole clip, as WavTokenizer has it, was trained
    on three seconds and hisses beyond. Frames are taken in blocks of the radius, each of which reads three: work grows with length, not
    its square.
    """

    def __init__(self, channels: int, heads: int, radius: int) -> None:
        super().__init__()
        self.heads, self.radius = heads, radius
        self.norm, self.query_key_value = FrameNorm(channels), nn.Conv1d(channels, 3 * channels, 1)
        self.out = nn.Conv1d(channels, channels, 1)
        zero(self.out)

    def forward(self, x: Tensor, ends: Tensor | None = None) -> Tensor:
        batch, channels, frames = x.shape
        size, missing = self.radius, -frames % self.radius
        parts = self.query_key_value(self.norm(x)).unflatten(1, (3, self.heads, -1)).unbind(1)
        query, key, value = (F.pad(part.transpose(-1, -2), (0, 0, 0, missing)) for part in parts)  # (B, heads, T, C / heads)
        blocks = (frames + missing) // size
        query = query.unflatten(2, (blocks, size))
        key, value = (F.pad(part, (0, 0, size, size)).unfold(2, 3 * size, size).transpose(-1, -2) for part in (key, value))
        places = torch.arange(3 * size, device=x.device)
        query, key = rotate(query, places[size : 2 * size]), rotate(key, places)
        near = (places[size : 2 * size, None] - places).abs() <= size  # (size, 3 size)
        whole = places + torch.arange(blocks, device=x.device)[:, None] * size - size  # (blocks, 3 size): frame of each key
        last = frames if ends is None else ends[:, None, None, None]  # (B, 1, 1, 1)
        there = (whole >= 0) & (whole < last)
        # where only filling is left, a filled frame reads itself: a row without any key is no number
        mask = near & there[..., None, :] | (places[size : 2 * size, None] == places)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        joined = read.flatten(2, 3)[:, :, :frames].transpose(-1, -2).reshape(batch, channels, frames)
        return x + self.out(joined)


def through(layers: nn.Sequential, x: Tensor, ends: Tensor | None = None) -> Tensor:
    """Layers one after the other."""
    for layer in layers:
        x = layer(x, ends) if isinstance(layer, FrameConv | FrameBlock | WindowAttention) else layer(x)
    return x


def held(x: Tensor, ends: Tensor) -> Tensor:
    """x (B, C, T) whose last frame before its end stands in place of all behind."""
    places = torch.minimum(torch.arange(x.shape[-1], device=x.device), ends[:, None] - 1)
    return x.gather(-1, places[:, None].expand_as(x))


def rotate(x: Tensor, places: Tensor) -> Tensor:
    """x (..., N, D) turned by its places (N,): scores then depend on differences of places."""
    half = x.shape[-1] // 2
    rates = 10000.0 ** (-torch.arange(half, device=x.device) / half)
    angles = places[:, None] * rates
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1)


def reach(layers: nn.Module) -> int:
    """Frames that a stack looks to each side."""
    return sum(layer.radius for layer in layers.children() if isinstance(layer, FrameConv | FrameBlock | WindowAttention))
