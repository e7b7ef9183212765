"""`image-peer`: public networks of pictures that say them as a grid of tokens, behind our contract; any size.

These networks were trained at 256 or 512 pixels a side, take statistics over the whole picture (group norms) and attend to all of it. A
picture whose sides are `TILE_PIXELS` at most passes whole, filled up by its own edge to whole tokens, and its tokens are the network's own;
a larger one passes in tiles with `MARGIN_PIXELS` of context around them, which bounds time and memory, and whose seams may show a little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from smalti.tokenizers.configs import canonical_json, to_dict
from smalti.tokenizers.errors import ModelError, UsageError
from smalti.tokenizers.peers.picture_families import PictureNet, PicturePlan, network, plan
from smalti.tokenizers.signals import Image, Signal
from smalti.tokenizers.tokens import Layout, Stage, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

TILE_PIXELS, MARGIN_PIXELS = 512, 64
BATCH_PIXELS = (TILE_PIXELS + 2 * MARGIN_PIXELS) ** 2  # in flight, margins included: one whole tile

Three = tuple[float, float, float]


@dataclass(frozen=True)
class PeerPictureConfig:
    """family: one of `picture_families.FAMILIES`. settings: the network's own configuration, as its checkpoint has it or its tensors'
    shapes say. scale, shift: what the network sees of red, green and blue in [0, 1] is value * scale - shift."""

    kind: ClassVar[str] = "image-peer"
    family: str
    settings: dict[str, Any] = field(default_factory=dict)
    scale: Three = (2.0, 2.0, 2.0)
    shift: Three = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if min(self.scale) <= 0:
            raise UsageError(f"scale is positive, found {self.scale}")

    @property
    def plan(self) -> PicturePlan:
        """What follows from the settings; ModelError where they are none of the family's."""
        return plan(self.family, canonical_json(self))

    @property
    def stride(self) -> int:
        """Pixels a token."""
        return self.plan.stride


