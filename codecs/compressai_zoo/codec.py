"""`compressai-mbt2018-mean` and so on: the learned codecs that papers compare with, by CompressAI's networks and its entropy coder.

One checkpoint is one rate, and its quality is the number in its file's name; those of one architecture and one training metric are a
ladder. Mean squared error goes without saying, `compressai-mbt2018-mean-ms-ssim` are those for MS-SSIM. `weights.py` says where files lie.

Sources: Ballé et al., arXiv 1802.01436 (`bmshj2018-*`); Minnen et al., arXiv 1809.02736 (`mbt2018*`); Cheng et al., arXiv 2001.01568
(`cheng2020-*`). Scales are told in floats, so a file may come back wrong on another machine or with another release of PyTorch: these are
codecs to compare with, on one machine. `container.py` has the file, which counts every byte; the publisher's own numbers count the strings
alone. Runs on the CPU; `mbt2018` and `cheng2020-*` decode pixel by pixel of their latents, some ten seconds for a photo of .4 megapixels.
"""

from __future__ import annotations

from functools import cached_property, partial
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smalti.codecs.classical.search import best_quality
from smalti.codecs.classical.still import picture_of, room_of
from smalti.codecs.compressai_zoo import weights
from smalti.codecs.compressai_zoo.container import DIGEST, MAX_PIXELS, NAMES, File, grid_of, layout_of, pack, padding, unpack
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Array, Image, Signal

FINE = 16  # pixels between latents, in all architectures


class Zoo:
    """`contracts.Codec` of pictures. name: one of `container.NAMES`. files: quality to checkpoint, read when first used."""

    family = "learned"

    def __init__(self, name: str, files: dict[int, Path]) -> None:
        self.model, self.files, self.layout = name, files, layout_of(name)
        self.name = f"compressai-{name}"
        self._networks: dict[int, weights.Network] = {}

    @property
    def ladder(self) -> list[tuple[str, Target]]:
        """Every rate that is at hand."""
        return [(f"q{quality}", Target(quality=quality)) for quality in self.files]

    @cached_property
    def version(self) -> str:
        """Of the weights, and of what runs them."""
        found = weights.fingerprint_of_files(self.files)
        return f"weights {found[:12]}, compressai {metadata.version('compressai')}, torch {torch.__version__}"

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file of that quality, or of the best that fits; the best of all without a target. UsageError where nothing fits or no
        checkpoint of that quality is there, SignalError for pictures of more than 2^23 pixels."""
        picture = picture_of(signal)
        if picture.height * picture.width > MAX_PIXELS:
            raise SignalError(f"{self.name} takes {MAX_PIXELS} pixels at most, found {picture.width} x {picture.height}; scale it first")
        room = room_of(target, picture)
        quality = max(self.files) if target.quality is None else target.quality
        if quality not in self.files:
            raise UsageError(f"{self.name}: quality {quality:g}, there are checkpoints of {', '.join(map(str, self.files))}")
        if room is None:
            return self._file(picture, int(quality))
        qualities, made = list(self.files), {}

        def size(place: int) -> int:
            if place not in made:
                made[place] = self._file(picture, qualities[place])
            return len(made[place])

        return made[best_quality(size, range(len(qualities)), room)]

    @torch.no_grad()
    def decompress(self, data: bytes) -> Signal:
        """The picture; raises BitstreamError for damage and for other files, ModelError for a file of other weights."""
        file = unpack(data)
        if file.name != self.model:
            raise BitstreamError(f"a file of compressai-{file.name}, not of {self.name}; decode it with the codec that wrote it")
        if file.quality not in self.files:
            raise ModelError(
                f"file of {self.name}: written at quality {file.quality}, whose checkpoint is not there; add it to {weights.folder()}"
            )
        network = self._network(file.quality)
        if file.digest != network.digest[:DIGEST]:
            found = network.digest[:DIGEST].hex()
            raise ModelError(f"file of {self.name}: written with weights {file.digest.hex()}, these are {found}; use those")
        strings = [
            [string + bytes(padding(string, symbols))] for string, symbols in zip(file.strings, self._symbols(file, network), strict=True)
        ]
        pixels = network.module.decompress(strings, file.grid)["x_hat"][0, :, : file.height, : file.width]
        return Image(_eight_bits(pixels))

    def payload_bytes(self, data: bytes) -> int:
        """Bytes of the strings of a file."""
        return sum(map(len, unpack(data).strings))

    def _symbols(self, file: File, network: weights.Network) -> list[int]:
        """Of each string, in the order of the strings."""
        rows, columns = file.grid
        coarse, more = rows * columns, (self.layout.stride // FINE) ** 2
        return [coarse * more * network.module.M, coarse * network.module.N][: self.layout.strings]

    @torch.no_grad()
    def _file(self, picture: Image, quality: int) -> bytes:
        network, stride = self._network(quality), self.layout.stride
        edges = ((0, -picture.height % stride), (0, -picture.width % stride), (0, 0))
        whole = torch.from_numpy(np.pad(picture.eight_bits, edges, mode="edge")).permute(2, 0, 1)[None]
        found = network.module.compress(whole.float() / 255)
        grid = grid_of(picture.height, picture.width, stride)
        if tuple(found["shape"]) != grid or len(found["strings"]) != self.layout.strings:
            raise ModelError(f"{self.name}: compressai gave latents of {tuple(found['shape'])}, expected {grid}; install compressai 1.2.8")
        strings = tuple(string for (string,) in found["strings"])
        return pack(File(self.model, quality, network.digest[:DIGEST], picture.height, picture.width, grid, strings))

    def _network(self, quality: int) -> weights.Network:
        if quality not in self._networks:
            self._networks[quality] = weights.network_of(self.model, self.files[quality])
        return self._networks[quality]


def _eight_bits(pixels: Tensor) -> Array:
    """(3, H, W) of 0 to 1 -> uint8 (H, W, 3)."""
    return (torch.nan_to_num(pixels) * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def load(name: str, folder: Path | None = None) -> Zoo:
    """The codec of a model's checkpoints in a folder, that of `weights.folder` by default; ModelError where there are none."""
    if name not in NAMES:
        raise UsageError(f"no model {name!r} in CompressAI's zoo; known: {', '.join(NAMES)}")
    weights.require()
    return Zoo(name, weights.checkpoints(name, folder or weights.folder()))


bmshj2018_factorized = partial(load, "bmshj2018-factorized")
bmshj2018_factorized_ms_ssim = partial(load, "bmshj2018-factorized-ms-ssim")
bmshj2018_hyperprior = partial(load, "bmshj2018-hyperprior")
bmshj2018_hyperprior_ms_ssim = partial(load, "bmshj2018-hyperprior-ms-ssim")
mbt2018_mean = partial(load, "mbt2018-mean")
mbt2018_mean_ms_ssim = partial(load, "mbt2018-mean-ms-ssim")
mbt2018 = partial(load, "mbt2018")
mbt2018_ms_ssim = partial(load, "mbt2018-ms-ssim")
cheng2020_anchor = partial(load, "cheng2020-anchor")
cheng2020_anchor_ms_ssim = partial(load, "cheng2020-anchor-ms-ssim")
cheng2020_attn = partial(load, "cheng2020-attn")
cheng2020_attn_ms_ssim = partial(load, "cheng2020-attn-ms-ssim")
