"""`image-grid`: pictures of any size <-> a grid of tokens, in one or several residual levels.

The picture is padded by its own edge to whole strides and cropped back exactly. Large pictures run in tiles with the network's true
receptive field as overlap: memory is bounded, and the result equals the whole picture's to float rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.image.network import ImageGridConfig, ImageGridNet, pad_to_stride
from smalti.tokenizers.image.pixels import image_of, picture_size, to_eight_bits, to_float
from smalti.tokenizers.image.tiles import Tile, paste, plan
from smalti.tokenizers.image.trim import margins_of
from smalti.tokenizers.nets.precision import full_precision
from smalti.tokenizers.nets.stored import filled, halvable, tensors_of
from smalti.tokenizers.signals import Image, Signal
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
        return cls(filled(ImageGridNet(config), tensors, name), fingerprint_of, name, device)

    def tensors(self) -> dict[str, np.ndarray]:
        """All weights and tables by name: what is saved and fingerprinted."""
        return tensors_of(self.net)

    def parameter_names(self) -> set[str]:
        """Tensors that may be stored in half precision: not those of the quantizer, whose rounded tables would give other tokens."""
        return halvable(self.net)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(to_dict(self.config), self.tensors())
        return self._fingerprint

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a picture of (("height", H), ("width", W)) pixels."""
        height, width = picture_size(signal, self.name)
        stride = self.config.stride
        grid = (-(-height // stride), -(-width // stride))
        return self.net.quantizer.layout(grid, ("row", "col"), (("height", height), ("width", width)))

    @torch.inference_mode()
    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each picture. Sizes may differ; equal tiles share a batch."""
        images = [image_of(signal, self.name) for signal in signals]
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
            decoded = self.net.detokenize(indices, margins_of(batch[0][0], self.config.stride))
        for (tile, _, picture), pixels in zip(batch, to_eight_bits(decoded), strict=True):
            paste(picture, tile, pixels, self.config.stride)

    def _batches(self, layouts: Sequence[Layout], margin: int) -> list[list[Tile]]:
        grids = [(layout.stages[0].shape[0], layout.stages[0].shape[1]) for layout in layouts]
        return plan(grids, self.config.stride, margin, self.tile_pixels, self.batch_pixels)

    def _cut(self, image: Image, tile: Tile) -> Tensor:
        """The tile's outer pixels, float32 (3, h, w) in [-1, 1], padded to whole strides at the picture's far edges."""
        rows, columns = tile.rows.scaled(self.config.stride), tile.columns.scaled(self.config.stride)
        return pad_to_stride(to_float(image.pixels[rows.outer, columns.outer])[None], self.config.stride)[0]

    def _check(self, tokens: Tokens) -> None:
        tokens.check_prefix_of(self.layout(tokens.layout.signal), self.name)
        tokens.check_unmasked(self.name)
