"""`image-peer-line`: public networks that say a picture of one fixed size as a line of tokens, behind our contract; any size.

A picture is cut into squares of that size at its own scale, the last ones filled up by its own edge; each has its line, axes (step, row,
col). One that fits into a single square is scaled up so that it fills it, as the networks were trained, and scaled back. Squares know
nothing of each other: their seams may show, which is the price of a fixed resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers.picture import Three, from_input, to_input
from smalti.tokenizers.signals import Image, Signal
from smalti.tokenizers.tokens import Layout, Stage, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

BATCH_SQUARES = 4  # in flight: a large transformer and its pixel decoder take half a gigabyte each


class LineNet(Protocol):
    """A network as the adapter asks it. network: the torch module that holds its weights."""

    network: Any

    def tokenize(self, pixels: Any) -> Any:
        """int64 (B, N) of float32 (B, 3, side, side)."""

    def detokenize(self, indices: Any) -> Any:
        """float32 (B, 3, side, side) of the first tokens (B, N or fewer)."""

    def published(self, name: str) -> str:
        """How a checkpoint calls a tensor of `network`."""


@dataclass(frozen=True)
class PeerLineConfig:
    """family: "titok". settings, scale, shift: as in `picture.PeerPictureConfig`."""

    kind: ClassVar[str] = "image-peer-line"
    family: str
    settings: dict[str, Any] = field(default_factory=dict)
    scale: Three = (1.0, 1.0, 1.0)
    shift: Three = (0.0, 0.0, 0.0)


class PeerLine:
    """Fulfils `contracts.Tokenizer` for `Image` signals of 1 x 1 pixel and more."""

    config_class: Any = PeerLineConfig

    def __init__(
        self, net: LineNet, config: PeerLineConfig, fingerprint_of: str | None = None, name: str = "image-peer-line", device: str = "cpu"
    ) -> None:
        import torch

        from smalti.tokenizers.peers.titok import titok_config

        self.net = net
        self.net.network.to(device)
        self.config = config
        shape = titok_config(config.settings)
        self.side, self.bands, self.vocab = shape.side, shape.bands, shape.codebook_size
        self.name = name
        self.device = torch.device(device)
        self.folder: Path | None = None  # of the model it was loaded from, for the prior that lies there
        self._fingerprint = fingerprint_of

    @classmethod
    def from_tensors(
        cls, config: PeerLineConfig, tensors: Mapping[str, np.ndarray], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> PeerLine:
        """A tokenizer from a checkpoint's tensors; ModelError names the first that is missing, unknown or of another shape."""
        from smalti.tokenizers.peers.titok import build

        if config.family != "titok":
            raise ModelError(f"{name}: no family {config.family!r} of lines; known: titok")
        return cls(build(config.settings, tensors, name), config, fingerprint_of, name, device)

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
        squares = (("row", -(-height // self.side)), ("col", -(-width // self.side)))
        stages = tuple(Stage(f"band{k}", (("step", count), *squares), self.vocab) for k, count in enumerate(self.bands))
        return Layout(stages, tuple(range(1, len(stages) + 1)), (("height", height), ("width", width)))

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each picture. Sizes may differ; squares of all share batches."""
        import torch

        from smalti.tokenizers.image.pixels import image_of

        images = [image_of(signal, self.name) for signal in signals]
        layouts = [self.layout((("height", image.height), ("width", image.width))) for image in images]
        arrays = [tuple(np.zeros(stage.shape, np.int32) for stage in layout.stages) for layout in layouts]
        for places in self._batches([(i, *place) for i, layout in enumerate(layouts) for place in np.ndindex(layout.stages[0].shape[1:])]):
            pixels = torch.stack([self._square(images[i], row, col) for i, row, col in places]).to(self.device)
            with torch.inference_mode(), self._exact():
                found = self.net.tokenize(pixels).cpu().numpy()
            for (i, row, col), line in zip(places, found, strict=True):
                for array, part in zip(arrays[i], np.split(line, np.cumsum(self.bands)[:-1]), strict=True):
                    array[:, row, col] = part
        return [Tokens(layout, array) for layout, array in zip(layouts, arrays, strict=True)]

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """uint8 pictures from tokens or from their first bands."""
        import torch

        from smalti.tokenizers.image.pixels import to_eight_bits

        for item in tokens:
            item.check_prefix_of(self.layout(item.layout.signal), self.name)
            item.check_unmasked(self.name)
        lines = [np.concatenate(item.arrays).astype(np.int64) for item in tokens]
        drawn = [np.empty((3, self.side * line.shape[1], self.side * line.shape[2]), np.float32) for line in lines]
        for depth in sorted({len(line) for line in lines}):
            chosen = [(i, row, col) for i, line in enumerate(lines) if len(line) == depth for row, col in np.ndindex(line.shape[1:])]
            for places in self._batches(chosen):
                batch = torch.from_numpy(np.stack([lines[i][:, row, col] for i, row, col in places])).to(self.device)
                with torch.inference_mode(), self._exact():
                    found = from_input(self.net.detokenize(batch), self.config).cpu().numpy()
                for (i, row, col), square in zip(places, found, strict=True):
                    drawn[i][:, row * self.side : (row + 1) * self.side, col * self.side : (col + 1) * self.side] = square
        pictures: list[Signal] = []
        for item, whole in zip(tokens, drawn, strict=True):
            size = item.layout.size["height"], item.layout.size["width"]
            height, width = self._fitted(*size)
            pixels = torch.from_numpy(whole[None, :, :height, :width])
            if (height, width) != size:
                pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
            pictures.append(Image(to_eight_bits(pixels)[0]))
        return pictures

    def _exact(self) -> Any:
        from smalti.tokenizers.nets.precision import full_precision

        return full_precision(self.device)

    def _batches(self, places: Sequence[tuple[int, ...]]) -> Iterator[Sequence[tuple[int, ...]]]:
        for start in range(0, len(places), BATCH_SQUARES):
            yield places[start : start + BATCH_SQUARES]

    def _fitted(self, height: int, width: int) -> tuple[int, int]:
        """The size at which a picture lies in its squares: its own, or, where it fits into one, its longer side that of the square."""
        longer = max(height, width)
        if longer >= self.side:
            return height, width
        return max(1, round(height * self.side / longer)), max(1, round(width * self.side / longer))

    def _square(self, image: Image, row: int, col: int) -> Any:
        """float32 (3, side, side) as the network sees it."""
        import torch

        from smalti.tokenizers.image.pixels import to_float

        rows, cols = (slice(place * self.side, (place + 1) * self.side) for place in (row, col))
        pixels = to_float(image.pixels[rows, cols])[None]
        fitted = self._fitted(image.height, image.width)
        if fitted != (image.height, image.width):
            pixels = torch.nn.functional.interpolate(pixels, fitted, mode="bicubic").clamp(-1, 1)
        missing = (0, self.side - pixels.shape[3], 0, self.side - pixels.shape[2])
        return to_input(torch.nn.functional.pad(pixels, missing, mode="replicate")[0], self.config)
