"""`image-line`: pictures of any size <-> a line of tokens per square region, most important first; any number of bands decodes.

The picture is padded by its own edge to whole regions, cropped back exactly. One that fits into a region is scaled up, so that its longer
side is the region's, and back. Stages are bands of steps over all regions, (step, row, col): the first bands of all regions come first, so
that any prefix is a coarser picture of the whole. Regions are encoded by batches, and the convolutional decoder runs in tiles over the
whole latent grid: memory is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.line_network import ImageLineConfig, ImageLineNet, join
from smalti.tokenizers.image.network import pad_to_stride
from smalti.tokenizers.image.pixels import image_of, picture_size, to_eight_bits, to_float
from smalti.tokenizers.image.tiles import Tile, paste, plan
from smalti.tokenizers.image.trim import margins_of
from smalti.tokenizers.nets.precision import full_precision
from smalti.tokenizers.nets.stored import filled, halvable, tensors_of
from smalti.tokenizers.signals import Image, Signal
from smalti.tokenizers.tokens import Layout, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

TILE_PIXELS = 1024  # side of a tile's inner part
BATCH_PIXELS = 3 * 2**20  # pixels in flight, margins included


class ImageLine:
    """Fulfils `contracts.Tokenizer` for `Image` signals of 1 x 1 pixel and more.

    tile_pixels: side of the convolutional decoder's tiles without their margin. batch_pixels bounds the memory: how many pixels the
    networks see at a time.
    """

    config_class: Any = ImageLineConfig

    def __init__(self, net: ImageLineNet, fingerprint_of: str | None = None, name: str = "image-line", device: str = "cpu") -> None:
        self.net = net.eval().requires_grad_(False).to(device)
        self.config: ImageLineConfig = net.config
        self.name = name
        self.device = torch.device(device)
        self.folder: Path | None = None  # of the model it was loaded from, for the prior that lies there
        self.tile_pixels = TILE_PIXELS
        self.batch_pixels = BATCH_PIXELS
        self._fingerprint = fingerprint_of

    @classmethod
    def from_config(cls, config: ImageLineConfig) -> ImageLine:
        """A tokenizer with untrained weights, from torch's random state."""
        return cls(ImageLineNet(config))

    @classmethod
    def from_tensors(
        cls, config: ImageLineConfig, tensors: Mapping[str, np.ndarray], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> ImageLine:
        """A tokenizer from stored tensors of any float type; ModelError names the first that is missing, unknown or of another shape."""
        return cls(filled(ImageLineNet(config), tensors, name), fingerprint_of, name, device)

    def tensors(self) -> dict[str, np.ndarray]:
        """All weights and tables by name: what is saved and fingerprinted."""
        return tensors_of(self.net)

    def parameter_names(self) -> set[str]:
        """Tensors that may be stored in half precision: not those of the quantizer."""
        return halvable(self.net)

    @property
    def region_pixels(self) -> int:
        """Side of a region."""
        return self.config.region

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(to_dict(self.config), self.tensors())
        return self._fingerprint

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a picture of (("height", H), ("width", W)) pixels."""
        height, width = picture_size(signal, self.name)
        grid = (-(-height // self.config.region), -(-width // self.config.region))
        steps = self.config.quantizer.steps
        return self.net.quantizer.layout((steps, *grid), ("step", "row", "col"), (("height", height), ("width", width)))

    @torch.inference_mode()
    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each picture. Sizes may differ; regions of all share batches."""
        images = [image_of(signal, self.name) for signal in signals]
        layouts = [self.layout((("height", image.height), ("width", image.width))) for image in images]
        arrays = [tuple(np.zeros(stage.shape, np.int32) for stage in layout.stages) for layout in layouts]
        for batch in self._batches([(i, row, col) for i, layout in enumerate(layouts) for row, col in np.ndindex(_regions_of(layout))]):
            regions = torch.stack([self._region(images[i], row, column) for i, row, column in batch])
            with full_precision(self.device):
                bands = self.net.tokenize(regions.to(self.device))
            for band, indices in enumerate(bands):
                for (i, row, column), found in zip(batch, indices.cpu().numpy(), strict=True):
                    arrays[i][band][:, row, column] = found
        return [Tokens(layout, array) for layout, array in zip(layouts, arrays, strict=True)]

    @torch.inference_mode()
    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """uint8 pictures from tokens or decodable prefixes of them. Regions may hold fewer bands than others, but each the first."""
        for item in tokens:
            self._check(item)
        latents = self._latents(tokens)
        grids = [(grid.shape[-2], grid.shape[-1]) for grid in latents]
        drawn = [np.empty((*self._drawn_size(item.layout), 3), np.uint8) for item in tokens]
        found: list[Image] = []
        for batch in plan(grids, self.config.stride, self.net.decoder_margin, self.tile_pixels, self.batch_pixels):
            for tile, pixels in zip(batch, self._tile_pixels(latents, batch), strict=True):
                paste(drawn[tile.item], tile, pixels, self.config.stride)
        for item, picture in zip(tokens, drawn, strict=True):
            size = picture_size(item.layout.signal, self.name)
            found.append(Image(picture if picture.shape[:2] == size else _scaled_back(picture, size)))
        return list(found)

    def _latents(self, tokens: Sequence[Tokens]) -> list[Tensor]:
        """The latent grid (latent_dim, h, w) of each picture's regions."""
        side = self.config.side
        squares = [np.empty((*_regions_of(item.layout), self.config.latent_dim, side, side), np.float32) for item in tokens]
        depths = [_depths(item) for item in tokens]
        for depth in sorted({int(depth) for item in depths for depth in np.unique(item)}):
            for places in self._batches(
                [(i, row, col) for i, item in enumerate(depths) for row, col in np.argwhere(item == depth).tolist()]
            ):
                bands = [
                    torch.from_numpy(np.stack([tokens[i].arrays[band][:, row, column] for i, row, column in places]).astype(np.int64))
                    for band in range(depth)
                ]
                with full_precision(self.device):
                    drawn = self.net.detokenize([band.to(self.device) for band in bands]).cpu().numpy()
                for (i, row, column), square in zip(places, drawn, strict=True):
                    squares[i][row, column] = square
        return [join(torch.from_numpy(s.reshape(-1, *s.shape[2:])), (s.shape[0], s.shape[1]))[0] for s in squares]

    def _tile_pixels(self, latents: Sequence[Tensor], batch: Sequence[Tile]) -> np.ndarray:
        """uint8 (tiles, h, w, 3): tiles of one kind within their margins."""
        cut = torch.stack([latents[tile.item][:, tile.rows.outer, tile.columns.outer] for tile in batch])
        with full_precision(self.device):
            return to_eight_bits(self.net.decode(cut.to(self.device), margins_of(batch[0], self.config.stride)))

    def _batches(self, places: Sequence[tuple[int, int, int]]) -> list[Sequence[tuple[int, int, int]]]:
        """Places, each (picture, row, column), by as many as are in flight at a time."""
        count = max(1, self.batch_pixels // self.config.region**2)
        return [places[start : start + count] for start in range(0, len(places), count)]

    def _region(self, image: Image, row: int, column: int) -> Tensor:
        """float32 (3, region, region) in [-1, 1], padded at the picture's far edges."""
        side = self.config.region
        pixels = to_float(image.pixels[row * side : (row + 1) * side, column * side : (column + 1) * side])[None]
        scaled = _fitted(image.height, image.width, side)
        if scaled != (image.height, image.width):
            pixels = F.interpolate(pixels, scaled, mode="bicubic").clamp(-1, 1)
        return pad_to_stride(pixels, side)[0]

    def _drawn_size(self, layout: Layout) -> tuple[int, int]:
        """Height and width that a picture has in its regions."""
        return _fitted(*picture_size(layout.signal, self.name), self.config.region)

    def _check(self, tokens: Tokens) -> None:
        expected = self.layout(tokens.layout.signal)
        tokens.check_prefix_of(expected, self.name)
        if any(mask is not None and mask.shape != _regions_of(expected) for mask in tokens.present):
            raise UsageError(f"{self.name} leaves out whole regions, (row, col); these tokens leave out parts of them")
        if not _depths(tokens).all() or any(int(depth) not in expected.cuts for depth in np.unique(_depths(tokens))):
            raise UsageError(f"{self.name} needs the first band of each region, and whole bands; these tokens lack some")


def _regions_of(layout: Layout) -> tuple[int, int]:
    """(rows, columns) of regions."""
    _, rows, columns = layout.stages[0].shape
    return rows, columns


def _depths(tokens: Tokens) -> np.ndarray:
    """int64 (rows, columns): how many stages hold each region."""
    held = [np.ones(_regions_of(tokens.layout), bool) if mask is None else mask for mask in tokens.present]
    return np.stack(held).sum(0, dtype=np.int64)


def _fitted(height: int, width: int, region: int) -> tuple[int, int]:
    """The size at which a picture lies in its regions: its own, or, where it fits into one, its longer side that of the region."""
    longer = max(height, width)
    if longer >= region:
        return height, width
    return max(1, round(height * region / longer)), max(1, round(width * region / longer))


def _scaled_back(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) at a smaller size."""
    return to_eight_bits(F.interpolate(to_float(picture)[None], size, mode="bilinear", antialias=True))[0]
