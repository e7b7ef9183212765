"""The network of `video-causal`: the picture tokenizer of every fourth picture, and a light module for what moves between.

Causal in time: the first picture stands alone, then groups of `group` pictures, whose last is the key. A key's latent comes from it alone
(the encoder of `image.network`, with its Haar front end), and so is that of a still image; its picture is drawn by that decoder with causal
taps in time between its blocks. The pictures between are the two keys around them, moved along the group's motion entries and blended.
"Temporal-aware spatial compression first, then a lightweight motion model" (Xing et al., "Large Motion Video Autoencoding with Cross-modal
Video VAE", arXiv 2412.17805). Deviations: motion is a fixed table and explicit warps rather than features of a second autoencoder, which a
day of one CPU core would not have trained; keys are coded as they are, and what they have in common with the key before is left to the
prior, which sees it; so any group decodes after the few before it that the taps reach.

Shape letters: B films, T keys, N groups, S pictures between two keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.network import HAAR_LEVELS, build_decoder, build_encoder, check_convolutions, stride_of
from smalti.tokenizers.nets.causal import Memory
from smalti.tokenizers.nets.convolution import WideBlock
from smalti.tokenizers.nets.haar import haar, inverse_haar
from smalti.tokenizers.nets.whitening import Whitening
from smalti.tokenizers.quantizers.residual import ResidualConfig
from smalti.tokenizers.video import motion
from smalti.tokenizers.video.keyed import Keyed
from smalti.tokenizers.video.motion import MotionConfig
from smalti.tokenizers.video.temporal import Blend, TemporalBlock

MOTION = MotionConfig()


@dataclass(frozen=True)
class VideoCausalConfig:
    """quantizer: of key latents. widths, depths, head_width: as in `ImageGridConfig`; two widths give stride 8, three 16.

    group: pictures per latent picture after the first. temporal_blocks: behind the first so many blocks of the decoder's coarsest grid.
    temporal_width: channels within them. blend_width: channels of the blend. slack: how much farther than the nearest an entry may be to
    be kept from key to key, see `keyed.py`.
    """

    kind: ClassVar[str] = "video-causal"
    quantizer: ResidualConfig
    motion: MotionConfig = MOTION
    group: int = 4
    widths: tuple[int, ...] = (48, 96, 256)
    encoder_depths: tuple[int, ...] = (1, 1, 2)
    decoder_depths: tuple[int, ...] = (2, 2, 5)
    head_width: int = 24
    temporal_blocks: int = 2
    temporal_width: int = 64
    blend_width: int = 24
    slack: float = 0.8

    def __post_init__(self) -> None:
        check_convolutions(self)
        if not 2 <= self.group <= 16:
            raise UsageError(f"a group has 2..16 pictures, found {self.group}")
        if not 0 <= self.temporal_blocks <= self.decoder_depths[-1]:
            raise UsageError(
                f"temporal blocks stand behind blocks of the coarsest grid: 0..{self.decoder_depths[-1]}, found {self.temporal_blocks}"
            )
        if min(self.temporal_width, self.blend_width) < 1 or self.slack < 0:
            raise UsageError("temporal_width and blend_width must be positive and slack not negative")

    @property
    def stride(self) -> int:
        """Pixels per token and axis of the picture."""
        return stride_of(self)

    def latent_frames(self, frames: int) -> int:
        """Keys of a film of so many pictures: the first, and one per group begun."""
        return 0 if frames == 0 else 1 - (1 - frames) // self.group


class VideoCausalNet(nn.Module):
    """See the module's docstring. Films are float32 (B, 3, 1 + k * group, H, W) in [-1, 1], H and W multiples of the stride."""

    def __init__(self, config: VideoCausalConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = Keyed(config.quantizer, config.motion)
        self.encoder = build_encoder(config, self.quantizer.dim)
        self.norm = Whitening(self.quantizer.dim)
        self.decoder = build_decoder(config, self.quantizer.dim)
        coarsest, hidden = config.widths[-1], config.temporal_width
        self.temporal = nn.ModuleList(TemporalBlock(coarsest, hidden) for _ in range(config.temporal_blocks))
        self.blend = Blend(config.blend_width)

    def encode(self, keys: Tensor) -> Tensor:
        """Key pictures (N, 3, H, W) -> latents (N, D, H / stride, W / stride), each of its picture alone."""
        return self.norm(self.encoder(haar(keys, HAAR_LEVELS)))

    def decode_keys(self, z_q: Tensor, memory: Memory | None = None) -> Tensor:
        """Quantized latents (B, D, T, h, w) -> key pictures (B, T, 3, H, W)."""
        batch = len(z_q)
        x = z_q.transpose(1, 2).flatten(0, 1)
        waiting = list(self.temporal)
        for layer in self.decoder:
            x = layer(x)
            if waiting and isinstance(layer, WideBlock):
                x = waiting.pop(0)(x, batch, memory)
        return inverse_haar(x).unflatten(0, (batch, -1))

    def search(self, before: Tensor, between: Tensor, behind: Tensor) -> Tensor:
        """Motion entries (N, h, w) of groups: keys (N, 3, H, W) and what lies between them (N, S, 3, H, W)."""
        return motion.search(self.config.motion, before, between, behind, self.config.stride).indices

    def draw(self, before: Tensor, behind: Tensor, entries: Tensor) -> Tensor:
        """Pictures between (N, S, 3, H, W) of decoded keys (N, 3, H, W) and motion entries (N, h, w)."""
        count = self.config.group - 1
        moved = motion.warp(self.config.motion, before, behind, entries, count)
        return self.blend(moved, motion.times(count, before.device).to(before.dtype))

    def forward(self, films: Tensor) -> tuple[Tensor, Quantized]:
        """Reconstruction (B, 3, T, H, W) and what the quantizer says: the training path. Films of one picture are stills."""
        group, batch = self.config.group, len(films)
        pictures = films.transpose(1, 2)  # (B, 1 + k * group, 3, H, W)
        keys = pictures[:, ::group]
        z = self.encode(keys.flatten(0, 1)).unflatten(0, (batch, -1)).transpose(1, 2)
        with torch.autocast(z.device.type, enabled=False):  # nearest entries need float32
            quantized = self.quantizer(z.float())
        z_q = quantized.z_q if self.quantizer.training else self._some_levels(quantized)
        drawn = self.decode_keys(z_q)
        if drawn.shape[1] == 1:
            return drawn.transpose(1, 2), quantized
        before, behind = drawn[:, :-1].flatten(0, 1), drawn[:, 1:].flatten(0, 1)
        between = pictures[:, 1:].unflatten(1, (-1, group))[:, :, :-1].flatten(0, 1)
        entries = self.search(keys[:, :-1].flatten(0, 1), between, keys[:, 1:].flatten(0, 1))
        middle = self.draw(before, behind, entries).unflatten(0, (batch, -1))
        groups = torch.cat([middle, drawn[:, 1:, None]], 2).flatten(1, 2)
        return torch.cat([drawn[:, :1], groups], 1).transpose(1, 2), quantized

    def _some_levels(self, quantized: Quantized) -> Tensor:
        """Where tokens are frozen: all levels half of the time, else fewer, for the whole batch, so that prefixes stay decodable."""
        levels = len(quantized.indices)
        count = levels if not self.training or torch.rand(()) < 0.5 else int(torch.randint(1, levels + 1, ()))
        return self.quantizer.key.dequantize(quantized.indices[:count])

    def freeze_tokens(self) -> None:
        """Stop learning before the decoder: tokens stay what they are while the decoder improves."""
        for part in (self.encoder, self.norm, self.quantizer):
            part.requires_grad_(False)
            part.eval()

    def freeze_front(self) -> None:
        """Keep the picture tokenizer as it is, tokens and decoder: only what looks across time learns."""
        self.freeze_tokens()
        self.decoder.requires_grad_(False)

    def from_image(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of an `image-grid` of equal widths as this network names them; what looks across time as it is here."""
        own = self.state_dict()
        for key, value in tensors.items():
            part, _, rest = key.partition(".")
            if part == "quantizer":  # a single codebook is the first level
                rest = "key." + (rest.replace("codebook.", "codebooks.0.", 1) if rest.startswith("codebook.") else rest)
            own[f"{part}.{rest}"] = value
        return own

    @property
    def reach(self) -> int:
        """Groups before a group that its pictures depend on."""
        return 1 + sum(block.context for block in self.temporal if isinstance(block, TemporalBlock))

    def dequantize(self, levels: Sequence[Tensor]) -> Tensor:
        """Latents (B, D, T, h, w) of entries (B, T, h, w) of some first levels."""
        return self.quantizer.key.dequantize(levels)
