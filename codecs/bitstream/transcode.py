"""Another prior for the same tokens: each segment is decoded and coded again where it stands. Tokens, hashes, side fields, notes and
whatever else a file says stay; the tokenizer's network does not run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from smalti.codecs.bitstream import parts, reading
from smalti.codecs.bitstream.archive import is_archive
from smalti.codecs.bitstream.archive_scan import recover
from smalti.codecs.bitstream.archive_writer import Item, Whole, write_archive
from smalti.codecs.bitstream.chunked import Chunked, Part, assemble, blob
from smalti.codecs.bitstream.file import File, parse, write
from smalti.codecs.bitstream.solo import Solo
from smalti.codecs.bitstream.streams import StreamInfo
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import BitstreamError
from smalti.tokenizers.tokens import Layout, Tokens


@dataclass(frozen=True)
class Change:
    """How a stream is coded again. layout: the model's, all stages; None for raw tokens. new_id: how the file names the new prior."""

    layout: Layout | None
    old: Prior
    new: Prior
    new_id: bytes


def transcode(data: bytes, choose: Callable[[StreamInfo], Change]) -> bytes:
    """The file with the priors that `choose` names for its streams, in the form it has; a solo file or compact item that outgrows its
    form takes the next larger one. Raises BitstreamError for damage, ModelError for a prior that does not fit."""
    if not is_archive(data):
        return _file(parse(data), choose)
    archive, _ = recover(data, strict=True)
    items: list[Item | Whole] = []
    for number, file in enumerate(archive):
        key = archive.key(number)
        if isinstance(file.content, Solo):
            tokens, info, change = _solo(file, choose)
            items.append(Item(tokens, change.new, info, key))
        else:
            items.append(Whole(_file(file, choose), key))
    return write_archive(items, archive.unknown)


def _file(file: File, choose: Callable[[StreamInfo], Change]) -> bytes:
    if isinstance(file.content, Solo):
        tokens, info, change = _solo(file, choose)
        return write(tokens, change.new, info)
    changes = [choose(info) for info in file.streams]
    made = [iter(_parts(file.content, i, change)) for i, change in enumerate(changes)]
    streams = [replace(info, prior_id=change.new_id) for info, change in zip(file.streams, changes, strict=True)]
    return assemble(streams, [next(made[part.stream]) for part in file.content.parts], file.content.unknown)


def _solo(file: File, choose: Callable[[StreamInfo], Change]) -> tuple[Tokens, StreamInfo, Change]:
    (info,) = file.streams
    change = choose(info)
    return file.tokens(change.layout, change.old), replace(info, prior_id=change.new_id), change


def _parts(content: Chunked, stream: int, change: Change) -> Iterator[Part]:
    """The chunks of a stream in their order, coded again; the file may end after any of them."""
    info = content.streams[stream]
    layout = reading.layout_of(info, change.layout)
    reading.check_prior(info, change.old)
    own = [part for part in content.parts if part.stream == stream]
    if info.grouped:
        reading.check_groups(own, info, layout)
        borders = parts.group_bounds(layout, info.unit)
        for part in own:
            whole = parts.group_layout(layout, borders[part.segment], borders[part.segment + 1])
            piece = reading.group(part, whole, change.old, info.stages)
            yield replace(part, blobs=tuple(blob(piece, k, change.new) for k in range(info.stages)))
        return
    held: Tokens | None = None
    pieces: list[Tokens] = []
    for part in own:
        borders = parts.stage_bounds(layout.stages[part.stage], info.unit)
        if part.segment + 1 >= len(borders) or part.last != (part.segment + 2 == len(borders)):
            raise BitstreamError(f"stage {layout.stages[part.stage].name} has other segments than the layout gives")
        pieces.append(reading.still_piece(part, layout, held, borders, change.old))
        yield replace(part, blobs=(blob(pieces[-1], part.stage, change.new),))
        if part.last:
            held, pieces = reading.with_stage(layout, held, pieces), []
