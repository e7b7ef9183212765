"""Archives with fewer stages: every item cut to the same number, or to a share of its own size that makes the whole fit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from smalti.codecs.bitstream.archive_scan import recover
from smalti.codecs.bitstream.archive_writer import Compacted, Whole, write_archive
from smalti.codecs.bitstream.file import File
from smalti.codecs.bitstream.solo import Solo, assemble_solo
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
    items = [
        Whole(shorter(i, file, stages), archive.key(i)) if _stages(file) > stages else _kept(file, archive.key(i))
        for i, file in enumerate(archive)
    ]
    return write_archive(items, archive.unknown)


def fit_archive(
    data: bytes, limit_bytes: int, sizes: Callable[[int, File], Sequence[int]], prefix: Callable[[int, File, int], bytes]
) -> bytes:
    """The archive within a size: each item keeps the longest prefix within one common share of its own bytes, and at least its first.

    sizes: of the files of an item's decodable prefixes, shortest first, from its number and the item; prefix: one of those files, from its
    place among them as well. Only the chosen ones are held. Raises BitstreamError for damage, UsageError, naming the smallest possible
    size, where nothing fits.
    """
    archive, _ = recover(data, strict=True)
    if len(data) <= limit_bytes:
        return data
    found = [sizes(i, file) for i, file in enumerate(archive)]
    held = [(-1, Whole(b""))] * len(found)

    def written(share: float) -> bytes:
        for i, choice in enumerate(_within(own, share) for own in found):
            if held[i][0] != choice:  # from one share to the next few change
                held[i] = choice, Whole(prefix(i, archive[i], choice), archive.key(i))
        return write_archive([item for _, item in held], archive.unknown)

    best = written(0)
    if len(best) > limit_bytes:
        raise UsageError(f"the smallest archive of these {len(found)} items has {len(best)} bytes, the target allows {limit_bytes}")
    shares = sorted({size / own[-1] for own in found for size in own})
    room = limit_bytes - len(best) + sum(own[0] for own in found)
    # heads, sets and chunks grow little with the items: where the sizes alone end, the end is near
    at = bisect_right(shares, room, key=lambda share: sum(own[_within(own, share)] for own in found))
    while at and len(made := written(shares[at - 1])) > limit_bytes:
        at -= 1
    best = made if at else best
    while at < len(shares) and len(made := written(shares[at])) <= limit_bytes:
        best, at = made, at + 1
    return best


def _within(sizes: Sequence[int], share: float) -> int:
    """The place of the longest prefix within a share of the whole, else of the shortest."""
    return next((k for k in reversed(range(len(sizes))) if sizes[k] / sizes[-1] <= share), 0)


def _kept(file: File, key: str) -> Whole | Compacted:
    if not isinstance(file.content, Solo):
        return Whole(file.cut(_stages(file)), key)
    if len(file.content.hash) == 1:  # a compact item, which has no more of its hash
        return Compacted(file.content, key)
    return Whole(assemble_solo(file.content.info, file.content.hash, file.content.payload), key)


def _stages(file: File) -> int:
    return max(info.stages for info in file.streams)
