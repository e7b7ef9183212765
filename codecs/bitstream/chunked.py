"""The chunked form: several streams, side fields, segments, an index; readable in part where it is damaged.

Every chunk's CRC-32 goes on from that of the header and the first STREAM chunk, so that a chunk of another file does not pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from smalti.codecs.bitstream import parts
from smalti.codecs.bitstream.resync import Resync
from smalti.codecs.bitstream.streams import StreamInfo, read_fields, read_stream, write_fields, write_stream
from smalti.codecs.bitstream.wire import (
    END,
    MAGIC,
    MAJOR,
    MAX_CHUNKS,
    MAX_PAYLOAD,
    MINOR,
    SIDE,
    SKIPPABLE,
    STREAM,
    TOKENS,
    Chunk,
    Cursor,
    check_header,
    chunk,
    crc,
    read_chunk,
    uvarint,
)
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Tokens

HEADER = MAGIC + bytes([MAJOR << 4 | MINOR, 0])
MAX_STREAMS = 16
INDEX_STEP = 16
_MAX_PLACE = (1 << 27) - 1


@dataclass(frozen=True)
class Entry:
    """One stream to be written. grouped: all levels of some rows a chunk, not all rows of one stage; timed signals always are."""

    tokens: Tokens
    prior: Prior
    info: StreamInfo
    grouped: bool = False


@dataclass(frozen=True)
class Part:
    """A TOKENS chunk: its stream, segment and stage (0 for groups), whether it is its stage's (its stream's) last, and per level the
    2-byte token hash and the coder bytes. `size` is the whole chunk's, `table` that of the level lengths and the hashes after the first."""

    stream: int
    segment: int
    stage: int
    last: bool
    blobs: tuple[tuple[bytes, bytes], ...]
    size: int = 0
    table: int = 0


@dataclass(frozen=True)
class Unknown:
    """A skippable chunk that this release does not know. before: how many TOKENS chunks stand before it."""

    before: int
    type: int
    payload: bytes


@dataclass(frozen=True)
class Chunked:
    """A chunked file taken apart. problems: empty in a whole file. side_bytes, unknown_bytes and end_bytes: sizes of whole chunks."""

    version: tuple[int, int]
    streams: tuple[StreamInfo, ...]
    parts: tuple[Part, ...]
    problems: tuple[str, ...]
    side_bytes: int
    unknown_bytes: int
    end_bytes: int
    unknown: tuple[Unknown, ...] = ()


def write_chunked(entries: Sequence[Entry]) -> bytes:
    """The chunked file of one stream or several; raises UsageError for what it can't hold."""
    streams = [_prepared(entry) for entry in entries]
    return assemble(streams, _merged([list(_parts(i, e, s)) for i, (e, s) in enumerate(zip(entries, streams, strict=True))]))


def assemble(streams: Sequence[StreamInfo], held: Sequence[Part], unknown: Sequence[Unknown] = ()) -> bytes:
    """A file of these streams and parts: what `write_chunked` writes and what `cut` leaves. unknown: in file order."""
    if not 1 <= len(streams) <= MAX_STREAMS or len(held) > MAX_CHUNKS:
        raise UsageError(f"a file has 1..{MAX_STREAMS} streams and at most {MAX_CHUNKS} chunks, found {len(streams)} and {len(held)}")
    first = chunk(STREAM, write_stream(streams[0], 0), crc(HEADER))
    seed = int.from_bytes(first[-4:], "little")
    out = bytearray(HEADER + first)
    for i, info in enumerate(streams[1:], 1):
        out += chunk(STREAM, write_stream(info, i), seed)
    for i, info in enumerate(streams):
        if info.fields:
            out += chunk(SIDE, bytes([i]) + write_fields(info.fields), seed)
    offsets, left = [], deque(unknown)
    for i, part in enumerate(held):
        while left and left[0].before <= i:
            out += _unknown_chunk(left.popleft(), seed)
        offsets.append(len(out))
        payload = _write_part(part, streams)
        if len(payload) > MAX_PAYLOAD:
            raise UsageError(f"a chunk of {len(payload)} bytes; at most {MAX_PAYLOAD} are written")
        out += chunk(TOKENS, payload, seed)
    return bytes(out + b"".join(_unknown_chunk(extra, seed) for extra in left) + end_chunk(offsets, seed))


