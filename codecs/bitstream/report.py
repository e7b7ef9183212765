"""Is a file whole, what of it can still be decoded, and where do its bytes go? Answers without a model, and never raises."""

from __future__ import annotations

from dataclasses import dataclass

from smalti.codecs.bitstream.archive import Archive, is_archive
from smalti.codecs.bitstream.archive_scan import recover
from smalti.codecs.bitstream.chunked import HEADER, Chunked
from smalti.codecs.bitstream.file import File, parse
from smalti.codecs.bitstream.solo import Solo
from smalti.codecs.bitstream.streams import StreamInfo
from smalti.tokenizers.errors import BitstreamError


@dataclass(frozen=True)
class StreamReport:
    """One stream. stages: leading stages that are whole (of a stream in groups: levels); segments: leading groups that are whole.

    stage_bytes: coder payload per stage; one number for all of them in solo form, where they share a stream.
    """

    info: StreamInfo
    stages: int
    segments: int
    stage_bytes: tuple[int, ...]


@dataclass(frozen=True)
class Report:
    """status: "whole", "damaged" (some chunks or items came through; `salvage` tells whether they are enough) or "refused".

    form: "solo", "chunked", "archive" or "" where unknown. bytes: (what, how many) of a whole file, summing to its size. file: what was
    parsed, for decoding what is left; archive: the same of an archive, whose streams are its sets of parameters; None where refused.
    version: (major, minor). items: of an archive, how many are whole; else 1.
    """

    status: str
    form: str
    size: int
    streams: tuple[StreamReport, ...] = ()
    problems: tuple[str, ...] = ()
    bytes: tuple[tuple[str, int], ...] = ()
    file: File | None = None
    archive: Archive | None = None
    version: tuple[int, int] = (0, 0)
    items: int = 1

    @property
    def overhead(self) -> int:
        """Bytes that are neither coder payload nor what only some files have: side fields, a layout, a table of levels, keys, sizes."""
        own = ("payload", "side fields", "layout", "level table", "unknown chunks", "keys", "sizes and notes", "whole files")
        return self.size - sum(count for name, count in self.bytes if name in own)


def inspect(data: bytes) -> Report:
    """The report on a file. A whole file is one that `parse` reads strictly; whether its tokens decode only a model can tell."""
    try:
        if is_archive(data):
            return _archive(data)
        file = parse(data, strict=False)
    except BitstreamError as error:
        return Report("refused", "", len(data), (), (str(error),))
    streams = tuple(_stream(file, i) for i in range(len(file.streams)))
    if isinstance(file.content, Solo):
        return Report("whole", "solo", len(data), streams, (), _solo_bytes(file.content, len(data)), file, None, file.version)
    status = "whole" if not file.problems else "damaged" if file.is_left else "refused"
    lines = _chunked_bytes(file.content, len(data)) if status == "whole" else ()
    return Report(status, "chunked", len(data), streams, file.problems, lines, file if status != "refused" else None, None, file.version)


def _archive(data: bytes) -> Report:
    archive, accounts = recover(data)
    problems, whole = list(archive.problems), 0
    if problems:
        for number in archive.numbers:
            try:
                archive[number]
                whole += 1
            except BitstreamError:
                pass
        if whole < len(archive):
            problems.append(f"{len(archive) - whole} of {len(archive)} items are damaged or missing")
    status = "whole" if not problems else "damaged" if whole else "refused"
    streams = tuple(StreamReport(common.info, common.info.stages, 1, ()) for common in archive.sets)
    lines = [("header", len(HEADER)), ("sets", accounts.sets), ("chunk heads, lengths and CRC", accounts.heads), ("keys", accounts.keys)]
    lines += [("sizes and notes", accounts.sizes), ("item hashes and CRC-16", accounts.checks), ("payload", accounts.payload)]
    lines += [("whole files", accounts.files), ("unknown chunks", accounts.unknown), ("index and END", accounts.end)]
    parts = tuple(line for line in lines if line[1]) if status == "whole" else ()
    kept = archive if status != "refused" else None
    return Report(
        status, "archive", len(data), streams, tuple(problems), parts, None, kept, archive.version, whole if problems else len(archive)
    )


def _stream(file: File, number: int) -> StreamReport:
    info, content = file.streams[number], file.content
    if isinstance(content, Solo):
        return StreamReport(info, info.stages, 1, (len(content.payload),))
    sizes = [0] * info.stages
    for part in content.parts:
        if part.stream == number:
            for k, (_, data) in enumerate(part.blobs, part.stage):
                sizes[k] += len(data)
    return StreamReport(info, file.stages(number), file.segments(number), tuple(sizes))


def _solo_bytes(content: Solo, size: int) -> tuple[tuple[str, int], ...]:
    lines = [("header", content.header_bytes), ("layout", content.layout_bytes), ("side fields", content.side_bytes)]
    return (*(line for line in lines if line[1]), ("token hash", 4), ("payload", len(content.payload)), ("CRC-32", 4))


def _chunked_bytes(content: Chunked, size: int) -> tuple[tuple[str, int], ...]:
    from smalti.codecs.bitstream.streams import write_layout

    payload = sum(len(data) for part in content.parts for _, data in part.blobs)
    table = sum(part.table for part in content.parts)
    framing = sum(part.size for part in content.parts) - payload - table
    layout = sum(len(write_layout(info.layout)) for info in content.streams if info.layout is not None)
    lines = [("side fields", content.side_bytes), ("layout", layout), ("level table", table), ("unknown chunks", content.unknown_bytes)]
    lines += [("payload", payload), ("chunk heads, hashes and CRC-32", framing), ("index and END", content.end_bytes)]
    header = size - sum(count for _, count in lines)
    assert header >= len(HEADER)
    return (("header and streams", header), *(line for line in lines if line[1]))
