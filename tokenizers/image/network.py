"""The network of `image-grid`: Haar front end, convolutions, a quantizer, a heavier decoder.

Two Haar levels turn the picture into 48 bands at a quarter of its size; residual 3x3 blocks work down to 1/8 or 1/16, where wide ConvNeXt
blocks hold most of the capacity. The decoder has twice the encoder's work (ViTok, arXiv 2501.09755: encoder size buys nothing). Its last
steps run at half size before one Haar level back to pixels, so that what one step of the quarter grid draws overlaps its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers import quantizers
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.trim import Margins, reach, run_trimmed
from smalti.tokenizers.nets.convolution import ResidualBlock, Upsample, WideBlock, conv
from smalti.tokenizers.nets.haar import haar, inverse_haar
from smalti.tokenizers.nets.whitening import Whitening
from smalti.tokenizers.quantizers import FactorizedConfig, QuantizerConfig, ResidualConfig, SingleConfig
from smalti.tokenizers.quantizers.dropout import latents_for_decoder

HAAR_LEVELS = 2


class Convolutions(Protocol):
    """What the convolutional encoder and decoder are built from; see `ImageGridConfig`."""

    @property
    def widths(self) -> tuple[int, ...]: ...
    @property
    def encoder_depths(self) -> tuple[int, ...]: ...
    @property
    def decoder_depths(self) -> tuple[int, ...]: ...
    @property
    def head_width(self) -> int: ...


@dataclass(frozen=True)
class ImageGridConfig:
    """widths and depths list channels and blocks at 1/4, 1/8 (and 1/16) of the size; their length fixes the stride: 2 gives 8, 3 gives 16.

    head_width: channels of the decoder's step at half size.
    """

    kind: ClassVar[str] = "image-grid"
    quantizer: QuantizerConfig
    widths: tuple[int, ...] = (48, 96, 256)
    encoder_depths: tuple[int, ...] = (1, 1, 2)
    decoder_depths: tuple[int, ...] = (2, 2, 5)
    head_width: int = 24

    def __post_init__(self) -> None:
        if not isinstance(self.quantizer, SingleConfig | ResidualConfig | FactorizedConfig):
            raise UsageError(f"image-grid works in tiles, so each position needs tokens of its own; {self.quantizer.kind} has others")
        check_convolutions(self)

    @property
    def stride(self) -> int:
        """Pixels per token and axis."""
        return stride_of(self)


def check_convolutions(config: Convolutions) -> None:
    """Raise UsageError for widths and depths that do not belong together."""
    if not len(config.widths) == len(config.encoder_depths) == len(config.decoder_depths) in (2, 3):
        raise UsageError(
            f"widths, encoder_depths and decoder_depths need 2 (stride 8) or 3 (stride 16) entries each, found {config.widths}"
        )
    if min(*config.widths, config.head_width) < 1 or min(config.encoder_depths + config.decoder_depths) < 0:
        raise UsageError("widths must be positive and depths not negative")


def stride_of(config: Convolutions) -> int:
    """Pixels per step of the coarsest grid, per axis."""
    return 2 ** (HAAR_LEVELS - 1 + len(config.widths))


class ImageGridNet(nn.Module):
    """See the module's docstring. Pictures are float32 (B, 3, H, W) in [-1, 1], H and W multiples of the stride."""

    def __init__(self, config: ImageGridConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = quantizers.build(config.quantizer)
        self.encoder = build_encoder(config, self.quantizer.dim)
        self.norm = Whitening(self.quantizer.dim)
        self.decoder = build_decoder(config, self.quantizer.dim)

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> latents (B, D, H / stride, W / stride), white over the training set."""
        return self.norm(self.encoder(haar(pixels, HAAR_LEVELS)))

    def decode(self, z_q: Tensor, margins: Margins | None = None) -> Tensor:
        """Quantized latents -> (B, 3, H, W); values may leave [-1, 1] a little. Of a tile, the pixels within its margins."""
        return inverse_haar(self.decoder(z_q) if margins is None else run_trimmed(self.decoder, z_q, self.config.stride, margins))

    def tokenize(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Indices (B, rows, columns) per stage."""
        return self.quantizer(self.encode(pixels)).indices

    def detokenize(self, indices: Sequence[Tensor], margins: Margins | None = None) -> Tensor:
        """Pictures from indices of all stages or a decodable prefix; of a tile, its part within the margins."""
        return self.decode(self.quantizer.dequantize(indices), margins)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Quantized]:
        """Reconstruction and what the quantizer says: the training path."""
        z = self.encode(pixels)
        with torch.autocast(z.device.type, enabled=False):  # nearest entries need float32: bfloat16 leaves half the codes unused
            quantized = self.quantizer(z.float())
        return self.decode(latents_for_decoder(self.quantizer, quantized, self.training)), quantized

    def freeze_tokens(self) -> None:
        """Stop learning before the decoder: tokens stay what they are while the decoder improves."""
        for part in (self.encoder, self.norm, self.quantizer):
            part.requires_grad_(False)
            part.eval()

    @property
    def encoder_margin(self) -> int:
        """Tokens that a tile of the encoder must see beyond its edges to equal the whole."""
        return -(-reach(self.encoder, 2**HAAR_LEVELS) // self.config.stride)

    @property
    def decoder_margin(self) -> int:
        """The same for the decoder."""
        return -(-reach(self.decoder, self.config.stride) // self.config.stride)


def _stage(width: int, depth: int, coarsest: bool) -> list[nn.Module]:
    return [WideBlock(width) if coarsest else ResidualBlock(width) for _ in range(depth)]


def build_encoder(config: Convolutions, dim: int) -> nn.Sequential:
    """Haar bands at a quarter of the size -> `dim` channels at the coarsest grid; the last layer looks at one position."""
    widths = config.widths
    layers: list[nn.Module] = [conv(3 * 4**HAAR_LEVELS, widths[0], 3)]
    for i, width in enumerate(widths):
        if i:
            layers.append(nn.Conv2d(widths[i - 1], width, 2, stride=2))
        layers += _stage(width, config.encoder_depths[i], i == len(widths) - 1)
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], dim, 1))


def build_decoder(config: Convolutions, dim: int) -> nn.Sequential:
    """`dim` channels at the coarsest grid -> Haar bands at half the size."""
    widths, half = config.widths, config.head_width
    layers: list[nn.Module] = [conv(dim, widths[-1], 3)]
    for i in reversed(range(len(widths))):
        layers += _stage(widths[i], config.decoder_depths[i], i == len(widths) - 1)
        layers.append(Upsample(widths[i], widths[i - 1] if i else half))
    return nn.Sequential(*layers, nn.SiLU(), conv(half, 12, 3))


def pad_to_stride(pixels: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of the stride."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % stride, 0, -height % stride), mode="replicate")
