"""The network of `shape-vat`: points of a surface -> a few Gaussian latents -> scales of tokens -> a triplane -> distances anywhere.

After Zhang et al., "3D representation in 512-Byte: Variational Tokenizer is the Key for Autoregressive 3D Generation" (VAT, arXiv
2412.02202): learned latents and the features of points go through one transformer and only the latents are kept (in-context compression);
they are Gaussians (mean, deviation; a KL term), quantized residually over scales of growing token counts; a decoder's learned tokens of
three planes read them, convolutions enlarge the planes, and a small network reads a place off them. The paper publishes no code and no
sizes of latents, table or loss weights; those here are ours. Deviations:

- Truncated signed distance in place of occupancy: marching cubes then places vertices between grid points.
- Means are centred per latent and whitened before deviations are added: without that all shapes had the same tokens after 20 steps. So
  the KL term works on deviations alone; they say how finely a mean is told.
- The default codebook is FSQ: a table learned by averages gave the coarsest tokens of 8 shapes a perplexity of 2 to 3 after 300 steps, FSQ
  7 to 8. One run each, which differed in reach and planes too, so a hint and no ablation.
- Planes read the quantized latents by cross-attention in place of one sequence of both: of such a sequence latents are a small part, and
  the loss was higher (.145 against .116 after 200 steps on five shapes, one run each).
- Token counts and interpolation are along one axis, the line of latents.
- Scale dropout (`quantizer.dropout`): a share of the training shapes is decoded from a prefix of scales.

Without `in_context` the transformer sees points alone, along a Morton curve, and a latent is the mean of a stretch of them; without
`gaussian` it is a point.

Shape letters: B shapes, P points of a surface, N latents, D channels of a latent, S side of a plane, Q places that are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import FSQConfig
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.nets.attention import MixingBlock, ReadingBlock, RootNorm
from smalti.tokenizers.nets.centring import StepCentring
from smalti.tokenizers.nets.convolution import ResidualBlock, Upsample, conv
from smalti.tokenizers.nets.whitening import SteadyWhitening
from smalti.tokenizers.quantizers import MultiScaleConfig
from smalti.tokenizers.quantizers.schedule import down
from smalti.tokenizers.shape.field import REACH

PLANES = ((0, 1), (1, 2), (2, 0))  # axes of each
MORTON_BITS = 10  # per axis
LOG_DEVIATIONS = (-7.0, 2.0)
SCALES = MultiScaleConfig(
    FSQConfig((7, 5, 5, 5, 5)), counts=((1,), (2,), (4,), (8,), (16,), (32,)), axes=1, up="linear", phis=2, dropout=0.5
)


@dataclass(frozen=True)
class ShapeVatConfig:
    """quantizer: over one axis, by counts; the last count is the number of latents. points: of the surface that are read. bands:
    frequencies of places, each twice the one before. reach: where distances are cut off, in half sides of the shape's cube.

    channels, heads, encoder_blocks, decoder_blocks: the transformers. plane_side, plane_widths: of the planes as tokens, and channels of
    the convolutions, each twice as fine as the one before; the last has what is read. field_width, field_layers: of the network that
    reads them. resolution: cells a side that surfaces are drawn from. in_context, gaussian: see the module's docstring.
    """

    kind: ClassVar[str] = "shape-vat"
    quantizer: MultiScaleConfig = SCALES
    points: int = 512
    bands: int = 6
    reach: float = 0.25
    channels: int = 96
    heads: int = 4
    encoder_blocks: int = 3
    decoder_blocks: int = 3
    plane_side: int = 8
    plane_widths: tuple[int, ...] = (64, 32, 16)
    field_width: int = 64
    field_layers: int = 2
    resolution: int = 128
    in_context: bool = True
    gaussian: bool = True

    def __post_init__(self) -> None:
        if self.quantizer.axes != 1 or not self.quantizer.counts:
            raise UsageError("the quantizer of shape-vat is over one axis, by counts: axes = 1, counts = ((1,), (2,), ...)")
        sizes = (self.bands, self.channels, self.heads, self.encoder_blocks, self.decoder_blocks, self.field_width, self.field_layers)
        if min(*sizes, *self.plane_widths, self.plane_side) < 1 or not self.plane_widths or self.bands > 12:
            raise UsageError(f"widths, heads, blocks and layers are positive, and bands at most 12; found {self}")
        if self.channels % (2 * self.heads):
            raise UsageError(f"channels divide into heads of even width, found {self.channels} and {self.heads}")
        if not self.latents <= self.points <= 2**17:
            raise UsageError(f"points lie in {self.latents} (the latents)..{2**17}, found {self.points}")
        if not 0 < self.reach <= 1 or not 8 <= self.resolution <= 512:
            raise UsageError(f"reach lies in 0..1 and resolution in 8..512, found {self.reach} and {self.resolution}")

    @property
    def latents(self) -> int:
        return self.quantizer.counts[-1][0]


class ShapeVatNet(nn.Module):
    """See the module's docstring. Surfaces are float32 (B, P, 6): places in the cube as [-1, 1]^3, and normals, 0 where there are none."""

    def __init__(self, config: ShapeVatConfig) -> None:
        super().__init__()
        self.config = config
        channels, heads, widths = config.channels, config.heads, config.plane_widths
        self.quantizer = quantizers.build(config.quantizer)
        dim = self.quantizer.dim
        self.point = nn.Linear(6 + 6 * config.bands, channels)
        if config.in_context:
            self.latents = nn.Parameter(torch.randn(config.latents, channels))
        self.encoder = nn.Sequential(*(MixingBlock(channels, heads) for _ in range(config.encoder_blocks)))
        self.code_norm, self.code = RootNorm(channels), nn.Linear(channels, dim * (1 + config.gaussian))
        self.centring, self.whitening = StepCentring(dim, config.latents), SteadyWhitening(dim)
        if config.gaussian:
            nn.init.zeros_(self.code.weight[dim:])
            nn.init.constant_(self.code.bias[dim:], -2.0)  # small at first: the decoder has to see something
        self.token, self.token_places = nn.Linear(dim, channels), nn.Parameter(torch.randn(config.latents, channels))
        self.plane_tokens = nn.Parameter(torch.randn(3 * config.plane_side**2, channels))
        self.decoder = nn.ModuleList(ReadingBlock(channels, heads) for _ in range(config.decoder_blocks))
        self.plane_norm = RootNorm(channels)
        finer = [layer for a, b in pairwise(widths) for layer in (Upsample(a, b), ResidualBlock(b))]
        self.enlarge = nn.Sequential(conv(channels, widths[0], 1), ResidualBlock(widths[0]), *finer, conv(widths[-1], widths[-1], 3))
        inner = [layer for _ in range(config.field_layers - 1) for layer in (nn.Linear(config.field_width, config.field_width), nn.SiLU())]
        first = nn.Linear(3 * widths[-1] + 3, config.field_width)
        self.field = nn.Sequential(first, nn.SiLU(), *inner, nn.Linear(config.field_width, 1))

    def encode(self, surfaces: Tensor) -> tuple[Tensor, Tensor | None]:
        """(means, log deviations or None), each (B, D, N)."""
        config = self.config
        surfaces = surfaces if config.in_context else along_curve(surfaces)
        points = self.point(self._features(surfaces))
        if config.in_context:
            both = torch.cat([self.latents.expand(len(points), -1, -1), points], 1)
            kept = self.encoder(both)[:, : config.latents]
        else:
            kept = down(self.encoder(points).transpose(1, 2), (config.latents,)).transpose(1, 2)
        code = self.code(self.code_norm(kept)).transpose(1, 2)
        mean, *deviation = code.split(self.quantizer.dim, 1)
        mean = self.whitening(self.centring(mean.float()))
        return mean, deviation[0].clamp(*LOG_DEVIATIONS) if deviation else None

    def planes(self, z_q: Tensor) -> Tensor:
        """Quantized latents (B, D, N) -> planes (B, 3, channels, S, S)."""
        side = self.config.plane_side
        tokens = self.token(z_q.transpose(1, 2)) + self.token_places
        drawn = self.plane_tokens.expand(len(z_q), -1, -1)
        for block in self.decoder:
            drawn = block(drawn, tokens)
        small = self.plane_norm(drawn).unflatten(1, (3, side, side)).flatten(0, 1).permute(0, 3, 1, 2)
        return self.enlarge(small).unflatten(0, (len(z_q), 3))

    def distances(self, planes: Tensor, places: Tensor) -> Tensor:
        """Of places (B, Q, 3) in the cube: (B, Q), in half sides, not cut off."""
        at = torch.stack([places[..., axes] for axes in PLANES], 1).flatten(0, 1) / REACH
        read = F.grid_sample(planes.flatten(0, 1), at[:, :, None], "bilinear", "border", align_corners=False)[..., 0]
        read = read.unflatten(0, (len(planes), 3)).flatten(1, 2).transpose(1, 2)
        return self.field(torch.cat([read, places], -1))[..., 0] * self.config.reach

    def tokenize(self, surfaces: Tensor) -> tuple[Tensor, ...]:
        """Indices (B, count) per scale, of the means."""
        return self.quantizer(self.encode(surfaces)[0]).indices

    def detokenize(self, indices: Sequence[Tensor]) -> Tensor:
        """Planes from the indices of all scales or the first ones."""
        return self.planes(self.quantizer.dequantize(indices))

    def forward(self, surfaces: Tensor, places: Tensor) -> tuple[Tensor, Quantized]:
        """Distances (B, Q) and what the quantizer says, with a loss `kl` beside its own: the training path. Latents are drawn."""
        mean, deviation = self.encode(surfaces)
        z = mean
        if deviation is not None and self.training:
            z = mean + torch.randn_like(mean) * deviation.exp()
        with torch.autocast(z.device.type, enabled=False):  # nearest entries need float32
            quantized = self.quantizer(z.float())
        if deviation is not None:
            quantized = replace(quantized, losses=quantized.losses | {"kl": divergence(mean, deviation)})
        return self.distances(self.planes(quantized.z_q), places), quantized

    def _features(self, surfaces: Tensor) -> Tensor:
        """Places, normals, and sines and cosines of places: (B, P, 6 + 6 * bands)."""
        frequencies = math.pi * 2.0 ** torch.arange(-1, self.config.bands - 1, device=surfaces.device)
        phases = (surfaces[..., :3, None] * frequencies).flatten(-2)
        return torch.cat([surfaces, phases.sin(), phases.cos()], -1)


def divergence(mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Kullback-Leibler divergence from the standard normal distribution, mean per number, in nats."""
    return 0.5 * (mean.square() + (2 * log_deviation).exp() - 1 - 2 * log_deviation).mean()


def along_curve(surfaces: Tensor) -> Tensor:
    """The points (B, P, 6) of each shape in the order of a Morton curve: neighbours in the list are near each other."""
    levels = 2**MORTON_BITS
    cells = ((surfaces[..., :3] / REACH + 1) / 2 * levels).long().clamp(0, levels - 1)
    key = torch.zeros_like(cells[..., 0])
    for bit in range(MORTON_BITS):
        for axis in range(3):
            key |= (cells[..., axis] >> bit & 1) << (3 * bit + axis)
    order = key.argsort(dim=1, stable=True)
    return surfaces.gather(1, order[..., None].expand_as(surfaces))
