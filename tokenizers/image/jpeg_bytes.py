"""`jpeg-bytes`: pictures <-> the entropy-coded bytes of a canonical JPEG, for language models over bytes (JPEG-LM, arXiv 2408.08459).

Tables are those of a fixed quality (JPEG's annex K, scaled as libjpeg does) and stand in no picture; chroma has half the size in both
directions; a restart marker after every so many blocks lets a reader find its place again. Encoded and decoded by Pillow's libjpeg, so that
bytes may differ between builds of it, as codes of a network do between machines; any bytes decode, also those that a model made up.

Tokens are one stage on an axis `byte`, as many as the picture has. Their number is part of the size: `bytes` beside height and width.
Files (.smt) have no place for it, so that these tokens live in prepared folders only.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image as Pil
from PIL import JpegImagePlugin

from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.image.pixels import image_of, picture_size
from smalti.tokenizers.signals import Image, Signal
from smalti.tokenizers.tokens import Layout, Stage, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

Array = np.ndarray
SOF0, SOS, EOI = 0xC0, 0xDA, b"\xff\xd9"
MAX_BYTES = 2**28


@dataclass(frozen=True)
class JpegBytesConfig:
    """quality: libjpeg's, 1..95. restart_blocks: 16 x 16 pixels after which a restart marker stands; 0 for none."""

    kind: ClassVar[str] = "jpeg-bytes"
    quality: int = 25
    restart_blocks: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95 or not 0 <= self.restart_blocks <= 65535:
            raise UsageError(f"quality lies in 1..95 and restart_blocks in 0..65535, found {self.quality} and {self.restart_blocks}")


class JpegBytes:
    """Fulfils `contracts.StoredTokenizer` for `Image` signals; nothing is trained."""

    config_class: Any = JpegBytesConfig

    def __init__(self, config: JpegBytesConfig = JpegBytesConfig(), fingerprint_of: str | None = None, name: str = "jpeg-bytes") -> None:
        self.config = config
        self.name = name
        self.folder: Path | None = None
        self._fingerprint = fingerprint_of

    @classmethod
    def from_config(cls, config: JpegBytesConfig) -> JpegBytes:
        """A tokenizer of that config."""
        return cls(config)

    @classmethod
    def from_tensors(
        cls, config: JpegBytesConfig, tensors: Mapping[str, Array], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> JpegBytes:
        """A tokenizer as stored; ModelError where there are tensors, of which it has none."""
        if tensors:
            raise ModelError(f"{name}: JPEG bytes need no tensors, found {', '.join(sorted(tensors))[:80]}")
        return cls(config, fingerprint_of, name)

    def tensors(self) -> dict[str, Array]:
        """None."""
        return {}

    def parameter_names(self) -> set[str]:
        """None."""
        return set()

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the config."""
        return self._fingerprint or fingerprint(to_dict(self.config), {})

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """For a size of ("height", "width", "bytes"); without bytes, that of none."""
        size = dict(signal)
        count = size.pop("bytes", 0)
        height, width = picture_size(tuple(size.items()), self.name)
        if not 0 <= count <= MAX_BYTES:
            raise UsageError(f"{self.name} has 0..{MAX_BYTES} bytes, found {count}")
        whole = (("height", height), ("width", width), ("bytes", count))
        return Layout((Stage("bytes", (("byte", count),), 256),), (1,), whole)

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """The bytes of each; SignalError for a picture that JPEG cannot hold."""
        return [self._encode(image_of(signal, self.name)) for signal in signals]

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """uint8 pictures. Where bytes are missing or make no sense, blocks are grey."""
        return [self._decode(item) for item in tokens]

    def _encode(self, image: Image) -> Tokens:
        try:
            data = _compressed(Pil.fromarray(np.ascontiguousarray(image.eight_bits)), self.config)
        except (OSError, ValueError) as error:
            raise SignalError(f"{self.name}: JPEG cannot hold {image.width} x {image.height} pixels ({error}); make it smaller") from None
        codes = np.frombuffer(data[scan_start(data) : -len(EOI)], np.uint8).astype(np.int32)
        return Tokens(self.layout((("height", image.height), ("width", image.width), ("bytes", len(codes)))), (codes,))

    def _decode(self, tokens: Tokens) -> Signal:
        tokens.check_prefix_of(self.layout(tokens.layout.signal), self.name)
        tokens.check_unmasked(self.name)
        size = tokens.layout.size
        whole = header(self.config, size["height"], size["width"]) + legal(tokens.arrays[0].astype(np.uint8)) + EOI
        try:
            with JpegImagePlugin.JpegImageFile(io.BytesIO(whole)) as picture:
                return Image(np.asarray(picture.convert("RGB")))
        except (OSError, ValueError, SyntaxError) as error:
            raise SignalError(f"{self.name}: these bytes do not decode ({error})") from None


def _compressed(picture: Pil.Image, config: JpegBytesConfig) -> bytes:
    """A whole JPEG. Pillow writes nothing into it that the picture did not bring."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=config.quality, subsampling=2, optimize=False, progressive=False,
                 restart_marker_blocks=config.restart_blocks)  # fmt: skip
    return buffer.getvalue()


@functools.lru_cache(maxsize=16)
def _template(config: JpegBytesConfig) -> tuple[bytes, int]:
    """(all before the scan of a small picture, where its height stands)."""
    data = _compressed(Pil.new("RGB", (16, 16)), config)
    place = next(at for at, marker in segments(data) if marker == SOF0)
    return data[: scan_start(data)], place + 5


def header(config: JpegBytesConfig, height: int, width: int) -> bytes:
    """All that stands before the scan: tables, the picture's size, the interval of restarts."""
    whole, place = _template(config)
    return whole[:place] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + whole[place + 4 :]


def segments(data: bytes) -> list[tuple[int, int]]:
    """(place, marker) of each segment of a JPEG up to its scan."""
    found: list[tuple[int, int]] = []
    at = 2
    while not found or found[-1][1] != SOS:
        found.append((at, data[at + 1]))
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return found


def scan_start(data: bytes) -> int:
    """Where the entropy-coded bytes of a JPEG begin."""
    at = segments(data)[-1][0]
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def legal(codes: Array) -> bytes:
    """Bytes uint8 (N,) as a scan may have them: after 0xFF stands 0, or a restart marker. What a model wrote else there would end the scan,
    or say that other tables follow."""
    out = codes.copy()
    for place in np.flatnonzero(out == 0xFF).tolist():
        if out[place] != 0xFF:  # changed as the second of a pair
            continue
        if place + 1 == len(out):
            out[place] = 0
        elif out[place + 1] != 0 and not 0xD0 <= out[place + 1] <= 0xD7:
            out[place + 1] = 0
    return out.tobytes()
