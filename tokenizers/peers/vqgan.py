"""The convolutional network of VQGAN (Esser et al., arXiv:2012.09841) as taming-transformers, LlamaGen and IBQ publish it, in our words.

Residual blocks of two convolutions behind group norms, halved or doubled between levels, attention over all positions at some of them and
in the middle. What differs between them is names and, in LlamaGen, a codebook on the unit sphere (arXiv:2406.06525), in IBQ which entry
is taken (arXiv:2412.02692); sizes are those of the tensors. Written from the papers and the lists of published tensors; no code is
taken over.
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

GROUPS = 32
TAMING: Table = (
    ("encoder.levels.{n}.blocks.{m}.shortcut.", "encoder.down.{n}.block.{m}.nin_shortcut."),
    ("encoder.levels.{n}.blocks.{m}.", "encoder.down.{n}.block.{m}."),
    ("encoder.levels.{n}.attentions.{m}.", "encoder.down.{n}.attn.{m}."),
    ("encoder.levels.{n}.change.", "encoder.down.{n}.downsample.conv."),
    ("decoder.levels.{n}.blocks.{m}.shortcut.", "decoder.up.{r}.block.{m}.nin_shortcut."),
    ("decoder.levels.{n}.blocks.{m}.", "decoder.up.{r}.block.{m}."),
    ("decoder.levels.{n}.attentions.{m}.", "decoder.up.{r}.attn.{m}."),
    ("decoder.levels.{n}.change.", "decoder.up.{r}.upsample.conv."),
    ("encoder.middle.0.", "encoder.mid.block_1."),
    ("encoder.middle.1.", "encoder.mid.attn_1."),
    ("encoder.middle.2.", "encoder.mid.block_2."),
    ("decoder.middle.0.", "decoder.mid.block_1."),
    ("decoder.middle.1.", "decoder.mid.attn_1."),
    ("decoder.middle.2.", "decoder.mid.block_2."),
    ("encoder.norm.", "encoder.norm_out."),
    ("decoder.norm.", "decoder.norm_out."),
    ("encoder.first.", "encoder.conv_in."),
    ("decoder.first.", "decoder.conv_in."),
    ("encoder.last.", "encoder.conv_out."),
    ("decoder.last.", "decoder.conv_out."),
    ("to_code.", "quant_conv."),
    ("from_code.", "post_quant_conv."),
    ("entries", "quantize.embedding.weight"),
)
LLAMAGEN: Table = (
    ("encoder.levels.{n}.blocks.{m}.shortcut.", "encoder.conv_blocks.{n}.res.{m}.nin_shortcut."),
    ("encoder.levels.{n}.blocks.{m}.", "encoder.conv_blocks.{n}.res.{m}."),
    ("encoder.levels.{n}.attentions.{m}.", "encoder.conv_blocks.{n}.attn.{m}."),
    ("encoder.levels.{n}.change.", "encoder.conv_blocks.{n}.downsample.conv."),
    ("decoder.levels.{n}.blocks.{m}.shortcut.", "decoder.conv_blocks.{n}.res.{m}.nin_shortcut."),
    ("decoder.levels.{n}.blocks.{m}.", "decoder.conv_blocks.{n}.res.{m}."),
    ("decoder.levels.{n}.attentions.{m}.", "decoder.conv_blocks.{n}.attn.{m}."),
    ("decoder.levels.{n}.change.", "decoder.conv_blocks.{n}.upsample.conv."),
    ("encoder.middle.{n}.", "encoder.mid.{n}."),
    ("decoder.middle.{n}.", "decoder.mid.{n}."),
    *(row for row in TAMING if not row[0].startswith(("encoder.levels", "decoder.levels", "encoder.middle", "decoder.middle"))),
)
TABLES = {"taming": TAMING, "llamagen": LLAMAGEN, "ibq": TAMING}
IBQ_BLOCKS = 4  # a level, of all published IBQ; all of taming-transformers have 2, and there is nothing else to tell them by
# of training alone: losses with their networks, averages, counts of entries' use
LEFT_OUT = ("loss.", "model_ema.", "quantize.codebook_used", "colorize")


@dataclass(frozen=True)
class VqganConfig:
    """names: whose. channels: of the finest level; multipliers: of each, fine to coarse. blocks: residual ones a level of the encoder, of
    the decoder one more. encoder_attention, decoder_attention: levels with attention, counted from the finest. latent: channels of the
    coarsest grid, code: of an entry. unit: entries and latents are brought to length 1."""

    names: str
    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    encoder_attention: tuple[int, ...]
    decoder_attention: tuple[int, ...]
    latent: int
    code: int
    codebook_size: int
    unit: bool = False

    def __post_init__(self) -> None:
        if self.names not in TABLES:
            raise UsageError(f"names are those of {' or '.join(TABLES)}, found {self.names!r}")
        if not 1 <= len(self.multipliers) <= 7 or min(self.multipliers) < 1 or not 1 <= self.blocks <= 64:
            raise UsageError(f"1 to 7 levels of 1 to 64 blocks, found multipliers {self.multipliers} and {self.blocks} blocks")
        if any(self.channels * m % GROUPS for m in self.multipliers):
            raise UsageError(f"channels come in groups of {GROUPS}, found {self.channels} times {self.multipliers}")

    @property
    def stride(self) -> int:
        return 2 ** (len(self.multipliers) - 1)


def vqgan_config(settings: Mapping[str, Any]) -> VqganConfig:
    """ModelError where the settings are none."""
    try:
        return from_dict(VqganConfig, dict(settings), "settings")
    except UsageError as error:
        raise ModelError(str(error)) from None


class Residual(nn.Module):
    """Two convolutions behind norms, added to what came in."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, channels, 1e-6), nn.Conv2d(channels, out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, out, 1e-6), nn.Conv2d(out, out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return (x if self.shortcut is None else self.shortcut(x)) + inner


