"""Causal layers for sound: an output frame sees what has passed and nothing that is to come, so that a stream can be worked on in pieces.

Each layer takes x (B, C, T) and a `Memory` or None. With a memory, calls one after the other on pieces give what one call on the whole
gives, wherever it is cut into pieces of whole strides. Before the start stands the first frame, repeated: zeros there would tell a
network trained on crops, each of which starts somewhere inside a sound, where it is.

Strides after SoundStream (arXiv 2107.03312) and EnCodec (arXiv 2210.13438): kernels of two strides. Going up is the same arithmetic as a
transposed convolution of two strides, written as a convolution over two frames that draws `stride` samples: there is no tail to carry
over, and no bias in it to take off.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Memory:
    """The state of one stream: what each layer still needs of what has passed."""

    def __init__(self) -> None:
        self._past: dict[nn.Module, Tensor] = {}

    def join(self, layer: nn.Module, x: Tensor, count: int) -> Tensor:
        """The last `count` frames that this layer saw before, then x; the last `count` of both are kept for the next call."""
        joined = torch.cat([self._past.get(layer, first_frame(x, count)), x], -1)
        self._past[layer] = joined[..., joined.shape[-1] - count :].clone()
        return joined

    def held(self, layer: nn.Module) -> Tensor | None:
        """What this layer held before; None at the start."""
        return self._past.get(layer)

    def hold(self, layer: nn.Module, state: Tensor) -> None:
        """Keep what this layer needs for the next call."""
        self._past[layer] = state


def first_frame(x: Tensor, count: int) -> Tensor:
    """The first frame of x (B, C, T), `count` times."""
    return x[..., :1].expand(*x.shape[:-1], count)


class CausalConv(nn.Module):
    """A convolution whose last tap lies on the newest frame; T in multiples of the stride."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.context = (kernel - 1) * dilation + 1 - stride
        self.conv = nn.Conv1d(channels, out_channels, kernel, stride, dilation=dilation, groups=groups)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        if memory is not None:
            return self.conv(memory.join(self, x, self.context))
        return self.conv(torch.cat([first_frame(x, self.context), x], -1))


class CausalUpsample(nn.Module):
    """(B, C, T) -> (B, out_channels, T * stride): each frame and the one before it draw `stride` frames."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.draw = CausalConv(channels, out_channels * stride, 2)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        drawn = self.draw(x, memory).unflatten(1, (-1, self.stride))
        return drawn.transpose(2, 3).flatten(2)


class FrameNorm(nn.Module):
    """Root-mean-square norm over the channels of each frame (Zhang and Sennrich, arXiv 1910.07467): no statistics over time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1))

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        return x * (torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * self.weight)


class Snake(nn.Module):
    """x + sin^2(a x) / a, a per channel: periodic things stay periodic (Ziyin et al., arXiv 2006.08195; in DAC, arXiv 2306.06546)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.ones(channels, 1))

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        return x + torch.sin(self.frequency * x).square() / (self.frequency + 1e-9)


class CausalUnit(nn.Module):
    """Snake, three dilated taps, Snake, one tap, beside the identity; the last convolution starts at 0."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first_snake, self.first = Snake(channels), CausalConv(channels, channels, 3, dilation=dilation)
        self.second_snake, self.second = Snake(channels), nn.Conv1d(channels, channels, 1)
        zero(self.second)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        return x + self.second(self.second_snake(self.first(self.first_snake(x), memory)))


class CausalWideBlock(nn.Module):
    """ConvNeXt block (Liu et al., arXiv 2201.03545) over the last seven frames: where the grid is coarse, most capacity per operation."""

    def __init__(self, channels: int, expansion: int = 3) -> None:
        super().__init__()
        self.mix, self.norm = CausalConv(channels, channels, 7, groups=channels), FrameNorm(channels)
        self.widen, self.narrow = nn.Conv1d(channels, channels * expansion, 1), nn.Conv1d(channels * expansion, channels, 1)
        zero(self.narrow)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        return x + self.narrow(F.silu(self.widen(self.norm(self.mix(x, memory)))))


class CausalStack(nn.Sequential):
    """Layers one after the other, with one memory."""

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        for layer in self:
            x = layer(x, memory)
        return x


def zero(layer: nn.Conv1d) -> None:
    """Start a layer that stands beside an identity at 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
