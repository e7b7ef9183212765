"""Where reading goes on after a damaged chunk: a search whose cost has a bound, however the file was made."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from smalti.codecs.bitstream.wire import MAX_PAYLOAD, SKIPPABLE, Cursor, read_chunk
from smalti.tokenizers.errors import BitstreamError


class Resync:
    """Looks for chunks in a damaged file. State: the work that is left.

    known: the highest type without the skippable bit. index: the chunk starts that END names, asked for once.
    """

    def __init__(self, data: bytes, seed: int, known: int, index: Callable[[], Sequence[int]]) -> None:
        self.data, self.seed, self.known, self.index = data, seed, known, index
        self._work, self._steps = 16 * len(data) + (1 << 26), 1 << 20  # bytes and places that looking for a next chunk may cost in all
        self._starts: Sequence[int] | None = None

    def is_chunk(self, place: int) -> bool:
        """Whether a whole chunk starts at `place`; all these attempts together check a bounded number of bytes."""
        if place + 6 > len(self.data):
            return False
        if self.data[place] > self.known and not self.data[place] & SKIPPABLE:
            return False
        cursor = Cursor(self.data, "", place + 1)
        try:
            cursor.skip(cursor.uvarint(MAX_PAYLOAD) + 4)
            self._work -= cursor.place - place
            if self._work < 0:
                return False
            read_chunk(self.data, place, self.seed)
        except BitstreamError:
            return False
        return True

    def after(self, place: int) -> int | None:
        """The next whole chunk after the damaged one at `place`: after its own length, by a bounded search, or by the index."""
        cursor = Cursor(self.data, "", place + 1)
        try:
            cursor.skip(cursor.uvarint(MAX_PAYLOAD) + 4)
            if self.is_chunk(cursor.place):
                return cursor.place
        except BitstreamError:
            pass
        if self._starts is None:
            self._starts = self.index()
        later = self._starts[bisect_right(self._starts, place) :][:64]
        named = next((candidate for candidate in later if self.is_chunk(candidate)), None)
        for candidate in range(place + 1, len(self.data) - 5 if named is None else named):
            self._steps -= 1
            if self._steps < 0 or self._work < 0:
                break
            if self.data[candidate] <= self.known and self.is_chunk(candidate):
                return candidate
        return named
