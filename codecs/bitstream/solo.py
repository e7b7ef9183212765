"""The solo form: one small signal, its stages in one coder stream, one CRC-32 at the end. At most 32 bytes beside the payload."""

from __future__ import annotations

from dataclasses import dataclass, replace

from smalti.codecs.bitstream.streams import (
    MODALITIES,
    StreamInfo,
    check_raw,
    read_fields,
    read_layout,
    read_size,
    write_fields,
    write_layout,
    write_size,
)
from smalti.codecs.bitstream.wire import MAGIC, MAJOR, MINOR, Cursor, check_header, crc, uvarint
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import MAX_STAGES, Tokens

SOLO, SIDE_FIELDS = 8, 16
MAX_PAYLOAD = 65536
MAX_HEADER = 24  # with the 4 bytes of token hash and 4 of CRC: 32
MAX_SHAPE_HEADER = 56  # where a shape lies and how large it is, is content, and its numbers have no usual size
_MAX_BLOCK = 1 << 21  # of a layout or of side fields


@dataclass(frozen=True)
class Solo:
    """A solo file taken apart: the stream, the token hash, the coder payload, and how many bytes the parts take."""

    version: tuple[int, int]
    info: StreamInfo
    hash: bytes
    payload: bytes
    header_bytes: int
    side_bytes: int
    layout_bytes: int


def write_solo(tokens: Tokens, prior: Prior, info: StreamInfo) -> bytes:
    """The solo file of tokens; raises UsageError where they want the chunked form."""
    info = replace(info, stages=len(tokens.arrays)).checked()
    if len(_header(info)) > _most(info.modality):
        raise UsageError("this signal's size does not fit the solo form; write it chunked")
    payload = prior.encode(tokens)
    if len(payload) > MAX_PAYLOAD:
        raise UsageError(f"{len(payload)} bytes of payload do not fit the solo form ({MAX_PAYLOAD}); write it chunked")
    return assemble_solo(info, bytes.fromhex(tokens.digest()[:8]), payload)


def assemble_solo(info: StreamInfo, digest: bytes, payload: bytes) -> bytes:
    """The solo file of a payload that is there already; digest: the first 4 bytes of the tokens'."""
    blocks = b""
    if info.layout is not None:
        layout = write_layout(info.layout)
        blocks += uvarint(len(layout)) + layout
    if info.fields:
        fields = write_fields(info.fields)
        blocks += uvarint(len(fields)) + fields
    body = _header(info) + blocks + digest + payload
    return body + crc(body).to_bytes(4, "little")


def read_solo(data: bytes) -> Solo:
    """A solo file taken apart and checked, without decoding its tokens; raises BitstreamError."""
    version, flags = check_header(data)
    if flags & 0xE0 or flags & 7 >= len(MODALITIES) or not flags & SOLO:
        raise BitstreamError(f"the flags byte {flags:#04x} is none of version {MAJOR}.{MINOR}")
    if len(data) < 10 or crc(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise BitstreamError(
            f"the file is damaged or cut short: the CRC-32 at the end of its {len(data)} bytes does not match; "
            "a file in this short form stands or falls as a whole, get it again"
        )
    cursor = Cursor(data[:-4], "a solo file", 6)
    modality = MODALITIES[flags & 7]
    fingerprint, prior_id = cursor.take(6), cursor.take(4)
    stages = cursor.byte(MAX_STAGES - 1) + 1
    signal, notes = read_size(cursor, modality)
    header_bytes = cursor.place
    if header_bytes > _most(modality):
        raise BitstreamError(f"the header of a solo file has at most {_most(modality)} bytes, found {header_bytes}")
    layout = None
    if modality == "raw":
        block = Cursor(cursor.take(cursor.uvarint(_MAX_BLOCK)), "the layout")
        layout = read_layout(block)
        block.close()
        signal = layout.signal
    layout_bytes = cursor.place - header_bytes
    fields = read_fields(_some(cursor)) if flags & SIDE_FIELDS else ()
    side_bytes = cursor.place - header_bytes - layout_bytes
    digest = cursor.take(4)
    if cursor.left > MAX_PAYLOAD:
        raise BitstreamError(f"the payload of a solo file has at most {MAX_PAYLOAD} bytes, found {cursor.left}")
    payload = cursor.take(cursor.left)
    info = check_raw(StreamInfo(modality, fingerprint, prior_id, stages, signal, notes, layout, fields))
    return Solo(version, info, digest, payload, header_bytes, side_bytes, layout_bytes)


def _most(modality: str) -> int:
    return MAX_SHAPE_HEADER if modality == "shape" else MAX_HEADER


def _header(info: StreamInfo) -> bytes:
    flags = MODALITIES.index(info.modality) | SOLO | (SIDE_FIELDS if info.fields else 0)
    start = MAGIC + bytes([MAJOR << 4 | MINOR, flags])
    return start + info.fingerprint + info.prior_id + bytes([info.stages - 1]) + write_size(info)


def _some(cursor: Cursor) -> bytes:
    data = cursor.take(cursor.uvarint(_MAX_BLOCK))
    if not data:
        raise BitstreamError("side fields are announced and there are none")
    return data