class Attention(nn.Module):
    """One head over all positions, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels, 1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return x + self.proj_out(seen.reshape(x.shape))


class Level(nn.Module):
    """Blocks, each with attention behind it where there is any; then the change of grid."""

    def __init__(self, channels: int, out: int, blocks: int, attends: bool, change: str) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Residual(channels if i == 0 else out, out) for i in range(blocks))
        self.attentions = nn.ModuleList(Attention(out) for _ in range(blocks if attends else 0))
        self.coarser = change == "coarser"
        self.change = None if not change else nn.Conv2d(out, out, 3, stride=2 if self.coarser else 1, padding=0 if self.coarser else 1)

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x)
            if len(self.attentions):
                x = self.attentions[i](x)
        if self.change is None:
            return x
        # halved grids are filled up at the far edges alone
        return self.change(F.pad(x, (0, 1, 0, 1)) if self.coarser else F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Encoder(nn.Module):
    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        widths = [config.channels, *(config.channels * m for m in config.multipliers)]
        last = len(config.multipliers) - 1
        self.first = nn.Conv2d(3, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            Level(widths[i], widths[i + 1], config.blocks, i in config.encoder_attention, "coarser" if i < last else "")
            for i in range(last + 1)
        )
        self.middle = _middle(widths[-1])
        self.norm = nn.GroupNorm(GROUPS, widths[-1], 1e-6)
        self.last = nn.Conv2d(widths[-1], config.latent, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for level in self.levels:
            x = level(x)
        return self.last(F.silu(self.norm(self.middle(x))))


class Decoder(nn.Module):
    """Its levels lie in the order in which they run, coarse to fine."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        last = len(config.multipliers) - 1
        order = range(last, -1, -1)
        widths = [config.channels * config.multipliers[last], *(config.channels * config.multipliers[i] for i in order)]
        self.first = nn.Conv2d(config.latent, widths[0], 3, padding=1)
        self.middle = _middle(widths[0])
        self.levels = nn.ModuleList(
            Level(widths[k], widths[k + 1], config.blocks + 1, i in config.decoder_attention, "finer" if i else "")
            for k, i in enumerate(order)
        )
        self.norm = nn.GroupNorm(GROUPS, widths[-1], 1e-6)
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.first(x))
        for level in self.levels:
            x = level(x)
        return self.last(F.silu(self.norm(x)))


def _middle(width: int) -> nn.Sequential:
    return nn.Sequential(Residual(width, width), Attention(width), Residual(width, width))


