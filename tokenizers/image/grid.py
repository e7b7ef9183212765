"""`image-grid`: pictures of any size <-> a grid of tokens, in one or several residual levels.

The picture is padded by its own edge to whole strides and cropped back exactly. Large pictures run in tiles with the network's true
receptive field as overlap: memory is bounded, and the result equals the whole picture's to float rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.image.network import ImageGridConfig, ImageGridNet, pad_to_stride
from smalti.tokenizers.image.tiles import Tile, batches, tiles
from smalti.tokenizers.image.trim import Margins
from smalti.tokenizers.nets.precision import full_precision
from smalti.tokenizers.signals import MAX_PIXELS, MAX_SIDE, Image, Signal
from smalti.tokenizers.tokens import Layout, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

TILE_PIXELS = 1024  # side of a tile's inner part
BATCH_PIXELS = 3 * 2**20  # pixels in flight, margins included: about 700 MB of activations for the shipped widths


class ImageGrid:
    """Fulfils `contracts.Tokenizer` for `Image` signals of 1 x 1 pixel and more.

    tile_pixels: side of a tile without its margin. batch_pixels bounds the memory: how many pixels, margins included, the network sees at a
    time; tiles shrink to fit it.
    """

    config_class: Any = ImageGridConfig

    def __init__(self, net: ImageGridNet, fingerprint_of: str | None = None, name: str = "image-grid", device: str = "cpu") -> None:
        self.net = net.eval().requires_grad_(False).to(device)
        self.config: ImageGridConfig = net.config
        self.name = name
        self.device = torch.device(device)
        self.folder: Path | None = None  # of the model it was loaded from, for the prior that lies there
        self.tile_pixels = TILE_PIXELS
        self.batch_pixels = BATCH_PIXELS
        self._fingerprint = fingerprint_of

    @classmethod
    def from_config(cls, config: ImageGridConfig) -> ImageGrid:
        """A tokenizer with untrained weights, from torch's random state."""
        return cls(ImageGridNet(config))

    @classmethod
    def from_tensors(
        cls, config: ImageGridConfig, tensors: Mapping[str, np.ndarray], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> ImageGrid:
        """A tokenizer from stored tensors of any float type; ModelError names the first that is missing, unknown or of another shape."""
        net = ImageGridNet(config)
        expected = net.state_dict()
        for key in sorted(expected.keys() | tensors.keys()):
            if key not in tensors or key not in expected:
                state = "missing" if key in expected else "unknown to this config"
                raise ModelError(f"{name}: tensor {key!r} is {state}; config and weights do not belong together")
            if tuple(expected[key].shape) != tensors[key].shape:
                raise ModelError(f"{name}: tensor {key!r} has shape {tensors[key].shape}, expected {tuple(expected[key].shape)}")
        net.load_state_dict({key: torch.from_numpy(value.astype(expected[key].numpy().dtype)) for key, value in tensors.items()})
        return cls(net, fingerprint_of, name, device)

    def tensors(self) -> dict[str, np.ndarray]:
        """All weights and tables by name: what is saved and fingerprinted."""
        return {key: value.cpu().numpy() for key, value in self.net.state_dict().items()}

    def parameter_names(self) -> set[str]:
        """Tensors that may be stored in half precision: not those of the quantizer, whose rounded tables would give other tokens."""
        return {name for name, _ in self.net.named_parameters() if not name.startswith("quantizer.")}

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(to_dict(self.config), self.tensors())
        return self._fingerprint

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a picture of (("height", H), ("width", W)) pixels."""
        size = dict(signal)
        if set(size) != {"height", "width"} or min(size.values()) < 1:
            raise UsageError(f"{self.name} tokenizes pictures: its signal size is height and width, found {signal}")
        if max(size.values()) > MAX_SIDE or size["height"] * size["width"] > MAX_PIXELS:
            raise UsageError(
                f"pictures have sides up to {MAX_SIDE} and {MAX_PIXELS} pixels at most, found {size['width']} x {size['height']}"
            )
        stride = self.config.stride
        grid = (-(-size["height"] // stride), -(-size["width"] // stride))
        return self.net.quantizer.layout(grid, ("row", "col"), (("height", size["height"]), ("width", size["width"])))

    @torch.inference_mode()
    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each picture. Sizes may differ; equal tiles share a batch."""
        images = [_image(signal, self.name) for signal in signals]
        layouts = [self.layout((("height", image.height), ("width", image.width))) for image in images]
        arrays = [tuple(np.zeros(stage.shape, np.int32) for stage in layout.stages) for layout in layouts]
        for batch in self._batches(layouts, self.net.encoder_margin):
            pixels = torch.stack([self._cut(images[tile.item], tile) for tile in batch])
            with full_precision(self.device):
                stages = self.net.tokenize(pixels.to(self.device))
            for stage, indices in enumerate(stages):
                for tile, found in zip(batch, indices.cpu().numpy(), strict=True):
                    arrays[tile.item][stage][tile.rows.inner, tile.columns.inner] = found[tile.rows.trim, tile.columns.trim]
        return [Tokens(layout, array) for layout, array in zip(layouts, arrays, strict=True)]

    @torch.inference_mode()
    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """uint8 pictures from tokens or decodable prefixes of them."""
        for item in tokens:
            self._check(item)
        sizes = [item.layout.size for item in tokens]
        pictures = [np.empty((size["height"], size["width"], 3), np.uint8) for size in sizes]
        for depth in sorted({len(item.arrays) for item in tokens}):
            chosen = [i for i, item in enumerate(tokens) if len(item.arrays) == depth]
            for batch in self._batches([tokens[i].layout for i in chosen], self.net.decoder_margin):
                self._decode_batch([(tile, tokens[chosen[tile.item]], pictures[chosen[tile.item]]) for tile in batch])
        return [Image(picture) for picture in pictures]

    def _decode_batch(self, batch: list[tuple[Tile, Tokens, np.ndarray]]) -> None:
        """Decode tiles of one kind and depth and write their inner parts into their pictures."""
        indices = []
        for stage in range(len(batch[0][1].arrays)):
            cut = [item.arrays[stage][tile.rows.outer, tile.columns.outer] for tile, item, _ in batch]
            indices.append(torch.from_numpy(np.stack(cut).astype(np.int64)).to(self.device))
        with full_precision(self.device):
            decoded = self.net.detokenize(indices, _margins(batch[0][0], self.config.stride))
        decoded8 = ((decoded + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        for (tile, _, picture), pixels in zip(batch, decoded8, strict=True):
            rows, columns = tile.rows.scaled(self.config.stride), tile.columns.scaled(self.config.stride)
            target = picture[rows.inner, columns.inner]
            target[:] = pixels[: target.shape[0], : target.shape[1]]

    def _batches(self, layouts: Sequence[Layout], margin: int) -> list[list[Tile]]:
        stride = self.config.stride
        grids = [(layout.stages[0].shape[0], layout.stages[0].shape[1]) for layout in layouts]
        positions = self.batch_pixels // stride**2
        step = max(1, min(self.tile_pixels // stride, math.isqrt(positions) - 2 * margin))
        return list(batches(tiles(grids, step, margin), positions))

    def _cut(self, image: Image, tile: Tile) -> Tensor:
        """The tile's outer pixels, float32 (3, h, w) in [-1, 1], padded to whole strides at the picture's far edges."""
        rows, columns = tile.rows.scaled(self.config.stride), tile.columns.scaled(self.config.stride)
        part = image.pixels[rows.outer, columns.outer]
        scale = 127.5 if part.dtype == np.uint8 else 32767.5
        pixels = torch.from_numpy(part.astype(np.float32)).permute(2, 0, 1) / scale - 1
        return pad_to_stride(pixels[None], self.config.stride)[0]

    def _check(self, tokens: Tokens) -> None:
        expected = self.layout(tokens.layout.signal)
        held = len(tokens.layout.stages)
        if held not in expected.cuts or tokens.layout != expected.prefix(held):
            raise UsageError(f"these tokens are not {self.name}'s: found {tokens.layout}, expected a prefix of {expected}")
        if any(mask is not None for mask in tokens.present):
            raise UsageError(f"{self.name} decodes whole stages; these tokens hold only some regions")


def _margins(tile: Tile, stride: int) -> Margins:
    return Margins(*tile.rows.scaled(stride).margins, *tile.columns.scaled(stride).margins)


def _image(signal: Signal, name: str) -> Image:
    if not isinstance(signal, Image):
        raise SignalError(f"{name} tokenizes pictures, found {type(signal).__name__}")
    return signal
