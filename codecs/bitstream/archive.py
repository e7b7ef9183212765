"""Many signals in one file: compact items under common parameter sets, whole files for what is larger, an index at the end.

An item is read without its neighbours. The index can be lost: `recover` makes it again by going over the chunks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import BinaryIO

from smalti.codecs.bitstream.file import File, parse
from smalti.codecs.bitstream.items import HEAD_ROOM, MAX_HELD, MAX_ITEMS, MAX_KEY, Head, ParameterSet, crc16, read_head, read_item, read_set
from smalti.codecs.bitstream.wire import (
    ARCHIVE,
    END,
    FILE,
    ITEMS,
    MAGIC,
    MAJOR,
    MAX_CHUNKS,
    MAX_PAYLOAD,
    MINOR,
    SET,
    Chunk,
    Cursor,
    check_header,
    chunk,
    crc,
    read_chunk,
    uvarint,
)
from smalti.tokenizers.errors import BitstreamError, UsageError

HEADER = MAGIC + bytes([MAJOR << 4 | MINOR, ARCHIVE])
MAX_SETS = 255
_MAX_OFFSET = (1 << 32) - 1
_LEAST_CHUNK, _LEAST_ITEM = 10, 4  # bytes of a chunk of items beside them, and of a compact item, its length and CRC-16 included
Read = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Place:
    """A chunk of items: where it starts, the number of its first item and of how many."""

    start: int
    first: int
    count: int


class Archive:
    """A file of many signals, open for reading: `archive[i]` is a `File`, as `parse` gives.

    source: its bytes, or a seekable binary file, of which then only the head, the index and the wanted items are read. Each access checks
    what it reads. Raises BitstreamError where header, sets or index are damaged; `recover` then finds what is left, and `unknown`: (type,
    payload) of the skippable chunks that this release does not know.
    """

    _last: tuple[int, tuple[int, Head] | str]  # the head that was read last, or what is wrong with it, and where it lies

    def __init__(self, source: bytes | BinaryIO) -> None:
        self._source = source
        self._size = len(source) if isinstance(source, bytes) else source.seek(0, 2)
        self.version, self._seed, self.sets, first = _opened(self._read, self._size)
        self.places = read_index(self._read, self._size, self._seed, first)
        self.problems: tuple[str, ...] = ()
        self.unknown: tuple[tuple[int, bytes], ...] = ()
        self._firsts, self._last = [place.first for place in self.places], (-1, "")

    @classmethod
    def rebuilt(
        cls,
        data: bytes,
        version: tuple[int, int],
        seed: int,
        sets: Sequence[ParameterSet],
        places: Sequence[Place],
        problems: Sequence[str],
        unknown: Sequence[tuple[int, bytes]],
    ) -> Archive:
        """An archive of what was found in its bytes, in place of an index."""
        self = cls.__new__(cls)
        self._source, self._size, self.version, self._seed = data, len(data), version, seed
        self.sets, self.places, self.problems, self.unknown = tuple(sets), tuple(places), tuple(problems), tuple(unknown)
        self._firsts, self._last = [place.first for place in self.places], (-1, "")
        return self

    def __len__(self) -> int:
        """One more than the highest number; of a damaged archive some below may be missing: `numbers` are those that have a place."""
        return self.places[-1].first + self.places[-1].count if self.places else 0

    @property
    def numbers(self) -> Iterator[int]:
        """Of the items that have a place in the file, ascending."""
        return (number for place in self.places for number in range(place.first, place.first + place.count))

    def __getitem__(self, number: int) -> File:
        """Item `number`, checked and not decoded. Raises IndexError beyond the last one, BitstreamError, naming it, where it is damaged."""
        try:
            return self.item(number)[1]
        except BitstreamError as error:
            raise BitstreamError(f"item {number}: {error}") from error

    def __iter__(self) -> Iterator[File]:
        return (self[i] for i in range(len(self)))

    def salvaged(self, number: int) -> tuple[str, File]:
        """(key, file) of an item; where its own chunk is damaged, what of the chunked file in it came through its own checks.

        The file's `problems` name the rest. A name whose checksum fails is "". Raises as [] does where nothing is left: a compact item
        stands or falls as a whole.
        """
        try:
            return self.item(number)
        except BitstreamError:
            place = self._place(number)
            size = _chunk_size(self._read, place.start, self._size)
            data = self._read(place.start, size)
            if data[0] != FILE:
                raise
            head = Cursor(data, f"the chunk at {place.start}", 1)
            return _salvaged(head.take(head.uvarint(MAX_PAYLOAD)), number, self._seed)

    def key(self, number: int) -> str:
        """The name of an item, "" without one."""
        return self.item(number)[0]

    def find(self, key: str) -> int:
        """The number of the first item with this name; KeyError where there is none. The first call reads all items."""
        return self._by_key[key]

    @cached_property
    def _by_key(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for number in self.numbers:
            found.setdefault(self.key(number), number)
        return found

    def _place(self, number: int) -> Place:
        if not 0 <= number < len(self):
            raise IndexError(f"item {number} of {len(self)}")
        at = bisect_right(self._firsts, number) - 1
        place = self.places[max(at, 0)]
        if not place.first <= number < place.first + place.count:
            raise BitstreamError("in a chunk that is damaged")
        return place

    def item(self, number: int) -> tuple[str, File]:
        """(name, file) of an item. Raises as [] does; what it says is to be read after the item's number."""
        place = self._place(number)
        kind = self._read(place.start, 1)[0]
        if kind == FILE:
            size = _chunk_size(self._read, place.start, self._size)
            return read_file(read_chunk(self._read(place.start, size), 0, self._seed), number, self._seed)
        if kind != ITEMS:
            raise BitstreamError(f"the index has items at {place.start}, found a chunk of type {kind:#04x}")
        start, head = self._head(place.start)
        if (head.first, len(head.lengths)) != (place.first, place.count):
            raise BitstreamError(f"the index has items {place.first}.. at {place.start}, found {head.first}..")
        at = number - head.first
        begin = start + head.size + sum(head.lengths[:at]) + 2 * at
        if begin + head.lengths[at] + 2 > self._size:
            raise BitstreamError(f"cut off, the archive ends at byte {self._size}")
        data = self._read(begin, head.lengths[at] + 2)
        item = read_item(data, self.sets[head.set], number)
        return item.key, File(item.content, len(data))

    def _head(self, place: int) -> tuple[int, Head]:
        if self._last[0] != place:  # else it is a neighbour's of the item that was read last
            found: tuple[int, Head] | str
            try:
                found = _head(self._read, place, _chunk_size(self._read, place, self._size), self.sets)
            except BitstreamError as error:
                found = str(error)
            self._last = place, found
        if isinstance(self._last[1], str):
            raise BitstreamError(self._last[1])
        return self._last[1]

    def _read(self, start: int, count: int) -> bytes:
        if start < 0 or start + count > self._size:
            raise BitstreamError(f"the archive ends too early: {count} bytes wanted at {start}, it has {self._size}")
        if isinstance(self._source, bytes):
            return self._source[start : start + count]
        try:
            self._source.seek(start)
            found = self._source.read(count)
        except OSError as error:
            raise BitstreamError(f"the archive cannot be read at {start}: {error.strerror or error}") from error
        if len(found) < count:
            raise BitstreamError(f"the archive has become shorter: {count} bytes wanted at {start}, found {len(found)}")
        return found


