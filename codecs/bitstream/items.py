"""Compact items: many small signals that share one parameter set, five or six bytes beside the payload of each.

A shard of 256 x 256 pictures has some 300 bytes of tokens in each; the solo form would spend another 28 on every one.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from dataclasses import dataclass, replace

from smalti.codecs.bitstream.solo import Solo
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
from smalti.codecs.bitstream.wire import MAJOR, MINOR, Cursor, uvarint
from smalti.tokenizers.errors import BitstreamError
from smalti.tokenizers.tokens import MAX_STAGES

MAX_ITEM = (1 << 14) - 1  # bytes of one compact item: its length then takes at most two
MAX_HELD = 256  # compact items of one chunk
MAX_ITEMS = 1 << 24
MAX_KEY = 255
HEAD_ROOM = 1 + 4 + 2 + 2 * MAX_HELD + 2  # bytes that the head of an ITEMS chunk takes at most
_OWN_SIZE, _KEYED, _OWN_STAGES = 8, 16, 32


@dataclass(frozen=True)
class ParameterSet:
    """What many items have in common. own_size: each item has its own signal size and notes; keyed: each has a name; own_stages: each has
    its own number of stages, and `info.stages` is the most that one has.
    """

    info: StreamInfo
    own_size: bool
    keyed: bool
    own_stages: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Head:
    """The head of an ITEMS chunk: its set, the number of its first item, the lengths of all, and how many bytes it takes itself."""

    set: int
    first: int
    lengths: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Compact:
    """One item taken apart. key: "" without one. size_bytes: of its own signal size and notes."""

    key: str
    content: Solo
    size_bytes: int


def write_set(common: ParameterSet, mark: bytes) -> bytes:
    """The payload of a SET chunk."""
    info = common.info
    head = MODALITIES.index(info.modality) | _OWN_SIZE * common.own_size | _KEYED * common.keyed | _OWN_STAGES * common.own_stages
    return (
        bytes([head])
        + info.fingerprint
        + info.prior_id
        + bytes([info.stages - 1])
        + mark
        + (b"" if common.own_size else write_size(info))
        + (write_layout(info.layout) if info.layout is not None else b"")
        + write_fields(info.fields)
    )


def read_set(payload: bytes, seed: int) -> ParameterSet:
    """What a SET chunk says; seed: its CRC-32."""
    cursor = Cursor(payload, "a SET chunk")
    head = cursor.byte(63)
    if head & 7 >= len(MODALITIES):
        raise BitstreamError(f"a SET chunk of modality {head & 7}")
    modality, own_size = MODALITIES[head & 7], bool(head & _OWN_SIZE)
    fingerprint, prior_id = cursor.take(6), cursor.take(4)
    stages = cursor.byte(MAX_STAGES - 1) + 1
    cursor.skip(4)
    signal, notes = ((), 0) if own_size else read_size(cursor, modality)
    layout = read_layout(cursor) if modality == "raw" else None
    fields = read_fields(cursor.take(cursor.left))
    info = check_raw(StreamInfo(modality, fingerprint, prior_id, stages, signal, notes, layout, fields))
    info = replace(info, signal=layout.signal) if layout is not None else info
    return ParameterSet(info, own_size, bool(head & _KEYED), bool(head & _OWN_STAGES), seed)


def write_item(common: ParameterSet, info: StreamInfo, key: str, digest: str, payload: bytes) -> bytes:
    """One item without its CRC-16."""
    name = key.encode("utf-8") if common.keyed else b""
    head = (bytes([len(name)]) + name if common.keyed else b"") + (bytes([info.stages - 1]) if common.own_stages else b"")
    return head + (write_size(info) if common.own_size else b"") + bytes.fromhex(digest[:2]) + payload


def write_items(number: int, common: ParameterSet, first: int, items: Sequence[bytes]) -> bytes:
    """The payload of an ITEMS chunk; number: of the set."""
    head = bytes([number]) + uvarint(first) + uvarint(len(items)) + b"".join(uvarint(len(item)) for item in items)
    out = head + crc16(head, common.seed)
    return out + b"".join(item + _item_crc(item, common.seed, first + i) for i, item in enumerate(items))


def read_head(data: bytes, sets: Sequence[ParameterSet]) -> Head:
    """The head of an ITEMS chunk at the start of its payload `data`, which may be cut after HEAD_ROOM bytes."""
    cursor = Cursor(data, "an ITEMS chunk")
    number = cursor.byte(len(sets) - 1)
    first, count = cursor.uvarint(MAX_ITEMS - 1), cursor.uvarint(MAX_HELD)
    lengths = tuple(cursor.uvarint(MAX_ITEM) for _ in range(count))
    end = cursor.place
    if cursor.take(2) != crc16(data[:end], sets[number].seed):
        raise BitstreamError("the head of an ITEMS chunk is damaged: its CRC-16 does not match")
    if not lengths or first + count > MAX_ITEMS:
        raise BitstreamError(f"an ITEMS chunk with {count} items from {first} on")
    return Head(number, first, lengths, cursor.place)


def read_item(data: bytes, common: ParameterSet, number: int) -> Compact:
    """Item `number` from its bytes, CRC-16 included."""
    body = data[:-2]
    if data[-2:] != _item_crc(body, common.seed, number):
        raise BitstreamError("damaged, its CRC-16 does not match")
    cursor = Cursor(body, "the item")
    key = cursor.text(MAX_KEY) if common.keyed else ""
    info = common.info if not common.own_stages else replace(common.info, stages=cursor.byte(common.info.stages - 1) + 1)
    before = cursor.place
    if common.own_size:
        signal, notes = read_size(cursor, info.modality)
        info = replace(info, signal=signal if info.layout is None else info.signal, notes=notes)
    size_bytes = cursor.place - before
    digest = cursor.take(1)
    return Compact(key, Solo((MAJOR, MINOR), info, digest, cursor.take(cursor.left), 0, 0, 0), size_bytes)


def _item_crc(body: bytes, seed: int, number: int) -> bytes:
    return crc16(number.to_bytes(4, "little") + body, seed)  # with its number: an item is not taken for another


def crc16(data: bytes, seed: int) -> bytes:
    """Of heads and items, started from the CRC-32 of a SET chunk."""
    return crc_hqx(data, seed & 0xFFFF).to_bytes(2, "little")
