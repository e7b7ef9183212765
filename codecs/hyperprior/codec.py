"""`hyperprior`: a small learned codec of pictures as the literature has them (Minnen, Ballé and Toderici 2018: mean, scale, no context).

Transforms of pixels (`network.py`), rounded latents whose means and scales a second, coarser layer of latents foretells (`hyper.py`, in
integers), rANS by stored integer tables (`symbols.py`). One model has all rates: qualities 1 to 100 lie evenly between its stored rates,
and the gains of channels lie between theirs. Trained for mean squared error by `python -m smalti.recipes.train_hyperprior`, see card.md.

File: "H", two bytes that name the weights, quality, height and width (LEB128), bytes of the hyper-latents (LEB128), these, the latents,
CRC-32 of all before. Pictures are extended by their edge to multiples of 64 pixels and cut back. Encoder and decoder run on the CPU.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smalti.codecs.bitstream.wire import Cursor, uvarint
from smalti.codecs.classical.search import best_quality
from smalti.codecs.classical.still import picture_of, room_of
from smalti.codecs.hyperprior import symbols
from smalti.codecs.hyperprior.config import HYPER_STRIDE, PIXELS, SCALES, HyperpriorConfig
from smalti.codecs.hyperprior.hyper import LAYERS, QUALITIES, Foretold, HyperDecoder, nearest_rung
from smalti.codecs.hyperprior.network import Analysis, HyperAnalysis, Synthesis
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import MAX_SIDE, Array, Image, Signal

LETTER = b"H"
MAX_PIXELS = 1 << 25  # of a picture: networks see it whole, and take some 60 bytes a pixel
WEIGHTS = Path(__file__).parent / "1"
# Latents are rounded towards 0 a little, the more the likelier 0 is: bits cost more than the error they save there. On six Kodak photos
# 5.0 % fewer bytes at equal PSNR; the same .05 or .1 everywhere 3.2 and 3.3 %
DEAD_ZONE = 0.2
SCALE_OF = np.array([symbols.scale_of(number) for number in range(SCALES)])
MODULES = ("analysis", "synthesis", "hyper_analysis")


@dataclass(frozen=True, eq=False)
class Parts:
    """What a folder of weights holds. gains: logarithms, float32 (rates, latents). digest: SHA-256 of all."""

    config: HyperpriorConfig
    analysis: Analysis
    synthesis: Synthesis
    hyper_analysis: HyperAnalysis
    hyper_decoder: HyperDecoder
    gains: Tensor
    tables: symbols.Tables
    digest: bytes


@dataclass(frozen=True, eq=False)
class Latents:
    """Of one picture at one quality: hyper-latents and latents as they are coded, and what the former foretell of the latter."""

    hyper: Array
    values: Array
    foretold: Foretold


class Hyperprior:
    """`contracts.Codec` of pictures."""

    name = "hyperprior"
    family = "learned"

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    @property
    def version(self) -> str:
        """Of the weights."""
        return f"hyperprior weights {self.parts.digest.hex()[:12]}, torch {torch.__version__}"

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file of that quality, a whole number, or of the best that fits; the best of all without a target. UsageError where nothing
        fits, SignalError for pictures of more than 2^25 pixels."""
        picture = picture_of(signal)
        if picture.height * picture.width > MAX_PIXELS:
            raise SignalError(f"{self.name} takes {MAX_PIXELS} pixels at most, found {picture.width} x {picture.height}; scale it first")
        room = room_of(target, picture)
        quality = QUALITIES[-1] if target.quality is None else target.quality
        if quality not in QUALITIES:
            raise UsageError(f"{self.name}: quality {quality:g}, expected a whole number of {QUALITIES[0]} to {QUALITIES[-1]}")
        y = self.analysed(picture.eight_bits)
        if room is None:
            return self._file(picture, y, int(quality))
        files: dict[int, bytes] = {}

        def size(quality: int) -> int:
            if quality not in files:
                files[quality] = self._file(picture, y, quality)
            return len(files[quality])

        return files[best_quality(size, QUALITIES, room)]

    def decompress(self, data: bytes) -> Signal:
        """The picture; raises BitstreamError for damage and for other files, ModelError for a file of other weights."""
        head, cursor = self._read(data)
        height, width, quality = head
        grid = (-(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE), self.parts.config.hyper)
        rung = nearest_rung(quality, self.parts.config.rates)
        hyper = symbols.decode_hyper(cursor.take(cursor.uvarint(len(data))), grid, self.parts.tables.hyper[rung])
        foretold = self.parts.hyper_decoder(hyper, quality)
        values = symbols.decode_latents(cursor.take(cursor.left), foretold.tables, self.parts.tables)
        return Image(self._synthesised(values + foretold.means, quality)[:height, :width])

    def payload_bytes(self, data: bytes) -> int:
        """Bytes of both streams of a file."""
        cursor = self._read(data)[1]
        cursor.uvarint(len(data))
        return cursor.left

    @torch.no_grad()
    def analysed(self, pixels: Array) -> Tensor:
        """uint8 (H, W, 3): latents before gains, (1, h, w, latents), h and w multiples of 4."""
        edges = ((0, -pixels.shape[0] % HYPER_STRIDE), (0, -pixels.shape[1] % HYPER_STRIDE), (0, 0))
        whole = torch.from_numpy(np.pad(pixels, edges, mode="edge")).float()[None]
        return self.parts.analysis((whole - 127.5) / PIXELS)

    @torch.no_grad()
    def latents(self, y: Tensor, quality: int) -> Latents:
        """What is coded at a quality of what `analysed` gave."""
        gained = y * self._gains(quality)
        z = torch.round(self.parts.hyper_analysis(gained)[0]).clamp(-symbols.HYPER_REACH, symbols.HYPER_REACH)
        hyper = z.numpy().astype(np.int64)
        foretold = self.parts.hyper_decoder(hyper, quality)
        apart = gained[0].double().numpy() - foretold.means
        reached = np.abs(apart) + 0.5 - DEAD_ZONE * np.exp(-SCALE_OF[foretold.tables])
        values = (np.sign(apart) * np.floor(reached)).astype(np.int64)
        return Latents(hyper, symbols.clipped(values, foretold.tables), foretold)

    def _file(self, picture: Image, y: Tensor, quality: int) -> bytes:
        found = self.latents(y, quality)
        rung = nearest_rung(quality, self.parts.config.rates)
        hyper = symbols.encode_hyper(found.hyper, self.parts.tables.hyper[rung])
        body = symbols.encode_latents(found.values, found.foretold.tables, self.parts.tables)
        start = LETTER + self.parts.digest[:2] + bytes([quality]) + uvarint(picture.height) + uvarint(picture.width)
        data = start + uvarint(len(hyper)) + hyper + body
        return data + zlib.crc32(data).to_bytes(4, "little")

    def _read(self, data: bytes) -> tuple[tuple[int, int, int], Cursor]:
        """Height, width and quality; where the hyper-latents' length stands."""
        if data[:1] != LETTER or len(data) < 10:
            raise BitstreamError(f"no file of {self.name} (begins {data[:4]!r}); decode it with the codec that wrote it")
        if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise BitstreamError(f"file of {self.name}: damaged (its checksum differs), expected a whole one; get it again")
        if data[1:3] != self.parts.digest[:2]:
            raise ModelError(
                f"file of {self.name}: written with weights {data[1:3].hex()}, these are {self.parts.digest[:2].hex()}; use those"
            )
        cursor = Cursor(data[:-4], f"file of {self.name}", 3)
        quality, height, width = cursor.byte(), cursor.uvarint(MAX_SIDE), cursor.uvarint(MAX_SIDE)
        if quality not in QUALITIES or not 0 < height * width <= MAX_PIXELS:
            raise BitstreamError(
                f"file of {self.name}: {width} x {height} pixels at quality {quality}, expected up to {MAX_PIXELS} at {QUALITIES[0]} to 100"
            )
        return (height, width, quality), cursor

    @torch.no_grad()
    def _synthesised(self, latents: Array, quality: int) -> Array:
        y = torch.from_numpy(latents).float()[None] / self._gains(quality)
        pixels = self.parts.synthesis(y)[0] * PIXELS + 127.5
        return pixels.round().clamp(0, 255).to(torch.uint8).numpy()

    def _gains(self, quality: int) -> Tensor:
        place = (quality - QUALITIES[0]) * (self.parts.config.rates - 1) / (QUALITIES[-1] - QUALITIES[0])
        rung = min(int(place), self.parts.config.rates - 2)
        return torch.lerp(self.parts.gains[rung], self.parts.gains[rung + 1], place - rung).exp()