def read_chunked(data: bytes, strict: bool = True) -> Chunked:
    """A chunked file taken apart, its CRCs checked. Not strict: damaged chunks are left out and named in `problems`.

    Raises BitstreamError; when not strict, only where header or first STREAM chunk are damaged.
    """
    version, flags = check_header(data)
    if flags:
        raise BitstreamError(f"the flags byte {flags:#04x} is none of version {MAJOR}.{MINOR}")
    first = read_chunk(data, len(HEADER), crc(data[: len(HEADER)]))
    if first.type != STREAM:
        raise BitstreamError(f"the first chunk has type {first.type:#04x}, expected STREAM")
    reader = _Reader(data, first.crc, strict)
    reader.accept(first)
    reader.run(first.end)
    streams = tuple(replace(info, fields=reader.fields.get(i, ())) for i, info in enumerate(reader.streams))
    sizes = reader.side_bytes, reader.unknown_bytes, reader.end_bytes
    return Chunked(version, streams, tuple(reader.parts), tuple(reader.problems), *sizes, tuple(reader.unknown))


class _Reader:
    """Walks over the chunks of a file. State: what was found so far."""

    def __init__(self, data: bytes, seed: int, strict: bool) -> None:
        self.data, self.seed, self.strict = data, seed, strict
        self.streams: list[StreamInfo] = []
        self.fields: dict[int, tuple] = {}
        self.parts: list[Part] = []
        self.problems: list[str] = []
        self.offsets: list[int] = []
        self.unknown: list[Unknown] = []
        self.side_bytes = self.unknown_bytes = self.end_bytes = 0
        self._resync = Resync(data, seed, SIDE, self._indexed)
        self._next: dict[int, tuple[int, int] | None] = {}

    def run(self, place: int) -> None:
        chunks = 1
        while not self.end_bytes:
            try:
                if (chunks := chunks + 1) > MAX_CHUNKS + MAX_STREAMS:
                    raise BitstreamError(f"more than {MAX_CHUNKS} chunks")
                found = read_chunk(self.data, place, self.seed)
                place = found.end
                self.accept(found)
            except BitstreamError as error:
                if self.strict:
                    raise
                self.problems.append(str(error))
                after = place if self._resync.is_chunk(place) else self._resync.after(place)
                if chunks > MAX_CHUNKS + MAX_STREAMS:
                    return
                if after is None:
                    return
                place = after
        if place != len(self.data):
            self._say(f"{len(self.data) - place} bytes after the end")

    def accept(self, found: Chunk) -> None:
        kind = found.type
        if kind == STREAM:
            if self.parts or self.fields or len(self.streams) == MAX_STREAMS:
                raise BitstreamError("a STREAM chunk out of place")
            self.streams.append(read_stream(found.payload, len(self.streams)))
        elif kind == SIDE:
            number = found.payload[0] if found.payload else 255
            if self.parts or number >= len(self.streams) or number in self.fields or len(found.payload) < 2:
                raise BitstreamError("a SIDE chunk out of place")
            self.fields[number] = read_fields(found.payload[1:])
            self.side_bytes += found.end - found.start
        elif kind == TOKENS:
            part = read_part(found, self.streams)
            self._check_order(part)
            self.parts.append(part)
            self.offsets.append(found.start)
        elif kind == END:
            self.end_bytes = found.end - found.start
            if self.data[found.start : found.end] != end_chunk(self.offsets, self.seed):
                self._say("the index does not match the chunks of the file")
        elif kind & SKIPPABLE:
            self.unknown_bytes += found.end - found.start
            self.unknown.append(Unknown(len(self.parts), kind, found.payload))
        else:
            raise BitstreamError(f"chunk type {kind:#04x} must be understood and is not known to this release: install a later one")

    def _check_order(self, part: Part) -> None:
        if (expected := self._next.get(part.stream, (0, 0))) != (part.segment, part.stage):
            self._say(f"stream {part.stream}: segment {part.segment} of stage {part.stage} found, expected {expected}")
        info = self.streams[part.stream]
        if not part.last:
            self._next[part.stream] = (part.segment + 1, part.stage)
        elif info.grouped or part.stage + 1 == info.stages:
            self._next[part.stream] = None
        else:
            self._next[part.stream] = (0, part.stage + 1)

    def _say(self, problem: str) -> None:
        if self.strict:
            raise BitstreamError(problem)
        self.problems.append(problem)

    def _indexed(self) -> list[int]:
        """The chunk starts that END names, its own among them; empty where END is damaged."""
        length = int.from_bytes(self.data[-7:-4], "little")
        try:
            end = read_chunk(self.data, max(len(self.data) - length, 0), self.seed)
            if end.type != END:
                return []
            cursor = Cursor(end.payload[:-3], "END")
            count, offset, offsets = cursor.uvarint(MAX_CHUNKS), 0, []
            for _ in range((max(count, 1) - 1) // INDEX_STEP):
                offset += cursor.uvarint((1 << 32) - 1)
                offsets.append(offset)
        except BitstreamError:
            return []
        return [*offsets, end.start]


def _unknown_chunk(extra: Unknown, seed: int) -> bytes:
    return chunk(extra.type, extra.payload, seed)


def end_chunk(offsets: Sequence[int], seed: int) -> bytes:
    """The END chunk for TOKENS chunks that start there."""
    index, before = uvarint(len(offsets)), 0
    for offset in offsets[INDEX_STEP::INDEX_STEP]:
        index += uvarint(offset - before)
        before = offset
    inner = len(index) + 3
    return chunk(END, index + (1 + len(uvarint(inner)) + inner + 4).to_bytes(3, "little"), seed)


def _prepared(entry: Entry) -> StreamInfo:
    tokens = entry.tokens
    timed = entry.info.modality in ("video", "audio") or (entry.info.modality == "raw" and parts.is_timed(tokens.layout))
    if timed and not parts.is_timed(tokens.layout):
        raise UsageError(f"tokens of {entry.info.modality} have a time axis in every stage, found {tokens.layout.stages}")
    grouped = timed or entry.grouped
    if grouped and not parts.group_axis(tokens.layout):
        raise UsageError(f"only stages with the same axes, no lines, are written in groups of rows, found {tokens.layout.stages}")
    unit = parts.choose_group_unit(tokens) if grouped else parts.choose_unit(tokens)
    mark = bytes.fromhex(parts.stage_digest(tokens, 0)[:8])
    return replace(entry.info, stages=len(tokens.arrays), grouped=grouped, unit=unit, mark=mark).checked()


def _parts(number: int, entry: Entry, info: StreamInfo) -> Iterator[Part]:
    tokens, prior = entry.tokens, entry.prior
    if info.grouped:
        borders = parts.group_bounds(tokens.layout, info.unit)
        for s in range(len(borders) - 1):
            piece = parts.group_tokens(tokens, borders[s], borders[s + 1])
            yield Part(number, s, 0, s + 2 == len(borders), tuple(blob(piece, k, prior) for k in range(info.stages)))
        return
    for k, stage in enumerate(tokens.layout.stages):
        borders = parts.stage_bounds(stage, info.unit)
        for s in range(len(borders) - 1):
            piece = parts.rows_tokens(tokens, k, borders[s], borders[s + 1])
            yield Part(number, s, k, s + 2 == len(borders), (blob(piece, k, prior),))


def blob(piece: Tokens, k: int, prior: Prior) -> tuple[bytes, bytes]:
    """Stage k of a segment as a chunk holds it: the hash of its tokens and its coder bytes."""
    return bytes.fromhex(parts.stage_digest(piece, k)[:4]), prior.encode(parts.levels(piece, k + 1), k)


def _merged(streams: Sequence[list[Part]]) -> list[Part]:
    """Chunks of all streams side by side: each as far along as the others."""
    placed = [((i + 1) / len(held), part.stream, i, part) for held in streams for i, part in enumerate(held)]
    return [part for *_, part in sorted(placed, key=lambda item: item[:3])]


def _write_part(part: Part, streams: Sequence[StreamInfo]) -> bytes:
    info = streams[part.stream]
    place = part.segment << 1 | part.last if info.grouped else part.segment << 6 | part.last << 5 | part.stage
    if place > _MAX_PLACE:
        raise UsageError(f"segment {part.segment} is more than a file can number")
    head = (bytes([part.stream]) if len(streams) > 1 else b"") + uvarint(place)
    return head + b"".join(uvarint(len(d)) for _, d in part.blobs[:-1]) + b"".join(h + d for h, d in part.blobs)


def read_part(found: Chunk, streams: Sequence[StreamInfo]) -> Part:
    """The part that a TOKENS chunk holds."""
    cursor = Cursor(found.payload, f"the TOKENS chunk at {found.start}")
    number = cursor.byte(len(streams) - 1) if len(streams) > 1 else 0
    info = streams[number]
    place = cursor.uvarint(_MAX_PLACE)
    if info.grouped:
        segment, stage, last = place >> 1, 0, bool(place & 1)
    else:
        segment, stage, last = place >> 6, place & 31, bool(place & 32)
        if stage >= info.stages or segment >= parts.MAX_SEGMENTS:
            raise BitstreamError(f"{cursor.what} is of stage {stage}, segment {segment}; the stream has {info.stages} stages")
    before = cursor.place
    count = info.stages if info.grouped else 1
    lengths = [cursor.uvarint(MAX_PAYLOAD) for _ in range(count - 1)]
    table = cursor.place - before + 2 * (count - 1)
    blobs = [(cursor.take(2), cursor.take(length)) for length in lengths]
    blobs.append((cursor.take(2), cursor.take(cursor.left)))
    return Part(number, segment, stage, last, tuple(blobs), found.end - found.start, table)
