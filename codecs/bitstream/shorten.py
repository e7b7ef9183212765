"""Archives with fewer stages: every item cut to the same number, or to a share of its own size that makes the whole fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smalti.codecs.bitstream.archive_scan import recover
from smalti.codecs.bitstream.archive_writer import Whole, write_archive
from smalti.codecs.bitstream.file import File
from smalti.tokenizers.errors import UsageError


def cut_archive(data: bytes, stages: int, shorter: Callable[[int, File, int], bytes]) -> bytes:
    """The archive with at most the first `stages` of each item; items that have no more stay as they are.

    shorter: the file of an item's first stages, from its number, the item and how many. Raises BitstreamError for damage, UsageError where
    no item has so many stages.
    """
    archive, _ = recover(data, strict=True)
    most = max(_stages(file) for file in archive)
    if stages > most:
        raise UsageError(f"its items hold {most} stages at most, asked for {stages}")
    items = [Whole(shorter(i, file, min(stages, _stages(file))), archive.key(i)) for i, file in enumerate(archive)]
    return write_archive(items, archive.unknown)


def fit_archive(data: bytes, limit_bytes: int, prefixes: Callable[[int, File], Sequence[bytes]]) -> bytes:
    """The archive within a size: each item keeps the longest prefix within one common share of its own bytes, and at least its first.

    prefixes: the files of an item's decodable prefixes, shortest first, from its number and the item. Raises BitstreamError for damage,
    UsageError, naming the smallest possible size, where nothing fits.
    """
    archive, _ = recover(data, strict=True)
    if len(data) <= limit_bytes:
        return data
    keys = [archive.key(i) for i in range(len(archive))]
    found = [prefixes(i, file) for i, file in enumerate(archive)]

    def written(share: float) -> bytes:
        kept = [_within(files, share) for files in found]
        return write_archive([Whole(file, key) for file, key in zip(kept, keys, strict=True)], archive.unknown)

    shares = sorted({len(file) / len(files[-1]) for files in found for file in files})
    best = written(0)
    if len(best) > limit_bytes:
        raise UsageError(f"the smallest archive of these {len(found)} items has {len(best)} bytes, the target allows {limit_bytes}")
    low, high = 0, len(shares)  # what is written is within the limit for all shares before `low`, and too large from `high` on
    while low < high:
        middle = (low + high) // 2
        made = written(shares[middle])
        if len(made) <= limit_bytes:
            best, low = made, middle + 1
        else:
            high = middle
    return best


def _within(files: Sequence[bytes], share: float) -> bytes:
    """The longest prefix within a share of the whole, else the shortest."""
    return next((file for file in reversed(files) if len(file) / len(files[-1]) <= share), files[0])


def _stages(file: File) -> int:
    return max(info.stages for info in file.streams)