def is_archive(data: bytes) -> bool:
    """Whether these first bytes are an archive's."""
    return data[:4] == MAGIC and len(data) > 5 and data[5] == ARCHIVE


def read_header(data: bytes) -> tuple[int, int]:
    version, flags = check_header(data)
    if flags != ARCHIVE:
        raise BitstreamError(f"no archive: the flags byte is {flags:#04x}; a file of one signal is read with parse")
    return version


def _opened(read: Read, size: int) -> tuple[tuple[int, int], int, tuple[ParameterSet, ...], int]:
    """(version, seed, sets, where the first chunk after the sets starts)."""
    header = read(0, min(size, len(HEADER)))
    version, seed, place = read_header(header), crc(header), len(header)
    sets: list[ParameterSet] = []
    while len(sets) <= MAX_SETS and read(place, 1) == bytes([SET]):
        found = read_chunk(read(place, _chunk_size(read, place, size)), 0, seed)
        seed = found.crc if not sets else seed
        sets.append(read_set(found.payload, found.crc))
        place += found.end
    if not 1 <= len(sets) <= MAX_SETS:
        raise BitstreamError(f"an archive has 1..{MAX_SETS} sets of parameters, found {len(sets)}")
    return version, seed, tuple(sets), place


def _chunk_size(read: Read, place: int, size: int) -> int:
    cursor = Cursor(read(place, min(6, size - place)), f"the chunk at {place}", 1)
    return cursor.uvarint(MAX_PAYLOAD) + cursor.place + 4


