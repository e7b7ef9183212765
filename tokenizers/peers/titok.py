"""TiTok (Yu et al., arXiv:2406.07550) and One-D-Piece (Miwa et al., arXiv:2501.10064): a picture as a short line of tokens, in our words.

A transformer reads patches and a few latents; the latents are quantized on the unit sphere. A second one reads their entries and empty
patches, and says for each patch either pixels, or how likely each entry of a MaskGIT-VQGAN is, whose decoder draws their mean. Two
of the published code's slips are part of the weights and are kept: `legacy` latents lie width by width before the last projection
although they are read position by position, and the shortcut of a pixel block looks at the block's result. Sizes are those of the
tensors. Written from the papers and the lists of published tensors; no code is taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

HEAD = 64  # width of an attention head, in all published sizes
LEFT_OUT = ("quantize.embed_prob",)  # of training alone
_BLOCK = (("norm1.", "ln_1."), ("attend.", "attn."), ("norm2.", "ln_2."), ("widen.", "mlp.c_fc."), ("narrow.", "mlp.c_proj."))
TABLE: Table = (
    *((f"{half}.blocks.{{n}}.{ours}", f"{half}.transformer.{{n}}.{theirs}") for half in ("encoder", "decoder") for ours, theirs in _BLOCK),
    ("encoder.patches.", "encoder.patch_embed."),
    ("encoder.to_code.", "encoder.conv_out."),
    *(
        (f"{half}.{ours}", f"{half}.{theirs}")
        for half in ("encoder", "decoder")
        for ours, theirs in (
            ("first", "class_embedding"), ("places", "positional_embedding"), ("latent_places", "latent_token_positional_embedding"),
            ("norm_in.", "ln_pre."), ("norm_out.", "ln_post."),
        )
    ),
    ("latents", "latent_tokens"),
    ("decoder.from_code.", "decoder.decoder_embed."),
    ("decoder.blank", "decoder.mask_token"),
    ("decoder.say.0.", "decoder.ffn.0."),
    ("decoder.say.2.", "decoder.ffn.2."),
    ("decoder.smooth.", "decoder.conv_out."),
    ("entries", "quantize.embedding.weight"),
    ("pixel_entries", "pixel_quantize.embedding.weight"),
    ("pixels.levels.{n}.blocks.{m}.shortcut.", "pixel_decoder.up.{r}.block.{m}.nin_shortcut."),
    ("pixels.levels.{n}.blocks.{m}.", "pixel_decoder.up.{r}.block.{m}."),
    ("pixels.levels.{n}.change.", "pixel_decoder.up.{r}.upsample_conv."),
    ("pixels.middle.{n}.", "pixel_decoder.mid.{n}."),
    ("pixels.norm.", "pixel_decoder.norm_out."),
    ("pixels.first.", "pixel_decoder.conv_in."),
    ("pixels.last.", "pixel_decoder.conv_out."),
)  # fmt: skip


@dataclass(frozen=True)
class PixelConfig:
    """Of the decoder of a MaskGIT-VQGAN: channels of its finest level, multipliers from fine to coarse, blocks a level, entries."""

    channels: int
    multipliers: tuple[int, ...]
    blocks: int
    latent: int
    codebook_size: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.multipliers) <= 7 or not 1 <= self.blocks <= 64 or any(self.channels * m % GROUPS for m in self.multipliers):
            raise UsageError(f"1 to 7 levels of 1 to 64 blocks, channels in groups of {GROUPS}, found {self}")


@dataclass(frozen=True)
class TiTokConfig:
    """side, patch: pixels. widths, layers: of encoder and decoder. bands: tokens of each stage, of one picture. code: channels of an entry.
    unit: entries and latents are brought to length 1. legacy: see above. pixel: None where the transformer says pixels."""

    side: int
    patch: int
    widths: tuple[int, int]
    layers: tuple[int, int]
    bands: tuple[int, ...]
    code: int
    codebook_size: int
    unit: bool
    legacy: bool
    pixel: PixelConfig | None

    def __post_init__(self) -> None:
        if not 1 <= self.patch <= self.side <= 1024 or self.side % self.patch:
            raise UsageError(f"a side of whole patches and 1024 pixels at most, found {self.side} and {self.patch}")
        if any(width < HEAD or width % HEAD for width in self.widths) or not all(1 <= count <= 128 for count in self.layers):
            raise UsageError(f"1 to 128 layers of whole heads of {HEAD}, found widths {self.widths} and layers {self.layers}")
        if not self.bands or min(self.bands) < 1 or sum(self.bands) > 4096:
            raise UsageError(f"1 to 4096 tokens in bands of one and more, found {self.bands}")
        if self.pixel is not None and self.patch != 2 ** (len(self.pixel.multipliers) - 1):
            raise UsageError(f"a patch of {self.patch} pixels is drawn by as many, found levels {self.pixel.multipliers}")

    @property
    def grid(self) -> int:
        return self.side // self.patch


def titok_config(settings: Mapping[str, Any]) -> TiTokConfig:
    """ModelError where the settings are none."""
    try:
        return from_dict(TiTokConfig, dict(settings), "settings")
    except UsageError as error:
        raise ModelError(str(error)) from None


class Block(nn.Module):
    """Attention and a wider layer, each behind a norm and added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attend = nn.LayerNorm(width), nn.MultiheadAttention(width, width // HEAD, batch_first=True)
        self.norm2, self.widen, self.narrow = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attend(normed, normed, normed, need_weights=False)[0]
        return x + self.narrow(F.gelu(self.widen(self.norm2(x))))


class Half(nn.Module):
    """What the two transformers share: their places, norms and blocks."""

    def __init__(self, width: int, layers: int, grid: int, count: int) -> None:
        super().__init__()
        self.first, self.places = nn.Parameter(torch.randn(1, width) * 0.1), nn.Parameter(torch.randn(grid**2 + 1, width) * 0.1)
        self.latent_places = nn.Parameter(torch.randn(count, width) * 0.1)
        self.norm_in, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))

    def run(self, patches: Tensor, latents: Tensor) -> Tensor:
        """All positions (B, 1 + grid^2 + N, width) of patches (B, grid^2, width) and latents (B, N, width)."""
        first = self.first.expand(len(patches), 1, -1)
        x = torch.cat([torch.cat([first, patches], 1) + self.places, latents + self.latent_places[: latents.shape[1]]], 1)
        x = self.norm_in(x)
        for block in self.blocks:
            x = block(x)
        return x


