"""The best quality whose file fits: bisection over a codec's own scale, checked where sizes do not grow with quality."""

from __future__ import annotations

from collections.abc import Callable

from smalti.tokenizers.errors import UsageError

LOOK_AHEAD = 2  # sizes of neighbouring qualities change places by a few bytes: seen with all three picture codecs at their low end


def best_within(encode: Callable[[int], bytes], qualities: range, room: float) -> bytes:
    """The file of the highest quality with at most `room` bytes.

    encode: quality -> file. qualities: ascending. Where the worst does not fit, the next `LOOK_AHEAD` are tried too, and so are those above
    the one that bisection finds. Raises UsageError, naming the smallest size found, where none of them fits. What `encode` refuses above
    the lowest quality counts as too large.
    """
    lowest = encode(qualities[0])
    sizes = [len(lowest)]
    best, found = (lowest, 0) if len(lowest) <= room else (b"", -1)
    for step in range(1, 1 + LOOK_AHEAD if not best else 1):
        data = _attempt(encode, qualities[step])
        if data:
            sizes.append(len(data))
            if len(data) <= room:
                best, found = data, step
    if not best:
        raise UsageError(f"the smallest file of this signal has {min(sizes)} bytes, the target allows {int(room)}")
    low, high = found, len(qualities) - 1
    while low < high:
        middle = (low + high + 1) // 2
        data = _attempt(encode, qualities[middle])
        if data and len(data) <= room:
            best, low = data, middle
        else:
            high = middle - 1
    for place in range(low + 2, min(low + 2 + LOOK_AHEAD, len(qualities))):  # low + 1 is known to be too large
        data = _attempt(encode, qualities[place])
        if data and len(data) <= room:
            best = data
    return best


def _attempt(encode: Callable[[int], bytes], quality: int) -> bytes:
    try:
        return encode(quality)
    except UsageError:
        return b""