def read_index(read: Read, size: int, seed: int, after: int) -> tuple[Place, ...]:
    """The places that END names; raises BitstreamError where it is damaged or they do not fit. after: where the sets end."""
    length = int.from_bytes(read(size - 7, 3), "little")
    end = read_chunk(read(size - length, length), 0, seed)
    if end.type != END or end.end != length:
        raise BitstreamError("the index at the end is damaged; recover finds the items without it")
    cursor = Cursor(end.payload[:-3], "the index")
    items, chunks = cursor.uvarint(MAX_ITEMS), cursor.uvarint(MAX_CHUNKS)
    places: list[Place] = []
    first = start = 0
    for _ in range(chunks):
        before, start = start, start + cursor.uvarint(_MAX_OFFSET)
        count = cursor.uvarint(MAX_HELD)
        least = after if not places else before + _room(places[-1].count)
        if not count or not least <= start <= size - length - _room(count):
            raise BitstreamError("the index does not fit the archive; recover finds the items without it")
        places.append(Place(start, first, count))
        first += count
    cursor.close()
    if first != items or not items:
        raise BitstreamError(f"the index has {items} items and places for {first}")
    return tuple(places)


def _room(count: int) -> int:
    """Bytes that a chunk of so many items has at least: an index cannot claim more items than its file has bytes for."""
    return _LEAST_CHUNK + _LEAST_ITEM * count


def _head(read: Read, place: int, size: int, sets: Sequence[ParameterSet]) -> tuple[int, Head]:
    """(where the payload of the ITEMS chunk starts, its head)."""
    data = read(place, min(size, 6 + HEAD_ROOM))
    cursor = Cursor(data, f"the chunk at {place}", 1)
    length = cursor.uvarint(MAX_PAYLOAD)
    head = read_head(data[cursor.place :], sets)
    if head.size + sum(head.lengths) + 2 * len(head.lengths) != length:
        raise BitstreamError(f"the ITEMS chunk at {place} is longer or shorter than its items")
    return place + cursor.place, head


def write_file(number: int, key: str, data: bytes, seed: int) -> bytes:
    """The payload of a FILE chunk; seed: of its archive's chunks."""
    name = key.encode("utf-8")
    head = uvarint(number) + bytes([len(name)]) + name
    return head + crc16(head, seed) + data


def read_file(found: Chunk, number: int, seed: int) -> tuple[str, File]:
    """(key, file) of a FILE chunk, which must hold this item."""
    cursor = Cursor(found.payload, "a FILE chunk")
    if found.type != FILE or cursor.uvarint(MAX_ITEMS - 1) != number:
        raise BitstreamError("the index has it where it is not")
    key = _file_key(cursor, seed)
    return key, parse(cursor.take(cursor.left))


def _file_key(cursor: Cursor, seed: int) -> str:
    """The rest of the head of a FILE chunk, after the number."""
    key, end = cursor.text(MAX_KEY), cursor.place
    if cursor.take(2) != crc16(cursor.data[:end], seed):
        raise BitstreamError("the head of a FILE chunk is damaged: its CRC-16 does not match")
    return key


def _salvaged(payload: bytes, number: int, seed: int) -> tuple[str, File]:
    """What is left of a FILE chunk whose CRC-32 fails: its key, if the head's own CRC-16 is right, and of the file what its checks let
    through."""
    cursor = Cursor(payload, "a FILE chunk")
    try:
        found, key = cursor.uvarint(MAX_ITEMS - 1), _file_key(cursor, seed)
    except BitstreamError:
        file = parse(payload[max(payload.find(MAGIC), 0) :], strict=False)
        return "", replace(file, said=("its name in the archive is damaged",))
    if found != number:
        raise BitstreamError("the index has it where it is not")
    file = parse(cursor.take(cursor.left), strict=False)
    return key, file if file.problems else replace(file, said=("a checksum around it is damaged, its own are right",))


def end_chunk(places: Sequence[tuple[int, int]], seed: int) -> bytes:
    """The END chunk for chunks of items by (start, count)."""
    if len(places) > MAX_CHUNKS:
        raise UsageError(f"{len(places)} chunks of items, and an archive has at most {MAX_CHUNKS}; write several")
    index, before = bytearray(uvarint(sum(count for _, count in places)) + uvarint(len(places))), 0
    for start, count in places:
        index += uvarint(start - before) + uvarint(count)
        before = start
    inner = len(index) + 3
    return chunk(END, bytes(index) + (1 + len(uvarint(inner)) + inner + 4).to_bytes(3, "little"), seed)
