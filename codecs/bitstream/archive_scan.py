"""An archive without its index: what is whole is found chunk by chunk, and every byte is accounted for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from smalti.codecs.bitstream.archive import HEADER, MAX_SETS, Archive, Place, end_chunk, read_file, read_header, read_index
from smalti.codecs.bitstream.items import HEAD_ROOM, MAX_ITEMS, Head, ParameterSet, read_head, read_item, read_set
from smalti.codecs.bitstream.resync import Resync
from smalti.codecs.bitstream.wire import END, FILE, ITEMS, MAGIC, MAX_CHUNKS, MAX_PAYLOAD, SET, SKIPPABLE, Chunk, Cursor, crc, read_chunk
from smalti.tokenizers.errors import BitstreamError


@dataclass(frozen=True)
class Accounts:
    """Where the bytes of an archive go."""

    sets: int = 0
    heads: int = 0
    keys: int = 0
    sizes: int = 0
    checks: int = 0
    payload: int = 0
    files: int = 0
    unknown: int = 0
    end: int = 0

    def plus(self, **more: int) -> Accounts:
        return replace(self, **{name: getattr(self, name) + count for name, count in more.items()})


def recover(data: bytes, strict: bool = False) -> tuple[Archive, Accounts]:
    """An archive by going over all its chunks, without its index, and where its bytes go.

    Not strict: what is damaged is left out and named in `problems`. Raises BitstreamError; when not strict, only where the header or the
    first chunk are damaged.
    """
    version, seed = read_header(data[: len(HEADER)]), crc(data[: len(HEADER)])
    start = len(HEADER)
    first = read_chunk(data, start, seed)
    if first.type != SET:
        raise BitstreamError(f"the first chunk of an archive has type {first.type:#04x}, expected SET")
    walk = _Walk(data, first.crc, strict)
    walk.run(start, first)
    return Archive.rebuilt(data, version, first.crc, walk.sets, walk.places, walk.problems, walk.unknown), walk.accounts


class _Walk:
    """Goes over the chunks of an archive. State: what was found so far."""

    def __init__(self, data: bytes, seed: int, strict: bool) -> None:
        self.data, self.seed, self.strict = data, seed, strict
        self.sets: list[ParameterSet] = []
        self.places: list[Place] = []
        self.problems: list[str] = []
        self.unknown: list[tuple[int, bytes]] = []
        self.accounts = Accounts()
        self._resync = Resync(data, seed, FILE, self._starts)

    def run(self, place: int, first: Chunk) -> None:
        self._accept(first)
        place = self._chunks(first)
        if not self.accounts.end:
            self._say("its end is lost, with the index: whether items came after the last one found, and how many, is not known")
        elif place != len(self.data):
            self._say(f"{len(self.data) - place} bytes after the end")

    def _chunks(self, first: Chunk) -> int:
        """Goes over all chunks; returns where the last one ends."""
        place, chunks = first.end, 1
        while not self.accounts.end:
            try:
                if (chunks := chunks + 1) > MAX_CHUNKS + MAX_SETS:
                    raise BitstreamError(f"more than {MAX_CHUNKS} chunks")
                found = read_chunk(self.data, place, self.seed)
                place = found.end
                self._accept(found)
            except BitstreamError as error:
                if self.strict:
                    raise
                self.problems.append(str(error))
                if chunks > MAX_CHUNKS + MAX_SETS:
                    break
                after = place if self._resync.is_chunk(place) else self._salvaged(place) or self._resync.after(place)
                if after is None:
                    break
                place = after
        return place

    def _accept(self, found: Chunk) -> None:
        size = found.end - found.start
        if found.type == SET:
            if self.places or len(self.sets) == MAX_SETS:
                raise BitstreamError("a SET chunk out of place")
            self.sets.append(read_set(found.payload, found.crc))
            self.accounts = self.accounts.plus(sets=size)
        elif found.type == ITEMS:
            head = read_head(found.payload, self.sets)
            if head.size + sum(head.lengths) + 2 * len(head.lengths) != len(found.payload):
                raise BitstreamError(f"the ITEMS chunk at {found.start} is longer or shorter than its items")
            self._put(Place(found.start, head.first, len(head.lengths)))
            self._account(found, head)
        elif found.type == FILE:
            number = Cursor(found.payload, "a FILE chunk").uvarint(MAX_ITEMS - 1)
            key, file = read_file(found, number, self.seed)
            self._put(Place(found.start, number, 1))
            keyed = len(key.encode("utf-8"))
            self.accounts = self.accounts.plus(files=file.size, keys=keyed, heads=size - file.size - keyed)
        elif found.type == END:
            self.accounts = self.accounts.plus(end=size)
            if len(self.places) > MAX_CHUNKS:
                raise BitstreamError(f"{len(self.places)} chunks of items, an archive has {MAX_CHUNKS} at most")
            if self.data[found.start : found.end] != end_chunk([(p.start, p.count) for p in self.places], self.seed):
                self._say("the index does not match the chunks of the archive")
        elif found.type & SKIPPABLE:
            self.accounts = self.accounts.plus(unknown=size)
            self.unknown.append((found.type, found.payload))
        else:
            raise BitstreamError(f"chunk type {found.type:#04x} must be understood and is not known to this release: install a later one")

    def _put(self, place: Place) -> None:
        expected = self._expected()
        if place.first > len(self.data):  # far beyond what lost bytes of a file of this size explain; a list of what is missing has a bound
            raise BitstreamError(f"item {place.first} in an archive of {len(self.data)} bytes")
        if place.first < expected:
            raise BitstreamError(f"item {place.first} comes again at {place.start}")
        if place.first > expected:
            one = place.first == expected + 1
            self._say(f"item {expected} is missing" if one else f"items {expected}..{place.first - 1} are missing")
        self.places.append(place)

    def _expected(self) -> int:
        return self.places[-1].first + self.places[-1].count if self.places else 0

    def _account(self, found: Chunk, head: Head) -> None:
        common, start, keys, sizes, payload = self.sets[head.set], head.size, 0, 0, 0
        for i, length in enumerate(head.lengths):
            item = read_item(found.payload[start : start + length + 2], common, head.first + i)
            keys += length - item.size_bytes - common.own_stages - 1 - len(item.content.payload)
            sizes += item.size_bytes
            payload += len(item.content.payload)
            start += length + 2
        size = found.end - found.start
        checks = 3 * len(head.lengths)
        self.accounts = self.accounts.plus(
            keys=keys, sizes=sizes, checks=checks, payload=payload, heads=size - keys - sizes - checks - payload
        )

    def _salvaged(self, place: int) -> int | None:
        """The end of a damaged ITEMS chunk whose head is whole, which then counts: each of its items has a checksum of its own. One that
        was cut off counts too and has no end. The same of a FILE chunk whose bounds are whole, since `Archive.salvaged` may read what is
        left of its file.
        """
        if self.data[place : place + 1] == bytes([FILE]):
            return self._salvaged_file(place)
        if self.data[place : place + 1] != bytes([ITEMS]):
            return None
        cursor = Cursor(self.data, "the chunk", place + 1)
        try:
            length = cursor.uvarint(MAX_PAYLOAD)
            head = read_head(self.data[cursor.place : cursor.place + min(length, HEAD_ROOM)], self.sets)
            if head.size + sum(head.lengths) + 2 * len(head.lengths) != length:
                return None
            self._put(Place(place, head.first, len(head.lengths)))
            cursor.skip(length + 4)
        except BitstreamError:
            return None
        return cursor.place

    def _salvaged_file(self, place: int) -> int | None:
        cursor = Cursor(self.data, "the chunk", place + 1)
        try:
            length = cursor.uvarint(MAX_PAYLOAD)
            end = cursor.place + length + 4
            if not self._resync.is_chunk(end) or cursor.uvarint(MAX_ITEMS - 1) != self._expected():
                return None  # a wrong number would take the place of whole items that follow
            cursor.skip(cursor.byte() + 2)
            if cursor.take(4) != MAGIC:
                return None
        except BitstreamError:
            return None
        self._put(Place(place, self._expected(), 1))
        return end

    def _say(self, problem: str) -> None:
        if self.strict:
            raise BitstreamError(problem)
        self.problems.append(problem)

    def _starts(self) -> list[int]:
        try:
            return [place.start for place in read_index(lambda start, count: _slice(self.data, start, count), len(self.data), self.seed, 0)]
        except BitstreamError:
            return []


def _slice(data: bytes, start: int, count: int) -> bytes:
    if start < 0 or start + count > len(data):
        raise BitstreamError(f"the archive ends too early: {count} bytes wanted at {start}, it has {len(data)}")
    return data[start : start + count]