class LineEncoder(Half):
    def __init__(self, config: TiTokConfig) -> None:
        width = config.widths[0]
        super().__init__(width, config.layers[0], config.grid, sum(config.bands))
        self.legacy = config.legacy
        self.patches = nn.Conv2d(3, width, config.patch, config.patch)
        self.to_code = nn.Conv2d(width, config.code, 1)

    def forward(self, pixels: Tensor, latents: Tensor) -> Tensor:
        """(B, code, N)."""
        seen = self.patches(pixels).flatten(2).transpose(1, 2)
        found = self.norm_out(self.run(seen, latents.expand(len(pixels), -1, -1))[:, 1 + seen.shape[1] :])
        batch, count, width = found.shape
        columns = found.reshape(batch, width, count) if self.legacy else found.transpose(1, 2)
        return self.to_code(columns[..., None])[..., 0]


class LineDecoder(Half):
    def __init__(self, config: TiTokConfig) -> None:
        width = config.widths[1]
        super().__init__(width, config.layers[1], config.grid, sum(config.bands))
        self.grid, self.patch = config.grid, config.patch
        self.from_code = nn.Linear(config.code, width)
        self.blank = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        if config.pixel is not None:
            self.say = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.Tanh(), nn.Conv2d(2 * width, config.pixel.codebook_size, 1))
            self.smooth = None
        else:
            self.say = nn.Sequential(nn.Conv2d(width, 3 * config.patch**2, 1))
            self.smooth = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, entries: Tensor) -> Tensor:
        """Logits (B, K, grid, grid) or pixels (B, 3, side, side) of entries (B, N or fewer, code)."""
        blanks = self.blank.expand(len(entries), self.grid**2, -1)
        drawn = self.norm_out(self.run(blanks, self.from_code(entries))[:, 1 : 1 + self.grid**2])
        said = self.say(drawn.transpose(1, 2).reshape(len(entries), -1, self.grid, self.grid).contiguous())
        if self.smooth is None:
            return said
        squares = said.reshape(len(said), self.patch, self.patch, 3, self.grid, self.grid)
        return self.smooth(squares.permute(0, 3, 4, 1, 5, 2).reshape(len(said), 3, self.grid * self.patch, -1))


class PixelBlock(nn.Module):
    """Two convolutions without biases behind norms; where channels change, what is added is seen in their result."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, channels, 1e-6), nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, out, 1e-6), nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(out, out, 1, bias=False) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return inner + (x if self.shortcut is None else self.shortcut(inner))


class PixelLevel(nn.Module):
    def __init__(self, channels: int, out: int, blocks: int, finer: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(PixelBlock(channels if i == 0 else out, out) for i in range(blocks)))
        self.change = nn.Conv2d(out, out, 3, padding=1) if finer else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(x)
        return x if self.change is None else self.change(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class PixelDecoder(nn.Module):
    """Its levels lie in the order in which they run, coarse to fine."""

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        widths = [config.channels * m for m in (config.multipliers[-1], *reversed(config.multipliers))]
        self.first = nn.Conv2d(config.latent, widths[0], 3, padding=1)
        self.middle = nn.Sequential(*(PixelBlock(widths[0], widths[0]) for _ in range(config.blocks)))
        last = len(config.multipliers) - 1
        self.levels = nn.Sequential(*(PixelLevel(widths[k], widths[k + 1], config.blocks, k < last) for k in range(last + 1)))
        self.norm, self.last = nn.GroupNorm(GROUPS, widths[-1], 1e-6), nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        return self.last(F.silu(self.norm(self.levels(self.middle(self.first(latents))))))


class TiTokNet(nn.Module):
    """Both transformers, the line's first values and entries, and where there is one the pixel decoder with its entries."""

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = LineEncoder(config), LineDecoder(config)
        self.latents = nn.Parameter(torch.randn(sum(config.bands), config.widths[0]) * 0.1)
        self.entries = nn.Parameter(torch.randn(config.codebook_size, config.code))
        if config.pixel is not None:
            self.pixel_entries = nn.Parameter(torch.randn(config.pixel.codebook_size, config.pixel.latent))
            self.pixels = PixelDecoder(config.pixel)


