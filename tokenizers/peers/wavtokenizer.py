"""WavTokenizer (Ji et al., arXiv:2408.16532): sound as 40 or 75 tokens a second of one codebook, in our words.

A SEANet encoder as EnCodec's (arXiv:2210.13438), not causal, with a recurrent layer; the nearest entry; and Vocos (arXiv:2306.00814) with
attention in front, which says a spectrum. Everything looks at the whole sound. Convolutions keep a length and a direction of their
weights apart, as they are published. Sizes are those of the tensors; the rate, which they do not say, is that of all published ones.
Written from the papers and the lists of published tensors; no code is taken over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.configs import from_dict
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.peers.naming import Table, filled_by, publisher, shape_of
from smalti.tokenizers.peers.vqgan import GROUPS, nearest

RATE = 24000
PARTS = ("feature_extractor.", "backbone.", "head.")  # of a checkpoint; the rest is training's
_FRONT, _BOOK = "feature_extractor.encodec.encoder.model.", "feature_extractor.encodec.quantizer.vq.layers.0._codebook."
LEFT_OUT = ("feature_extractor.encodec.decoder.", f"{_BOOK}inited", f"{_BOOK}cluster_size", f"{_BOOK}embed_avg", "head.istft.window")
LOUDEST = 100.0  # of a spectrum's magnitudes


@dataclass(frozen=True)
class WavTokenizerConfig:
    """channels: of the first convolution, doubled at each of `strides`. code: channels of an entry. width, wide: of the decoder and of the
    inner layers of its `blocks`; lstm: recurrent layers; bands: rows of its norms' tables. window: samples of a frame's spectrum."""

    channels: int
    strides: tuple[int, ...]
    lstm: int
    code: int
    codebook_size: int
    width: int
    wide: int
    blocks: int
    bands: int
    window: int
    rate: int = RATE

    def __post_init__(self) -> None:
        if not 1 <= len(self.strides) <= 8 or min(self.strides) < 1 or math.prod(self.strides) > 2**14:
            raise UsageError(f"1 to 8 strides, 16384 samples a token at most, found {self.strides}")
        if not (1 <= self.lstm <= 16 and 1 <= self.blocks <= 128):
            raise UsageError(f"1 to 16 recurrent layers and 1 to 128 blocks, found {self.lstm} and {self.blocks}")
        if self.width % GROUPS or self.window < self.hop or (self.window - self.hop) % 2:
            raise UsageError(
                f"a width in groups of {GROUPS} and a window that lies evenly about a hop, found {self.width} and {self.window}"
            )

    @property
    def hop(self) -> int:
        return math.prod(self.strides)


def wavtokenizer_config(settings: Mapping[str, Any]) -> WavTokenizerConfig:
    """ModelError where the settings are none."""
    try:
        return from_dict(WavTokenizerConfig, dict(settings), "settings")
    except UsageError as error:
        raise ModelError(str(error)) from None


class Conv(nn.Module):
    """A convolution whose weights are a direction times a length, over a sound that is mirrored at its ends."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.kernel = stride, kernel
        self.length = nn.Parameter(torch.ones(out, 1, 1))
        self.direction = nn.Parameter(torch.randn(out, channels, kernel) / math.sqrt(channels * kernel))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        around = self.kernel - self.stride
        weight = self.direction * (self.length / self.direction.flatten(1).norm(dim=1)[:, None, None])
        return F.conv1d(mirrored(x, around - around // 2, around // 2), weight, self.bias, self.stride)


def mirrored(x: Tensor, before: int, behind: int) -> Tensor:
    """Reflected at both ends; one that is shorter than that is first filled up with silence, which is cut off again."""
    missing = max(0, max(before, behind) + 1 - x.shape[-1])
    filled = F.pad(F.pad(x, (0, missing)), (before, behind), mode="reflect")
    return filled[..., : filled.shape[-1] - missing]


class Stage(nn.Module):
    """A residual block and the step to the next, coarser grid."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.narrow, self.back = Conv(channels, channels // 2, 3), Conv(channels // 2, channels, 1)
        self.shortcut = Conv(channels, channels, 1)
        self.down = Conv(channels, 2 * channels, 2 * stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shortcut(x) + self.back(F.elu(self.narrow(F.elu(x))))
        return self.down(F.elu(x))


class Encoder(nn.Module):
    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        widths = [config.channels * 2**i for i in range(len(config.strides) + 1)]
        self.first = Conv(1, widths[0], 7)
        self.stages = nn.Sequential(*(Stage(width, stride) for width, stride in zip(widths, config.strides, strict=False)))
        self.lstm = nn.LSTM(widths[-1], widths[-1], config.lstm)
        self.last = Conv(widths[-1], config.code, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.first(x))
        x = x + self.lstm(x.permute(2, 0, 1))[0].permute(1, 2, 0)
        return self.last(F.elu(x))


class Residual(nn.Module):
    """Two convolutions behind group norms, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, width, 1e-6), nn.Conv1d(width, width, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, width, 1e-6), nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class Attention(nn.Module):
    """One head over all frames, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, 1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv1d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (layer(normed).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return x + self.proj_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2))


class TableNorm(nn.Module):
    """A norm over channels whose gain and offset are rows of tables; every published model is asked for its first row."""

    def __init__(self, width: int, rows: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(rows, width)), nn.Parameter(torch.zeros(rows, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * self.scale[0] + self.shift[0]


class Wide(nn.Module):
    """ConvNeXt: a convolution for each channel, a norm, a wide layer, added to what came in. (B, T, C)"""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        width = config.width
        self.each, self.norm = nn.Conv1d(width, width, 7, padding=3, groups=width), TableNorm(width, config.bands)
        self.widen, self.narrow = nn.Linear(width, config.wide), nn.Linear(config.wide, width)
        self.gamma = nn.Parameter(torch.full((width,), 1 / config.blocks))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm(self.each(x.transpose(1, 2)).transpose(1, 2))
        return x + self.gamma * self.narrow(F.gelu(self.widen(inner)))


class Decoder(nn.Module):
    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        width = config.width
        self.hop, self.window = config.hop, config.window
        self.first = nn.Conv1d(config.code, width, 7, padding=3)
        self.front = nn.Sequential(
            Residual(width), Residual(width), Attention(width), Residual(width), Residual(width), nn.GroupNorm(GROUPS, width, 1e-6)
        )
        self.norm = TableNorm(width, config.bands)
        self.blocks = nn.Sequential(*(Wide(config) for _ in range(config.blocks)))
        self.last_norm, self.say = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, config.window + 2)

    def forward(self, entries: Tensor) -> Tensor:
        """(B, T * hop) of entries (B, code, T)."""
        x = self.norm(self.front(self.first(entries)).transpose(1, 2))
        magnitude, phase = self.say(self.last_norm(self.blocks(x))).transpose(1, 2).chunk(2, 1)
        spectrum = torch.polar(magnitude.exp().clamp(max=LOUDEST), phase)
        return overlapped(torch.fft.irfft(spectrum, self.window, dim=1), self.hop)


def overlapped(frames: Tensor, hop: int) -> Tensor:
    """Frames (B, window, T) under a Hann window, added up and divided by the windows' sum of squares: (B, T * hop)."""
    _, size, count = frames.shape
    window = torch.hann_window(size, device=frames.device)
    length, edge = (count - 1) * hop + size, (size - hop) // 2

    def summed(parts: Tensor) -> Tensor:
        return F.fold(parts, (1, length), (1, size), stride=(1, hop))[:, 0, 0, edge : length - edge]

    return summed(frames * window[:, None]) / summed(window.square()[None, :, None].expand(1, -1, count))


class WavTokenizerNet(nn.Module):
    """Encoder, table of entries (K, D), decoder."""

    def __init__(self, config: WavTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.register_buffer("entries", torch.randn(config.codebook_size, config.code))


class WavTokenizer:
    """`sound_families.SoundNet` of a filled network."""

    def __init__(self, network: WavTokenizerNet, published: Callable[[str], str]) -> None:
        self.network: Any = network
        self.published = published

    def tokenize(self, waves: Tensor) -> list[Tensor]:
        rows = self.network.encoder(waves).transpose(1, 2)
        return [nearest(rows.reshape(-1, rows.shape[-1]), self.network.entries).reshape(rows.shape[:2])]

    def detokenize(self, stages: Sequence[Tensor]) -> Tensor:
        return self.network.decoder(self.network.entries[stages[0]].transpose(1, 2))


def names_of(config: WavTokenizerConfig) -> Callable[[str], str]:
    """How checkpoints call our tensors: layers of the encoder by their number in a row that counts activations too."""
    count = len(config.strides)
    convolutions = [("encoder.first.", f"{_FRONT}0."), ("encoder.last.", f"{_FRONT}{3 * count + 3}.")]
    for i in range(count):
        layers = (("narrow", "block.1"), ("back", "block.3"), ("shortcut", "shortcut"))
        convolutions += [(f"encoder.stages.{i}.{ours}.", f"{_FRONT}{3 * i + 1}.{theirs}.") for ours, theirs in layers]
        convolutions.append((f"encoder.stages.{i}.down.", f"{_FRONT}{3 * i + 3}."))
    own = (("length", "weight_g"), ("direction", "weight_v"), ("bias", "bias"))
    table: Table = (
        *((f"{ours}{a}", f"{theirs}conv.conv.{b}") for ours, theirs in convolutions for a, b in own),
        ("encoder.lstm.", f"{_FRONT}{3 * count + 1}.lstm."),
        ("entries", f"{_BOOK}embed"),
        ("decoder.first.", "backbone.embed."),
        ("decoder.front.{n}.", "backbone.pos_net.{n}."),
        ("decoder.norm.scale", "backbone.norm.scale.weight"),
        ("decoder.norm.shift", "backbone.norm.shift.weight"),
        ("decoder.blocks.{n}.each.", "backbone.convnext.{n}.dwconv."),
        ("decoder.blocks.{n}.norm.scale", "backbone.convnext.{n}.norm.scale.weight"),
        ("decoder.blocks.{n}.norm.shift", "backbone.convnext.{n}.norm.shift.weight"),
        ("decoder.blocks.{n}.widen.", "backbone.convnext.{n}.pwconv1."),
        ("decoder.blocks.{n}.narrow.", "backbone.convnext.{n}.pwconv2."),
        ("decoder.blocks.{n}.gamma", "backbone.convnext.{n}.gamma"),
        ("decoder.last_norm.", "backbone.final_layer_norm."),
        ("decoder.say.", "head.out."),
    )
    return publisher(table, 0)


def build(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> WavTokenizer:
    """ModelError where settings and tensors do not belong together."""
    config = wavtokenizer_config(settings)
    own = {key: tensor for key, tensor in tensors.items() if key.startswith(PARTS)}
    return WavTokenizer(filled_by(lambda: WavTokenizerNet(config), own, names_of(config), name, LEFT_OUT), names_of(config))


def settings_of(shapes: Mapping[str, tuple[int, ...]], name: str) -> dict[str, Any] | None:
    """Settings that a checkpoint's names and shapes say; None where it is no such network. ModelError for one that lacks what they are read
    from."""
    if not any(key.startswith(_FRONT) for key in shapes):
        return None

    def shape(key: str, axes: int) -> tuple[int, ...]:
        return shape_of(shapes, key, axes, name, "this is no whole checkpoint of WavTokenizer")

    layers = {key.removeprefix(_FRONT).partition(".")[0] for key in shapes if key.startswith(_FRONT)}
    count = (len(layers) - 3) // 2  # the first, the last and the recurrent one, and two for each step
    kernels = [shape(f"{_FRONT}{3 * i + 3}.conv.conv.weight_v", 3)[2] for i in range(count)]
    recurrent = [key for key in shapes if key.startswith(f"{_FRONT}{3 * count + 1}.lstm.weight_ih_l")]
    blocks = {key.split(".")[2] for key in shapes if key.startswith("backbone.convnext.")}
    return {
        "channels": shape(f"{_FRONT}0.conv.conv.weight_v", 3)[0], "strides": [kernel // 2 for kernel in kernels], "lstm": len(recurrent),
        "code": shape(f"{_BOOK}embed", 2)[1], "codebook_size": shape(f"{_BOOK}embed", 2)[0], "width": shape("backbone.embed.weight", 3)[0],
        "wide": shape("backbone.convnext.0.pwconv1.weight", 2)[0], "blocks": len(blocks),
        "bands": shape("backbone.norm.scale.weight", 2)[0], "window": shape("head.out.weight", 2)[0] - 2, "rate": RATE,
    }  # fmt: skip
