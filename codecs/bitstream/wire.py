"""Bytes with bounds: a cursor that never reads past its end, variable-length integers, the header, one chunk."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from smalti.tokenizers.errors import BitstreamError

MAGIC = b"\x89SMT"
MAJOR, MINOR = 1, 0
MAX_PAYLOAD = 1 << 24
MAX_CHUNKS = 1 << 20
END, STREAM, TOKENS, SIDE, SET, ITEMS, FILE = 0, 1, 2, 3, 4, 5, 6
SKIPPABLE = 0x80
_OTHERS = {b"\xff\xd8\xff": "a JPEG", b"\x89PNG": "a PNG", b"GIF8": "a GIF", b"RIFF": "a WebP or WAV", b"fLaC": "a FLAC", b"OggS": "an Ogg"}
ARCHIVE = 0x20  # flags byte of a file of many signals


class Cursor:
    """Reads forward through bytes; every read raises BitstreamError rather than pass the end."""

    def __init__(self, data: bytes, what: str, place: int = 0) -> None:
        self.data, self.what, self.place = data, what, place

    @property
    def left(self) -> int:
        return len(self.data) - self.place

    def skip(self, count: int) -> None:
        if count > self.left:
            raise BitstreamError(f"{self.what} ends too early: {count} bytes wanted at {self.place}, {self.left} left")
        self.place += count

    def take(self, count: int) -> bytes:
        self.skip(count)
        return self.data[self.place - count : self.place]

    def byte(self, most: int = 255) -> int:
        value = self.take(1)[0]
        if value > most:
            raise BitstreamError(f"{self.what}: byte {self.place - 1} is {value}, at most {most} is known to version {MAJOR}.{MINOR}")
        return value

    def uvarint(self, most: int) -> int:
        """LEB128 in its shortest form, at most five bytes, value at most `most` (< 2^32)."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise BitstreamError(f"{self.what}: a number at {self.place} is longer than it needs to be")
                if value > most:
                    raise BitstreamError(f"{self.what}: found {value}, the limit is {most}")
                return value
        raise BitstreamError(f"{self.what}: a number at {self.place} has no end")

    def text(self, most: int) -> str:
        """A length byte and that many bytes of UTF-8, printable on one line: names are shown to people."""
        try:
            text = self.take(self.byte(most)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BitstreamError(f"{self.what}: a name is no UTF-8") from error
        if not text.isprintable():
            raise BitstreamError(f"{self.what}: the name {text!a} has characters that are not printable")
        return text

    def close(self) -> None:
        if self.left:
            raise BitstreamError(f"{self.what} has {self.left} bytes too many")


def uvarint(value: int) -> bytes:
    """LEB128, shortest form, of 0 <= value < 2^32."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def crc(data: bytes, seed: int = 0) -> int:
    return zlib.crc32(data, seed)


def check_header(data: bytes) -> tuple[tuple[int, int], int]:
    """((major, minor), flags byte) of the first six bytes; raises BitstreamError for what is no .smt file or a later major version."""
    if not data:
        raise BitstreamError("empty (0 bytes), expected a .smt file; get the file again")
    if data[:4] != MAGIC:
        what = next(
            (f": {kind}, of which `smalti tokenize` makes a .smt file" for start, kind in _OTHERS.items() if data.startswith(start)), ""
        )
        raise BitstreamError(f"no .smt file: it starts with {data[:4].hex(' ')}, expected {MAGIC.hex(' ')}{what}")
    if len(data) < 6:
        raise BitstreamError(f"a .smt file of only {len(data)} bytes")
    major, minor = data[4] >> 4, data[4] & 15
    if major != MAJOR:
        raise BitstreamError(f"a .smt file of version {major}.{minor}; this release reads version {MAJOR}.x: install a later release")
    return (major, minor), data[5]


@dataclass(frozen=True)
class Chunk:
    """One chunk of a file: its type byte, where it starts and ends (CRC included), its payload, its CRC."""

    type: int
    start: int
    end: int
    payload: bytes
    crc: int


def chunk(kind: int, payload: bytes, seed: int) -> bytes:
    """Type, length, payload, CRC-32 of these seeded with `seed`."""
    body = bytes([kind]) + uvarint(len(payload)) + payload
    return body + crc(body, seed).to_bytes(4, "little")


def read_chunk(data: bytes, place: int, seed: int) -> Chunk:
    """The chunk at `place`; raises BitstreamError where its bounds or its CRC are wrong."""
    cursor = Cursor(data, f"the chunk at {place}", place)
    kind = cursor.byte()
    if kind & 0x40:
        raise BitstreamError(f"the chunk at {place} has the reserved type {kind:#04x}")
    length = cursor.uvarint(MAX_PAYLOAD)
    payload = cursor.take(length)
    stored = int.from_bytes(cursor.take(4), "little")
    if crc(data[place : cursor.place - 4], seed) != stored:
        raise BitstreamError(f"the chunk at {place} is damaged: its CRC-32 does not match")
    return Chunk(kind, place, cursor.place, payload, stored)