class TiTok:
    """`picture_line.LineNet` of a filled network."""

    def __init__(self, network: TiTokNet, published: Callable[[str], str]) -> None:
        self.network = network
        self.published = published

    def tokenize(self, pixels: Tensor) -> Tensor:
        """int64 (B, N)."""
        codes = self.network.encoder(pixels, self.network.latents).transpose(1, 2)
        rows = F.normalize(codes, dim=-1) if self.network.config.unit else codes
        return nearest(rows.reshape(-1, rows.shape[-1]), self._table()).reshape(rows.shape[:2])

    def detokenize(self, indices: Tensor) -> Tensor:
        """(B, 3, side, side) of the first tokens (B, N or fewer)."""
        said = self.network.decoder(self._table()[indices])
        if self.network.config.pixel is None:
            return said
        return self.network.pixels(torch.einsum("bkhw,kd->bdhw", said.softmax(1), self.network.pixel_entries))

    def _table(self) -> Tensor:
        return F.normalize(self.network.entries, dim=-1) if self.network.config.unit else self.network.entries


def names_of(config: TiTokConfig) -> Callable[[str], str]:
    """How checkpoints call our tensors."""
    return publisher(TABLE, len(config.pixel.multipliers) if config.pixel is not None else 0)


def build(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> TiTok:
    """ModelError where settings and tensors do not belong together."""
    config = titok_config(settings)
    return TiTok(filled_by(lambda: TiTokNet(config), tensors, names_of(config), name, LEFT_OUT), names_of(config))


def bands_of(count: int, drops: bool) -> list[int]:
    """Tokens of each stage: all at once, or, where the tail may be dropped, 1, 1, 2, 4, 8 and then sixteen at a time, 28 stages at most."""
    if not drops:
        return [count]
    bands, step = [], max(16, -(-count // 24))
    for size in (1, 1, 2, 4, 8, *(step,) * 24):
        if count > 0:
            bands.append(min(size, count))
            count -= bands[-1]
    return bands


def settings_of(shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Settings that a checkpoint's shapes and its config's `model.vq_model` say; ModelError names the key or the tensor in the way."""
    vq = given["model"]["vq_model"]
    if vq.get("quantize_mode", "vq") != "vq":
        raise ModelError(f"{name}: its config has quantize_mode = {vq['quantize_mode']!r}, which gives no tokens; expected 'vq'")
    text = next((key for key in sorted(shapes) if "text" in key), None)
    if text is not None:
        raise ModelError(f"{name}: tensor {text!r}: this decoder wants to be told what the picture shows (TA-TiTok), which no file holds")
    pixel = any(key.startswith("pixel_decoder.") for key in shapes)
    if not pixel and vq.get("is_legacy", True):
        raise ModelError(
            f"{name}: tensors pixel_decoder.* are missing: its config has finetune_decoder = False, a first stage without pixels"
        )

    def shape(key: str, axes: int) -> tuple[int, ...]:
        return shape_of(shapes, key, axes, name, "config and weights do not belong together")

    patch = shape("encoder.patch_embed.weight", 4)[2]
    grid = round((shape("encoder.positional_embedding", 2)[0] - 1) ** 0.5)
    count = shape("latent_tokens", 2)[0]
    entries = shape("quantize.embedding.weight", 2)
    return {
        "side": grid * patch, "patch": patch, "widths": [shape(f"{half}.class_embedding", 2)[1] for half in ("encoder", "decoder")],
        "layers": [_count(shapes, f"{half}.transformer.") for half in ("encoder", "decoder")],
        "bands": bands_of(count, not vq.get("strict_length_assertion", True) or given["model"].get("type") == "one_d_piece"),
        "code": entries[1], "codebook_size": entries[0], "unit": bool(vq.get("use_l2_norm", True)),
        "legacy": bool(vq.get("is_legacy", True)), "pixel": _pixel_settings(shape, shapes) if pixel else None,
    }  # fmt: skip


def _pixel_settings(shape: Callable[[str, int], tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    levels = _count(shapes, "pixel_decoder.up.")
    widths = [shape(f"pixel_decoder.up.{i}.block.0.conv1.weight", 4)[0] for i in range(levels)]
    return {
        "channels": widths[0] if widths else 0, "multipliers": [width // max(widths[0], 1) for width in widths],
        "blocks": _count(shapes, "pixel_decoder.mid."), "latent": shape("pixel_quantize.embedding.weight", 2)[1],
        "codebook_size": shape("pixel_quantize.embedding.weight", 2)[0],
    }  # fmt: skip


def _count(shapes: Mapping[str, tuple[int, ...]], start: str) -> int:
    """How many numbers follow `start` in names."""
    return len({key.removeprefix(start).partition(".")[0] for key in shapes if key.startswith(start)})
