"""The network of `image-line`: a line of latents for each square region of a picture, and a convolutional decoder across regions.

Yu et al., "TiTok" (arXiv 2406.07550) and Miwa et al., "One-D-Piece" (arXiv 2501.10064): learned queries read the patches of a region and
are quantized; learned patches read the quantized queries. Deviations:

- Patches are the features of image-grid's convolutional encoder, and what the line decoder draws is image-grid's latent grid, from which
  its convolutional decoder makes pixels. Both can start from a trained image-grid, and the transformers can learn first to give back
  the latents, which needs no pixels (TiTok trains on another tokenizer's tokens first, since queries from scratch collapse).
- The encoder sees one region at a time: tokens are the region's own. The convolutional decoder runs over the grid of all regions, so joins
  are drawn like any other place.
- Cross-attention in place of one sequence of patches and queries: patches are not worked on by the encoder, nor tokens by the decoder.
  What reads attends to what is read, not to all of one longer sequence, which is less work per block.
- With `linear`, the transformers correct a linear code: principal components of a region's latents, most of the variance first, which
  `fit_linear` finds before training (a Karhunen-Loeve transform). Their outputs start at zero, so the first step is already a codec, whose
  tokens are in order; queries from scratch would have to learn that first.

Shape letters: B pictures, R regions (of all pictures), N steps of a line, D channels of a code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers import quantizers
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.network import HAAR_LEVELS, build_decoder, build_encoder, check_convolutions, stride_of
from smalti.tokenizers.image.trim import Margins, reach, run_trimmed
from smalti.tokenizers.nets.attention import ReadingBlock, RootNorm
from smalti.tokenizers.nets.centring import StepCentring
from smalti.tokenizers.nets.haar import haar, inverse_haar
from smalti.tokenizers.nets.whitening import Whitening
from smalti.tokenizers.quantizers import LineConfig


@dataclass(frozen=True)
class ImageLineConfig:
    """region: side in pixels. The number of tokens per region is that of the quantizer's steps.

    widths, encoder_depths, decoder_depths, head_width: the convolutions, as in `ImageGridConfig`; latent_dim: channels of their latent
    grid (the codebook's `dim` in the image-grid that starts them). channels, heads, encoder_blocks, decoder_blocks: the transformers.
    linear: whether they correct a linear code, which `ImageLineNet.fit_linear` finds, or learn all from scratch. With it, decoder_blocks
    may be 0.
    """

    kind: ClassVar[str] = "image-line"
    quantizer: LineConfig
    region: int = 128
    widths: tuple[int, ...] = (48, 96, 256)
    encoder_depths: tuple[int, ...] = (1, 1, 2)
    decoder_depths: tuple[int, ...] = (2, 2, 5)
    head_width: int = 24
    latent_dim: int = 8
    channels: int = 192
    heads: int = 6
    encoder_blocks: int = 2
    decoder_blocks: int = 3
    linear: bool = True

    def __post_init__(self) -> None:
        check_convolutions(self)
        if self.region < 1 or self.region % self.stride:
            raise UsageError(f"the side of a region is a multiple of the stride {self.stride}, found {self.region}")
        if self.decoder_blocks < 0:
            raise UsageError(f"decoder_blocks is at least 0, found {self.decoder_blocks}")
        if min(self.latent_dim, self.channels, self.heads, self.encoder_blocks, self.decoder_blocks + self.linear) < 1:
            raise UsageError("latent_dim, channels, heads, encoder_blocks and, without a linear code, decoder_blocks are at least 1")
        if self.channels % self.heads:
            raise UsageError(f"channels must divide into heads, found {self.channels} and {self.heads}")

    @property
    def stride(self) -> int:
        """Pixels per position of the latent grid, per axis."""
        return stride_of(self)

    @property
    def side(self) -> int:
        """Positions of a region's latent grid, per axis."""
        return self.region // self.stride


class ImageLineNet(nn.Module):
    """See the module's docstring. Pictures are float32 (B, 3, H, W) in [-1, 1], H and W multiples of the region's side."""

    def __init__(self, config: ImageLineConfig) -> None:
        super().__init__()
        self.config = config
        channels, steps = config.channels, config.quantizer.steps
        self.quantizer = quantizers.build(config.quantizer)
        self.encoder = build_encoder(config, config.latent_dim)
        self.norm = Whitening(config.latent_dim)
        self.patch_norm, self.patch = RootNorm(config.widths[-1]), nn.Linear(config.widths[-1], channels)
        self.patch_places = nn.Parameter(torch.randn(config.side**2, channels))
        self.queries = nn.Parameter(torch.randn(steps, channels))
        self.readers = nn.ModuleList(ReadingBlock(channels, config.heads) for _ in range(config.encoder_blocks))
        self.code_norm, self.code = RootNorm(channels), nn.Linear(channels, self.quantizer.dim)
        self.centring, self.whitening = StepCentring(self.quantizer.dim, steps), Whitening(self.quantizer.dim)
        if config.decoder_blocks:
            self.token = nn.Linear(self.quantizer.dim, channels)
            self.token_places = nn.Parameter(torch.randn(steps, channels))
            self.patch_queries = nn.Parameter(torch.randn(config.side**2, channels))
            self.writers = nn.ModuleList(ReadingBlock(channels, config.heads) for _ in range(config.decoder_blocks))
            self.latent_norm, self.latent = RootNorm(channels), nn.Linear(channels, config.latent_dim)
        self.decoder = build_decoder(config, config.latent_dim)
        if config.linear:
            coordinates, code = config.latent_dim * config.side**2, self.quantizer.dim * steps
            self.analysis, self.synthesis = nn.Linear(coordinates, code), nn.Linear(code, coordinates)
            for last in (self.code, *([self.latent] if config.decoder_blocks else [])):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)

    def encode(self, regions: Tensor) -> Tensor:
        """(R, 3, region, region) -> lines (R, D, N), white over the training set."""
        features = self.encoder[:-1](haar(regions, HAAR_LEVELS))
        patches = self.patch(self.patch_norm(features.flatten(2).transpose(1, 2))) + self.patch_places
        line = self.queries.expand(len(regions), -1, -1)
        for reader in self.readers:
            line = reader(line, patches)
        z_RDN = self.code(self.code_norm(line)).transpose(1, 2)
        if self.config.linear:
            latents = self.norm(self.encoder[-1](features)).flatten(1)
            z_RDN = z_RDN + self.analysis(latents).unflatten(1, (-1, self.quantizer.dim)).transpose(1, 2)
        return self.whitening(self.centring(z_RDN.float()))

    def draw(self, z_q: Tensor) -> Tensor:
        """Quantized lines (R, D, N) -> latent grids (R, latent_dim, side, side)."""
        side, config = self.config.side, self.config
        latents = self.synthesis(z_q.transpose(1, 2).flatten(1)) if config.linear else z_q.new_zeros(())
        if config.decoder_blocks:
            latents = latents + self._written(z_q)
        return latents.reshape(len(z_q), -1, side, side)

    def _written(self, z_q: Tensor) -> Tensor:
        """What learned patches read from the tokens: (R, latent_dim * side * side)."""
        tokens = self.token(z_q.transpose(1, 2)) + self.token_places
        patches = self.patch_queries.expand(len(z_q), -1, -1)
        for writer in self.writers:
            patches = writer(patches, tokens)
        return self.latent(self.latent_norm(patches)).transpose(1, 2).flatten(1)

    @torch.no_grad()
    def fit_linear(self, latents: Tensor) -> None:
        """Principal components of latent grids (R, latent_dim, side, side), to unit variance, as the linear code.

        A step takes the next D components. Steps that are left take random rotations of the first components, a second look at them,
        of which the synthesis makes nothing until it is trained.
        """
        rows = latents.flatten(1).double()
        mean = rows.mean(0)
        values, vectors = torch.linalg.eigh(torch.cov((rows - mean).t()))
        scales, axes = values.flip(0).clamp_min(1e-6).sqrt(), vectors.flip(1)
        analysis, synthesis = (axes / scales).t(), axes * scales
        held = self.analysis.out_features
        if left := max(0, held - len(scales)):
            rotation = torch.linalg.qr(torch.randn(left, min(left, len(scales)), dtype=rows.dtype))[0]
            analysis = torch.cat([analysis, rotation @ analysis[: rotation.shape[1]]])
            synthesis = torch.cat([synthesis, synthesis.new_zeros(len(scales), left)], 1)
        self.analysis.weight.copy_(analysis[:held])
        self.analysis.bias.copy_(-(analysis[:held] @ mean))
        self.synthesis.weight.copy_(synthesis[:, :held])
        self.synthesis.bias.copy_(mean)

    def decode(self, latents: Tensor, margins: Margins | None = None) -> Tensor:
        """Latent grids (B, latent_dim, h, w) of whole pictures -> (B, 3, H, W). Of a tile, the pixels within its margins."""
        return inverse_haar(self.decoder(latents) if margins is None else run_trimmed(self.decoder, latents, self.config.stride, margins))

    def grid_latents(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> image-grid's latents (B, latent_dim, H / stride, W / stride) of the whole picture: what `draw` learns to give."""
        return self.norm(self.encoder(haar(pixels, HAAR_LEVELS)))

    def tokenize(self, regions: Tensor) -> tuple[Tensor, ...]:
        """Indices (R, steps of the band) per band."""
        return self.quantizer(self.encode(regions)).indices

    def detokenize(self, indices: Sequence[Tensor]) -> Tensor:
        """Latent grids (R, latent_dim, side, side) from indices of all bands or the first ones."""
        return self.draw(self.quantizer.dequantize(indices))

    def forward(self, pixels: Tensor, pictures: bool = True, compare: bool = False) -> tuple[Tensor | None, Quantized]:
        """Reconstruction (None unless `pictures`) and what the quantizer says: the training path.

        compare: the losses hold `latent`, the mean square error of the drawn latents, which have variance 1, against the frozen encoder's.
        """
        grid = (pixels.shape[-2] // self.config.region, pixels.shape[-1] // self.config.region)
        z = self.encode(cut(pixels, self.config.region))
        with torch.autocast(z.device.type, enabled=False):  # nearest entries need float32
            quantized = self.quantizer(z.float())
        latents = join(self.draw(quantized.z_q), grid)
        if compare:
            loss = F.mse_loss(latents.float(), self.grid_latents(pixels).detach())
            quantized = replace(quantized, losses=quantized.losses | {"latent": loss})
        return self.decode(latents) if pictures else None, quantized

    def freeze_front(self) -> None:
        """Stop learning in the convolutional encoder and its statistics: what latents are compared with stays what it is."""
        for part in (self.encoder, self.norm):
            part.requires_grad_(False)
            part.eval()

    def fitted(self) -> list[nn.Parameter]:
        """Parameters that `fit_linear` sets, which training should only correct."""
        return [*self.analysis.parameters(), *self.synthesis.parameters()] if self.config.linear else []

    def freeze_tokens(self) -> None:
        """Stop learning before the line decoder: tokens stay what they are while the decoders improve."""
        self.freeze_front()
        for part in (
            self.patch_norm,
            self.patch,
            self.readers,
            self.code_norm,
            self.code,
            self.centring,
            self.whitening,
            self.quantizer,
            *([self.analysis] if self.config.linear else []),
        ):
            part.requires_grad_(False)
            part.eval()
        self.patch_places.requires_grad_(False)
        self.queries.requires_grad_(False)

    def convolutions(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of an image-grid's tensors by name that this network has too: encoder, statistics and decoder."""
        return {key: value for key, value in tensors.items() if key.startswith(("encoder.", "norm.", "decoder."))}

    @property
    def decoder_margin(self) -> int:
        """Positions of the latent grid that a tile of the decoder must see beyond its edges to equal the whole."""
        return -(-reach(self.decoder, self.config.stride) // self.config.stride)


def cut(pixels: Tensor, side: int) -> Tensor:
    """Pictures (B, C, H, W) -> their squares (B * rows * columns, C, side, side), row by row."""
    batch, channels, height, width = pixels.shape
    squares = pixels.reshape(batch, channels, height // side, side, width // side, side)
    return squares.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, side, side)


def join(squares: Tensor, grid: tuple[int, int]) -> Tensor:
    """The inverse of `cut` for pictures of grid = (rows, columns) squares."""
    _, channels, side, _ = squares.shape
    apart = squares.reshape(-1, *grid, channels, side, side)
    return apart.permute(0, 3, 1, 4, 2, 5).reshape(-1, channels, grid[0] * side, grid[1] * side)