class VqganNet(nn.Module):
    """Encoder, table of entries (K, D), decoder."""

    def __init__(self, config: VqganConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.to_code, self.from_code = nn.Conv2d(config.latent, config.code, 1), nn.Conv2d(config.code, config.latent, 1)
        self.entries = nn.Parameter(torch.randn(config.codebook_size, config.code))


class Vqgan:
    """`picture_families.PictureNet` of a filled network."""

    def __init__(self, network: VqganNet, published: Callable[[str], str]) -> None:
        self.network = network
        self.published = published

    def tokenize(self, pixels: Tensor) -> Tensor:
        latents = self.network.to_code(self.network.encoder(pixels))
        table = self._table()
        rows = latents.permute(0, 2, 3, 1)
        if self.network.config.unit:
            rows = F.normalize(rows, dim=-1)
        chosen = likeliest if self.network.config.names == "ibq" else nearest
        return chosen(rows.reshape(-1, rows.shape[-1]), table).reshape(rows.shape[:3])

    def detokenize(self, indices: Tensor) -> Tensor:
        return self.network.decoder(self.network.from_code(self._table()[indices].permute(0, 3, 1, 2).contiguous()))

    def _table(self) -> Tensor:
        return F.normalize(self.network.entries, dim=-1) if self.network.config.unit else self.network.entries


def nearest(rows: Tensor, table: Tensor, at_once: int = 2**26) -> Tensor:
    """int64 (N,): the nearest entry (K, D) of each row (N, D), distances in as many parts as memory wants."""
    squares = table.square().sum(1)
    parts = rows.split(max(1, at_once // len(table)))
    return torch.cat([(squares - 2 * part @ table.T + part.square().sum(1, keepdim=True)).argmin(1) for part in parts])


def likeliest(rows: Tensor, table: Tensor, at_once: int = 2**26) -> Tensor:
    """int64 (N,): the entry (K, D) with the largest product with each row (N, D), which is what IBQ learns (arXiv:2412.02692)."""
    return torch.cat([(part @ table.T).argmax(1) for part in rows.split(max(1, at_once // len(table)))])


def build(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> Vqgan:
    """ModelError where settings and tensors do not belong together."""
    config = vqgan_config(settings)
    published = publisher(TABLES[config.names], len(config.multipliers))
    return Vqgan(filled_by(lambda: VqganNet(config), averaged(tensors), published, name, LEFT_OUT), published)


def settings_of(shapes: Mapping[str, tuple[int, ...]], name: str) -> tuple[str, dict[str, Any]] | None:
    """(family, settings) that a checkpoint's names and shapes say; None where it is no such network. ModelError for one that lacks what
    they are read from."""
    if any(key.startswith("encoder.conv_blocks.0.res.") for key in shapes):
        family, level, block, attends, up = (
            "llamagen",
            r"encoder\.conv_blocks\.(\d+)\.res",
            "encoder.conv_blocks.{}.res.{}",
            "attn",
            "conv_blocks",
        )
    elif any(key.startswith("encoder.down.0.block.") for key in shapes) and any(key.startswith("encoder.mid.attn_1.") for key in shapes):
        family, level, block, attends, up = "taming", r"encoder\.down\.(\d+)\.block", "encoder.down.{}.block.{}", "attn", "up"
    else:
        return None
    names = family
    levels = 1 + max(int(found.group(1)) for key in shapes if (found := re.match(level, key)))
    blocks = 1 + max(int(found.group(2)) for key in shapes if (found := re.match(level + r"\.(\d+)\.", key)))
    if family == "taming" and blocks == IBQ_BLOCKS:
        names = "ibq"
    down = block.partition("{}")[0].removeprefix("encoder.").rstrip(".")

    def shape(key: str, axes: int) -> tuple[int, ...]:
        return shape_of(shapes, key, axes, name, f"this is no whole checkpoint of {family}")

    channels = shape("encoder.conv_in.weight", 4)[0]
    widths = [shape(f"{block.format(i, 0)}.conv1.weight", 4)[0] for i in range(levels)]
    if channels < 1 or any(width % channels for width in widths):
        raise ModelError(f"{name}: levels of {widths} channels are no multiples of the first convolution's {channels}")
    seen = [i for i in range(levels) if f"encoder.{down}.{i}.{attends}.0.norm.weight" in shapes]
    drawn = [i for i in range(levels) if f"decoder.{up}.{i}.{attends}.0.norm.weight" in shapes]
    entries = shape("quantize.embedding.weight", 2)
    return names, {
        "names": names, "channels": channels, "multipliers": [width // channels for width in widths], "blocks": blocks,
        "encoder_attention": seen, "decoder_attention": sorted(levels - 1 - i for i in drawn) if family == "llamagen" else drawn,
        "latent": shape("encoder.conv_out.weight", 4)[0], "code": entries[1], "codebook_size": entries[0], "unit": family == "llamagen",
    }  # fmt: skip
