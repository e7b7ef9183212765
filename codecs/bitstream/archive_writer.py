"""Writing many signals into one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from smalti.codecs.bitstream.archive import HEADER, MAX_SETS, end_chunk, write_file
from smalti.codecs.bitstream.file import parse, write
from smalti.codecs.bitstream.items import MAX_HELD, MAX_ITEM, MAX_ITEMS, MAX_KEY, ParameterSet, write_item, write_items, write_set
from smalti.codecs.bitstream.solo import Solo
from smalti.codecs.bitstream.streams import StreamInfo
from smalti.codecs.bitstream.wire import FILE, ITEMS, MAX_CHUNKS, MAX_PAYLOAD, SET, chunk, crc
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import Tokens

_CHUNK_BYTES = 1 << 15  # of an ITEMS chunk, about: what one damaged head can take along


@dataclass(frozen=True)
class Item:
    """One signal to be written. key: a name of at most 255 bytes of UTF-8, or "" where the number will do."""

    tokens: Tokens
    prior: Prior
    info: StreamInfo
    key: str = ""


@dataclass(frozen=True)
class Whole:
    """A solo or chunked file. A small solo one becomes a compact item, as its tokens would, without decoding them; others are written as
    they are. key: as of an Item.
    """

    data: bytes
    key: str = ""


@dataclass(frozen=True)
class Compacted:
    """A compact item of another archive, which stays one. key: as of an Item."""

    content: Solo
    key: str = ""


def write_archive(items: Sequence[Item | Whole | Compacted], unknown: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """The archive of these items, in this order; raises UsageError for what it cannot hold.

    unknown: (type, payload) of skippable chunks that come along from another archive.
    """
    if not 1 <= len(items) <= MAX_ITEMS:
        raise UsageError(f"an archive has 1..{MAX_ITEMS} items, found {len(items)}")
    for item in items:
        if not item.key.isprintable() or len(item.key.encode("utf-8")) > MAX_KEY:  # in this order: a lone surrogate has no UTF-8
            raise UsageError(f"keys are printable and have at most {MAX_KEY} bytes, found {item.key!r}")
    keyed = any(item.key for item in items)
    coded = [_coded(item) for item in items]
    families = _families(coded, keyed)
    out = bytearray(HEADER)
    seed = crc(HEADER)
    mark = crc(b"".join(item.payload for item in coded[:16] if item.payload is not None)).to_bytes(4, "little")
    sets: list[ParameterSet] = []
    for common in families.values():
        made = chunk(SET, write_set(common, mark), seed)
        stored = int.from_bytes(made[-4:], "little")
        seed = stored if not sets else seed
        sets.append(replace(common, seed=stored))
        out += made
    for kind, content in unknown:
        out += chunk(kind, content, seed)
    numbers = {family: i for i, family in enumerate(families)}
    places: list[tuple[int, int]] = []
    held: list[bytes] = []
    current = first = room = 0

    def flush() -> None:
        if held:
            places.append((len(out), len(held)))
            out.extend(chunk(ITEMS, write_items(current, sets[current], first, held), seed))
            held.clear()

    for i, (item, own) in enumerate(zip(items, coded, strict=True)):
        number = numbers.get(_family(own.info)) if own.payload is not None else None
        if own.payload is None or number is None:
            assert not isinstance(item, Compacted)
            flush()
            places.append((len(out), 1))
            out += _file_chunk(i, item, seed)
            continue
        body = write_item(sets[number], own.info, item.key, own.digest, own.payload)
        if held and (number != current or len(held) == MAX_HELD or room < len(body)):
            flush()
        if not held:
            current, first, room = number, i, _CHUNK_BYTES
        held.append(body)
        room -= len(body)
    flush()
    if len(places) + len(unknown) >= MAX_CHUNKS:  # END is one more
        raise UsageError(f"{len(places) + len(unknown)} chunks, and an archive has fewer than {MAX_CHUNKS}; write several")
    return bytes(out + end_chunk(places, seed))


@dataclass(frozen=True)
class _Coded:
    """What a compact item would hold. digest: of its tokens, hex. payload: its coder bytes; None for what cannot be one. must: it can be
    nothing else.
    """

    info: StreamInfo
    digest: str = ""
    payload: bytes | None = None
    must: bool = False


def _coded(item: Item | Whole | Compacted) -> _Coded:
    if isinstance(item, Compacted):
        found = _compact(item.content.info, item.content.hash.hex(), item.content.payload, item.key)
        if found.payload is None:
            raise UsageError(f"an item of {len(item.content.payload)} bytes does not fit the compact form; code its tokens again")
        return replace(found, must=True)
    if isinstance(item, Whole):
        file = parse(item.data)
        if isinstance(file.content, Solo):
            return _compact(file.content.info, file.content.hash.hex(), file.content.payload, item.key)
        return _Coded(replace(file.streams[0], grouped=False, unit=0, mark=bytes(4)))
    info = replace(item.info, stages=len(item.tokens.arrays)).checked()
    if item.tokens.uniform_bits > 256 * MAX_ITEM:
        return _Coded(info)
    return _compact(info, item.tokens.digest(), item.prior.encode(item.tokens), item.key)


def _compact(info: StreamInfo, digest: str, payload: bytes, key: str) -> _Coded:
    most = write_item(ParameterSet(info, True, True, True), info, key, digest, payload)
    return _Coded(info, digest, payload) if len(most) <= MAX_ITEM else _Coded(info)


def _file_chunk(number: int, item: Item | Whole, seed: int) -> bytes:
    data = item.data if isinstance(item, Whole) else write(item.tokens, item.prior, item.info)
    payload = write_file(number, item.key, data, seed)
    if len(payload) > MAX_PAYLOAD:
        raise UsageError(f"item {number} has {len(payload)} bytes, one of an archive at most {MAX_PAYLOAD}; write it to a file of its own")
    return chunk(FILE, payload, seed)


def _family(info: StreamInfo) -> StreamInfo:
    """What tells parameter sets apart: all but the size, the notes and the number of stages, which items may have on their own."""
    return replace(info, signal=(), notes=0, stages=0)


def _families(coded: Sequence[_Coded], keyed: bool) -> dict[StreamInfo, ParameterSet]:
    """The parameter sets of compact items, by family. One for a single item costs more than it saves, and there is room for MAX_SETS of
    them: other families get none, and their items are written as files. The first chunk of an archive is a set, so there is always one.
    """
    found: dict[StreamInfo, list[StreamInfo]] = {}
    must: set[StreamInfo] = set()
    for item in coded:
        if item.payload is not None:
            found.setdefault(_family(item.info), []).append(item.info)
        if item.must:
            must.add(_family(item.info))
    if not found:
        return {_family(coded[0].info): ParameterSet(replace(coded[0].info, fields=()), False, keyed)}
    by_use = sorted(found, key=lambda family: (family not in must, -len(found[family])))
    wanted = set([family for family in by_use if len(found[family]) > 1 or family in must][:MAX_SETS] or by_use[:1])
    if len(must - wanted):
        raise UsageError(f"compact items of more than {MAX_SETS} models, priors and side fields; write several archives")
    return {family: _common(infos, keyed) for family, infos in found.items() if family in wanted}


def _common(infos: Sequence[StreamInfo], keyed: bool) -> ParameterSet:
    first, most = infos[0], max(info.stages for info in infos)
    own_size = any((info.signal, info.notes) != (first.signal, first.notes) for info in infos)
    return ParameterSet(replace(first, stages=most), own_size, keyed, any(info.stages < most for info in infos))
