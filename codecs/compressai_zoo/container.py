"""The file of a learned codec of CompressAI's zoo: enough that no other weights, and no damaged byte, ever reach its entropy decoder.

    "Z", length and characters of the model's name, quality (one byte), 4 bytes that name the weights, height, width, rows and columns of
    the coarsest latents, bytes of each string (all LEB128), the strings, CRC-32 of all before

CompressAI's decoder is told no length and reads on beyond a string that is too short; so lengths are checked here, and `Layout.padding`
says how many zeros behind a string keep it within memory of ours.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from smalti.codecs.bitstream.wire import Cursor, uvarint
from smalti.tokenizers.errors import BitstreamError
from smalti.tokenizers.signals import MAX_SIDE

LETTER = b"Z"
MAX_PIXELS = 1 << 23  # of a picture: networks see it whole, and take up to 500 bytes a pixel
DIGEST = 4  # bytes of the weights' fingerprint
MOST_QUALITY = 99
STATE = 8  # bytes that every string of its coder begins with; all are whole words of 4
SHORTEST = len(LETTER) + 1 + 1 + DIGEST + 2 + 2 + 4


@dataclass(frozen=True)
class Layout:
    """Of an architecture. network: its class in compressai.models. stride: pixels between the coarsest latents, which pictures are
    extended to multiples of. strings: how many a picture makes."""

    network: str
    stride: int
    strings: int


LAYOUTS = {
    "bmshj2018-factorized": Layout("FactorizedPrior", 16, 1),
    "bmshj2018-hyperprior": Layout("ScaleHyperprior", 64, 2),
    "mbt2018-mean": Layout("MeanScaleHyperprior", 64, 2),
    "mbt2018": Layout("JointAutoregressiveHierarchicalPriors", 64, 2),
    "cheng2020-anchor": Layout("Cheng2020Anchor", 64, 2),
    "cheng2020-attn": Layout("Cheng2020Attention", 64, 2),
}
METRICS = ("", "-ms-ssim")  # what was trained for; mean squared error goes without saying
NAMES = tuple(f"{architecture}{metric}" for architecture in LAYOUTS for metric in METRICS)


@dataclass(frozen=True)
class File:
    """name: one of `NAMES`. digest: of the weights, 4 bytes. grid: rows and columns of the coarsest latents."""

    name: str
    quality: int
    digest: bytes
    height: int
    width: int
    grid: tuple[int, int]
    strings: tuple[bytes, ...]


def layout_of(name: str) -> Layout:
    return LAYOUTS[name.removesuffix(METRICS[1])]


def grid_of(height: int, width: int, stride: int) -> tuple[int, int]:
    """Rows and columns of the coarsest latents of a picture."""
    return -(-height // stride), -(-width // stride)


def pack(file: File) -> bytes:
    """The bytes of a file."""
    name = file.name.encode()
    start = LETTER + bytes([len(name)]) + name + bytes([file.quality]) + file.digest
    numbers = (file.height, file.width, *file.grid, *map(len, file.strings))
    data = start + b"".join(map(uvarint, numbers)) + b"".join(file.strings)
    return data + zlib.crc32(data).to_bytes(4, "little")


def unpack(data: bytes) -> File:
    """Raises BitstreamError for damage, for files of other codecs and for numbers that no encoder writes."""
    if data[:1] != LETTER or len(data) < SHORTEST:
        raise BitstreamError(f"no file of CompressAI's zoo (begins {data[:4]!r}); decode it with the codec that wrote it")
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise BitstreamError("file of CompressAI's zoo: damaged (its checksum differs), expected a whole one; get it again")
    cursor = Cursor(data[:-4], "file of CompressAI's zoo", 1)
    name = cursor.text(max(map(len, NAMES)))
    if name not in NAMES:
        raise BitstreamError(f"file of CompressAI's zoo: model {name!r} is not known here; known: {', '.join(NAMES)}")
    layout = layout_of(name)
    quality, digest = cursor.byte(MOST_QUALITY), cursor.take(DIGEST)
    height, width = cursor.uvarint(MAX_SIDE), cursor.uvarint(MAX_SIDE)
    if not 0 < height * width <= MAX_PIXELS:
        raise BitstreamError(
            f"file of {name}: {width} x {height} pixels, expected 1 to {MAX_PIXELS}; the file is forged or of another release"
        )
    grid = (cursor.uvarint(MAX_SIDE), cursor.uvarint(MAX_SIDE))
    if grid != grid_of(height, width, layout.stride):
        raise BitstreamError(
            f"file of {name}: latents of {grid} for {width} x {height} pixels, expected {grid_of(height, width, layout.stride)}"
        )
    lengths = [cursor.uvarint(len(data)) for _ in range(layout.strings)]
    wrong = next((length for length in lengths if length < STATE or length % 4), None)
    if wrong is not None:
        raise BitstreamError(f"file of {name}: a string of {wrong} bytes, expected a multiple of 4 from {STATE} on; the file is forged")
    strings = tuple(cursor.take(length) for length in lengths)
    cursor.close()
    return File(name, quality, digest, height, width, grid, strings)


def padding(string: bytes, symbols: int) -> int:
    """Zeros to put behind a string that `symbols` are decoded from, so that no decoder of it reads beyond.

    It takes at most one word of 4 bytes for a symbol, and one for each group of 4 bits of those that its tables do not hold. A string can
    ask for up to 15 such groups with 4 bits of its own; behind its end come zeros, which ask for few: 16 bytes a symbol leave room.
    """
    return 128 * len(string) + 16 * symbols + 64