class PeerPicture:
    """Fulfils `contracts.Tokenizer` for `Image` signals of 1 x 1 pixel and more."""

    config_class: Any = PeerPictureConfig

    def __init__(
        self, net: PictureNet, config: PeerPictureConfig, fingerprint_of: str | None = None, name: str = "image-peer", device: str = "cpu"
    ) -> None:
        import torch

        self.net = net
        self.net.network.to(device)
        self.config = config
        self.plan = config.plan
        self.name = name
        self.device = torch.device(device)
        self.folder: Path | None = None  # of the model it was loaded from, for the prior that lies there
        self.tile_pixels = TILE_PIXELS
        self._fingerprint = fingerprint_of

    @classmethod
    def from_tensors(
        cls, config: PeerPictureConfig, tensors: Mapping[str, np.ndarray], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> PeerPicture:
        """A tokenizer from a checkpoint's tensors; ModelError names the first that is missing, unknown or of another shape."""
        _ = config.plan  # which refuses what no network can be made of
        return cls(network(config.family, config.settings, tensors, name), config, fingerprint_of, name, device)

    def tensors(self) -> dict[str, np.ndarray]:
        """All weights and tables by their published names: what is saved and fingerprinted."""
        return {self.net.published(key): value.cpu().numpy() for key, value in self.net.network.state_dict().items()}

    def parameter_names(self) -> set[str]:
        """None: rounded weights would give other tokens than the public model."""
        return set()

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(to_dict(self.config), self.tensors())
        return self._fingerprint

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a picture of (("height", H), ("width", W)) pixels."""
        from smalti.tokenizers.image.pixels import picture_size

        height, width = picture_size(signal, self.name)
        axes = (("row", -(-height // self.plan.stride)), ("col", -(-width // self.plan.stride)))
        return Layout((Stage("grid", axes, self.plan.vocab),), (1,), (("height", height), ("width", width)))

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each picture. Sizes may differ; equal tiles share a batch."""
        import torch

        from smalti.tokenizers.image.pixels import image_of

        images = [image_of(signal, self.name) for signal in signals]
        layouts = [self.layout((("height", image.height), ("width", image.width))) for image in images]
        arrays = [np.zeros(layout.stages[0].shape, np.int32) for layout in layouts]
        for batch in self._batches(layouts):
            pixels = torch.stack([self._cut(images[tile.item], tile) for tile in batch]).to(self.device)
            with torch.inference_mode(), self._exact():
                found = self.net.tokenize(pixels)
            if found.shape[1:] != batch[0].outer_shape:
                raise ModelError(
                    f"{self.name}: {tuple(pixels.shape[2:])} pixels gave {tuple(found.shape[1:])} tokens, expected "
                    f"{batch[0].outer_shape}; config and network do not belong together"
                )
            for tile, indices in zip(batch, found.cpu().numpy(), strict=True):
                arrays[tile.item][tile.rows.inner, tile.columns.inner] = indices[tile.rows.trim, tile.columns.trim]
        return [Tokens(layout, (array,)) for layout, array in zip(layouts, arrays, strict=True)]

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """uint8 pictures from tokens."""
        import torch

        from smalti.tokenizers.image.pixels import to_eight_bits
        from smalti.tokenizers.image.tiles import paste

        for item in tokens:
            item.check_prefix_of(self.layout(item.layout.signal), self.name)
            item.check_unmasked(self.name)
        pictures = [np.empty((item.layout.size["height"], item.layout.size["width"], 3), np.uint8) for item in tokens]
        stride = self.plan.stride
        for batch in self._batches([item.layout for item in tokens]):
            cut = [tokens[tile.item].arrays[0][tile.rows.outer, tile.columns.outer] for tile in batch]
            with torch.inference_mode(), self._exact():
                drawn = self.net.detokenize(torch.from_numpy(np.stack(cut).astype(np.int64)).to(self.device))
            for tile, pixels in zip(batch, to_eight_bits(from_input(drawn, self.config)), strict=True):
                rows, columns = tile.rows.scaled(stride), tile.columns.scaled(stride)
                paste(pictures[tile.item], tile, pixels[rows.trim, columns.trim], stride)
        return [Image(picture) for picture in pictures]

    def _exact(self) -> Any:
        from smalti.tokenizers.nets.precision import full_precision

        return full_precision(self.device)

    def _batches(self, layouts: Sequence[Layout]) -> Any:
        from smalti.tokenizers.image.tiles import plan as tiled

        grids = [(layout.stages[0].shape[0], layout.stages[0].shape[1]) for layout in layouts]
        margin = -(-MARGIN_PIXELS // self.plan.stride)
        return tiled(grids, self.plan.stride, margin, self.tile_pixels, BATCH_PIXELS)

    def _cut(self, image: Image, tile: Any) -> Any:
        """The tile's outer pixels as the network sees them, float32 (3, h, w) in whole tokens."""
        from smalti.tokenizers.image.pixels import to_float

        stride = self.plan.stride
        rows, columns = tile.rows.scaled(stride), tile.columns.scaled(stride)
        pixels = image.pixels[rows.outer, columns.outer]
        missing = [size * stride - found for size, found in zip(tile.outer_shape, pixels.shape, strict=False)]
        return to_input(to_float(np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), "edge")), self.config)


def to_input(pixels: Any, config: Any) -> Any:
    """Pixels (3, h, w) in [-1, 1] -> what a network sees."""
    if config.scale == (2.0, 2.0, 2.0) and config.shift == (1.0, 1.0, 1.0):
        return pixels
    scale, shift = (pixels.new_tensor(three)[:, None, None] for three in (config.scale, config.shift))
    return (pixels + 1) / 2 * scale - shift


def from_input(drawn: Any, config: Any) -> Any:
    """What a network draws (B, 3, h, w) -> pixels in [-1, 1]."""
    if config.scale == (2.0, 2.0, 2.0) and config.shift == (1.0, 1.0, 1.0):
        return drawn
    scale, shift = (drawn.new_tensor(three)[:, None, None] for three in (config.scale, config.shift))
    return (drawn + shift) / scale * 2 - 1