@lru_cache(maxsize=2)
def load(folder: Path = WEIGHTS) -> Hyperprior:
    """The codec of a folder with config.json and model.safetensors, the shipped one by default; ModelError where it is none."""
    return Hyperprior(parts_of(folder))


def parts_of(folder: Path) -> Parts:
    """As `load`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as tensors_of

    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = tensors_of((folder / "model.safetensors").read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{folder}: no weights of a hyperprior ({error}); make them: python -m smalti.recipes.train_hyperprior") from None
    try:
        pairs: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
        return made(HyperpriorConfig(**pairs), tensors)
    except (TypeError, KeyError, UsageError) as error:
        raise ModelError(f"{folder}: not the weights of a hyperprior ({error}); restore the folder") from None


def made(config: HyperpriorConfig, tensors: dict[str, Any]) -> Parts:
    """From NumPy tensors by name; ModelError where they do not fit."""
    modules: dict[str, nn.Module] = {"analysis": Analysis(config), "synthesis": Synthesis(config), "hyper_analysis": HyperAnalysis(config)}
    for name, module in modules.items():
        own = {
            key.removeprefix(f"{name}."): torch.from_numpy(value).float() for key, value in tensors.items() if key.startswith(f"{name}.")
        }
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            raise ModelError(f"hyperprior: {name} does not fit ({str(error).splitlines()[-1].strip()}); restore its folder") from None
        module.eval().requires_grad_(False)
    gains = torch.from_numpy(tensors["gains"]).float()
    if gains.shape != (config.rates, config.latents):
        raise ModelError(f"hyperprior: gains are {tuple(gains.shape)}, expected {(config.rates, config.latents)}; restore its folder")
    weights, biases = ({name: tensors[f"hyper.{name}.{part}"] for name in LAYERS} for part in ("weight", "bias"))
    hyper_decoder = HyperDecoder(config, weights, biases, tensors["hyper.levels"])
    tables = symbols.Tables.of_arrays(tensors["tables.latents"], tensors["tables.hyper"])
    if (len(tables.hyper), len(tables.hyper[0])) != (config.rates, config.hyper):
        raise ModelError(f"hyperprior: tables for {len(tables.hyper)} rates, expected {config.rates}; restore its folder")
    sha = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(tensors[name])
        sha.update(f"{name} {value.dtype} {value.shape}".encode() + value.astype(value.dtype.newbyteorder("<")).tobytes())
    found: dict[str, Any] = modules
    return Parts(config, **found, hyper_decoder=hyper_decoder, gains=gains, tables=tables, digest=sha.digest())
