"""The network of `audio-residual`: causal strided convolutions around wide blocks at frame rate, and a residual quantizer.

The strides are those of SoundStream (arXiv 2107.03312) with the Snake of DAC (arXiv 2306.06546). Deviations:

- The first stride works on the waveform itself, and few channels follow it: layers at full rate took three quarters of the time. Wide
  causal ConvNeXt blocks hold most of the weights, where there are 50 to 75 frames a second and they cost little. EnCodec's channels take
  a third of real time on one core, and can't be trained there.
- Latents are whitened, and levels share one space of `dim` numbers, on spheres that shrink where the codebook is cosine. DAC has a
  projection per level in place of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.tokenizers import quantizers
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.nets.causal import (
    CausalConv,
    CausalStack,
    CausalUnit,
    CausalUpsample,
    CausalWideBlock,
    FrameNorm,
    Memory,
    Snake,
)
from smalti.tokenizers.nets.whitening import Whitening
from smalti.tokenizers.quantizers import ResidualConfig

DILATIONS = (1, 3)


@dataclass(frozen=True)
class AudioResidualConfig:
    """rate: samples per second that the network works at. strides: from the waveform down; their product is the samples of a frame.

    widths: channels behind each stride. encoder_blocks, decoder_blocks: wide blocks at frame rate.
    """

    kind: ClassVar[str] = "audio-residual"
    quantizer: ResidualConfig
    rate: int = 16000
    strides: tuple[int, ...] = (8, 5, 8)
    widths: tuple[int, ...] = (48, 96, 256)
    encoder_blocks: int = 2
    decoder_blocks: int = 5

    def __post_init__(self) -> None:
        if not 1000 <= self.rate <= 192000:
            raise UsageError(f"rate lies in 1000..192000 samples per second, found {self.rate}")
        if not self.strides or min(self.strides) < 1 or len(self.widths) != len(self.strides) or min(self.widths) < 1:
            raise UsageError(f"widths and strides have one positive entry each per step, found {self.widths} and {self.strides}")
        if min(self.encoder_blocks, self.decoder_blocks) < 0:
            raise UsageError("numbers of blocks are not negative")

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)


class AudioResidualNet(nn.Module):
    """See the module's docstring. Waveforms are float32 (B, 1, T), T in multiples of the hop; a sound's channels are items of the batch."""

    def __init__(self, config: AudioResidualConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = quantizers.build(config.quantizer)
        self.encoder = _encoder(config, self.quantizer.dim)
        self.norm = Whitening(self.quantizer.dim)
        self.decoder = _decoder(config, self.quantizer.dim)

    def encode(self, wave: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, 1, T) -> latents (B, D, T / hop), white over the training set."""
        return self.norm(self.encoder(wave, memory))

    def decode(self, z_q: Tensor, memory: Memory | None = None) -> Tensor:
        """Quantized latents -> (B, 1, T); values may leave [-1, 1] a little."""
        return self.decoder(z_q, memory)

    def tokenize(self, wave: Tensor, memory: Memory | None = None) -> tuple[Tensor, ...]:
        """Indices (B, frames) per level."""
        return self.quantizer(self.encode(wave, memory)).indices

    def detokenize(self, indices: Sequence[Tensor], memory: Memory | None = None) -> Tensor:
        """Waveforms from indices of all levels or the first of them."""
        return self.decode(self.quantizer.dequantize(indices), memory)

    def forward(self, wave: Tensor) -> tuple[Tensor, Quantized]:
        """Reconstruction and what the quantizer says: the training path."""
        z = self.encode(wave)
        with torch.autocast(z.device.type, enabled=False):  # nearest entries need float32
            quantized = self.quantizer(z.float())
        return self.decode(quantized.z_q), quantized

    def freeze_tokens(self) -> None:
        """Stop learning before the decoder: tokens stay what they are while the decoder improves."""
        for part in (self.encoder, self.norm, self.quantizer):
            part.requires_grad_(False)
            part.eval()


def _encoder(config: AudioResidualConfig, dim: int) -> CausalStack:
    layers: list[nn.Module] = [CausalConv(1, config.widths[0], 2 * config.strides[0], config.strides[0])]
    for stride, width, coarser in zip(config.strides[1:], config.widths, config.widths[1:], strict=False):
        layers += [CausalUnit(width, dilation) for dilation in DILATIONS]
        layers += [Snake(width), CausalConv(width, coarser, 2 * stride, stride)]
    last = config.widths[-1]
    layers += [CausalWideBlock(last) for _ in range(config.encoder_blocks)]
    return CausalStack(*layers, FrameNorm(last), CausalConv(last, dim, 3))


def _decoder(config: AudioResidualConfig, dim: int) -> CausalStack:
    layers: list[nn.Module] = [CausalConv(dim, config.widths[-1], 3)]
    layers += [CausalWideBlock(config.widths[-1]) for _ in range(config.decoder_blocks)]
    for stride, coarser, width in zip(config.strides[:0:-1], config.widths[:0:-1], config.widths[-2::-1], strict=True):
        layers += [Snake(coarser), CausalUpsample(coarser, width, stride)]
        layers += [CausalUnit(width, dilation) for dilation in DILATIONS]
    return CausalStack(*layers, Snake(config.widths[0]), CausalUpsample(config.widths[0], 1, config.strides[0]))
