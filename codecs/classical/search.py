"""The best quality whose file fits: bisection over a codec's own scale, checked where sizes do not grow with quality."""

from __future__ import annotations

from collections.abc import Callable

from smalti.tokenizers.errors import UsageError

LOOK_AHEAD = 2  # sizes of neighbouring qualities change places by a few bytes: seen with all three picture codecs at their low end
NEAR = 1.1  # and by no more than this factor


def best_quality(size: Callable[[int], int | None], qualities: range, room: float) -> int:
    """The highest quality whose file has at most `room` bytes.

    size: quality -> bytes of the file, None where it cannot be written. qualities: ascending. Where the worst nearly fits, the next
    `LOOK_AHEAD` are tried too, and so are those above the one that bisection finds. Raises UsageError, naming the smallest size
    found, where none of them fits.
    """

    def fits(place: int) -> bool:
        found = size(qualities[place])
        return found is not None and found <= room

    lowest = size(qualities[0])
    near = lowest is None or lowest <= NEAR * room
    tried = range(min(1 + LOOK_AHEAD if near else 1, len(qualities)))
    low = next((place for place in tried if fits(place)), None)
    if low is None:
        sizes = [found for place in tried if (found := size(qualities[place])) is not None]
        raise UsageError(f"the smallest file of this signal has {min(sizes, default=0)} bytes, the target allows {int(room)}")
    high = len(qualities) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    above = range(low + 2, min(low + 2 + LOOK_AHEAD, len(qualities)))  # low + 1 is known to be too large
    return qualities[max((place for place in above if fits(place)), default=low)]
