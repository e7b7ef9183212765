"""A parsed `.smt` file: what it says, and its tokens once a model's layout and a prior are at hand."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace

from smalti.codecs.bitstream import parts
from smalti.codecs.bitstream.chunked import Chunked, Entry, Part, assemble, read_chunked, write_chunked
from smalti.codecs.bitstream.reading import check_groups, check_prior, group, grouped_tokens, layout_of, solo_tokens, still_tokens
from smalti.codecs.bitstream.solo import MAX_PAYLOAD, SOLO, Solo, read_solo, write_solo
from smalti.codecs.bitstream.streams import StreamInfo
from smalti.codecs.bitstream.wire import ARCHIVE, check_header
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import BitstreamError, UsageError
from smalti.tokenizers.tokens import Layout, Tokens

SOLO_SECONDS = {"audio": 60.0, "video": 10.0}  # beyond, it is worth the bytes that parts of it can be reached, and survive damage of others


@dataclass(frozen=True)
class File:
    """A file whose structure, limits and CRCs were checked; no token is decoded yet. `size` in bytes. said: damage around it, in the
    archive that it was found in.
    """

    content: Solo | Chunked
    size: int
    said: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        return "solo" if isinstance(self.content, Solo) else "chunked"

    @property
    def version(self) -> tuple[int, int]:
        return self.content.version

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        return (self.content.info,) if isinstance(self.content, Solo) else self.content.streams

    @property
    def problems(self) -> tuple[str, ...]:
        """Damage that a reading which was not strict left out."""
        return self.said if isinstance(self.content, Solo) else (*self.said, *self.content.problems)

    @property
    def is_left(self) -> bool:
        """Whether of a damaged file something came through that `salvage` may decode: not the later stages alone."""
        return bool(self.problems) and (isinstance(self.content, Solo) or any(part.stage == 0 for part in self.content.parts))

    def stages(self, stream: int = 0) -> int:
        """How many leading stages are whole; for streams in groups all levels, or 0 without a first one."""
        info = self.streams[stream]
        if isinstance(self.content, Solo):
            return info.stages
        if info.grouped:
            return info.stages if self.segments(stream) else 0
        held = {(p.stage, p.segment): p.last for p in self.content.parts if p.stream == stream}
        whole = 0
        while whole < info.stages and _run(held, whole)[1]:
            whole += 1
        return whole

    def segments(self, stream: int = 0) -> int:
        """How many leading groups, of time or rows, are whole; 1 in solo form."""
        if isinstance(self.content, Solo):
            return 1
        grouped = self.streams[stream].grouped
        return _run({(p.stage if not grouped else 0, p.segment): p.last for p in self.content.parts if p.stream == stream}, 0)[0]

    def tokens(self, layout: Layout | None, prior: Prior, stream: int = 0, stages: int | None = None) -> Tokens:
        """The tokens of a stream: the longest decodable prefix of what is held, or the first `stages` of it.

        layout: the model's for `streams[stream].signal`, all stages; None for raw tokens. A stream in groups that was cut after one gives
        the steps or rows that are there. Raises BitstreamError for damage, ModelError for another prior or layout.
        """
        info = self.streams[stream]
        layout = layout_of(info, layout)
        check_prior(info, prior)
        whole = self.stages(stream)
        wanted = stages if stages is not None else max((c for c in layout.cuts if c <= whole), default=0)
        if stages is not None and stages > info.stages:
            raise UsageError(f"it holds {info.stages} stages, asked for {stages}")
        if stages is not None and stages not in layout.cuts:
            raise UsageError(f"the first {stages} stages do not decode on their own; choose one of {', '.join(map(str, layout.cuts))}")
        if not 0 < wanted <= whole:
            raise BitstreamError(f"the file holds {whole} whole stages, too few to decode {f'the first {wanted}' if wanted else 'any'}")
        if isinstance(self.content, Solo):
            tokens = solo_tokens(self.content, layout, prior)
            return tokens if wanted == whole else tokens.prefix(wanted)
        own = [p for p in self.content.parts if p.stream == stream]
        if info.grouped:
            return grouped_tokens(own[: self.segments(stream)], info, layout, prior, wanted)
        return still_tokens(own, info, layout.prefix(wanted), prior)

    def region(self, layout: Layout | None, prior: Prior, start: int, stop: int, stream: int = 0, stages: int | None = None) -> Tokens:
        """Steps [start, stop) of time, or rows of a still signal, counted in the first stage's.

        In a stream in groups only those that hold them are decoded, of them only the wanted `stages`; the others may be damaged.
        Raises as `tokens` does, UsageError where the stages share no such axis.
        """
        info = self.streams[stream]
        full = layout_of(info, layout)
        if not parts.group_axis(full) or not 0 <= start < stop <= parts.group_steps(full):
            raise UsageError(f"a region is a stretch of an axis that all stages share; found {start}..{stop} of {full.stages}")
        if isinstance(self.content, Solo) or not info.grouped:
            return parts.group_tokens(self.tokens(layout, prior, stream, stages), start, stop)
        check_prior(info, prior)
        wanted = info.stages if stages is None else stages
        if wanted not in full.cuts or wanted > info.stages:
            raise UsageError(f"the file holds {info.stages} stages, of which {', '.join(map(str, full.cuts))} decode; asked for {wanted}")
        check_groups([], info, full)
        borders = parts.group_bounds(full, info.unit)
        first, last = bisect_right(borders, start) - 1, bisect_left(borders, stop)
        held = {p.segment: p for p in self.content.parts if p.stream == stream and first <= p.segment < last}
        if missing := [s for s in range(first, last) if s not in held]:
            raise BitstreamError(f"segment {missing[0]} of the region is damaged or missing")
        pieces = [group(held[s], parts.group_layout(full, borders[s], borders[s + 1]), prior, wanted) for s in range(first, last)]
        there = parts.group_layout(full, borders[first], borders[last]).prefix(wanted)
        joined = parts.join(there, pieces, parts.group_axis(full))
        return parts.group_tokens(joined, start - borders[first], stop - borders[first])

    def cut(self, stages: int, layout: Layout | None = None, prior: Prior | None = None) -> bytes:
        """A file of the first `stages` of every stream, with all side fields and chunks that this release may skip.

        Chunked files drop chunks and levels and need neither layout nor prior. Raises UsageError where these stages do not decode.
        """
        if isinstance(self.content, Solo):
            if prior is None or (layout is None and self.content.info.layout is None):
                raise UsageError("a solo file is cut by coding its tokens again: that needs the model's layout and prior")
            return write_solo(self.tokens(layout, prior, 0, stages), prior, self.content.info)
        if self.problems:
            raise BitstreamError(f"a damaged file is not cut: {self.problems[0]}")
        streams = tuple(replace(info, stages=min(stages, info.stages)) for info in self.streams)
        if stages < 1 or any(i.layout is not None and stages < i.stages and stages not in i.layout.cuts for i in self.streams):
            raise UsageError(f"the first {stages} stages do not decode on their own")
        kept = [p.stage < streams[p.stream].stages for p in self.content.parts]
        held = [_shortened(p, streams[p.stream]) for p, keep in zip(self.content.parts, kept, strict=True) if keep]
        return assemble(streams, held, [replace(extra, before=sum(kept[: extra.before])) for extra in self.content.unknown])

    def truncate(self, chunks: int) -> bytes:
        """A chunked file of the first `chunks` TOKENS chunks, with its END written again."""
        if isinstance(self.content, Solo):
            raise UsageError("a solo file has no chunks")
        return assemble(self.streams, self.content.parts[:chunks], [e for e in self.content.unknown if e.before <= chunks])


def parse(data: bytes, strict: bool = True) -> File:
    """A file taken apart and checked; imports neither torch nor numba. Raises BitstreamError.

    Not strict: damaged chunks of a chunked file are left out and named in `problems`; what came through their CRC is kept.
    """
    _, flags = check_header(data)
    if flags == ARCHIVE:
        raise BitstreamError("an archive of many signals, not a file of one: open it with Archive")
    return File(read_solo(data) if flags & SOLO else read_chunked(data, strict), len(data))


def write(tokens: Tokens, prior: Prior, info: StreamInfo, form: str = "auto") -> bytes:
    """The file of one signal. form: "solo", "chunked", "grouped" (chunked, all levels of some rows together, so that regions are read
    alone), or "auto": solo where it fits and a sound or film has no more than SOLO_SECONDS, else chunked."""
    if form not in ("auto", "solo", "chunked", "grouped"):
        raise UsageError(f"the forms are auto, solo, chunked and grouped, found {form!r}")
    # one-sixteenth: no prior worth its name makes more of it, and coding a large signal twice is slow
    small = tokens.uniform_bits <= 16 * 8 * MAX_PAYLOAD and _seconds(info) <= SOLO_SECONDS.get(info.modality, 0.0)
    if form == "solo" or (form == "auto" and small):
        try:
            return write_solo(tokens, prior, info)
        except UsageError:
            if form == "solo":
                raise
    return write_chunked([Entry(tokens, prior, info, form == "grouped")])


def _seconds(info: StreamInfo) -> float:
    """Of a sound or film; 0 of other signals."""
    size = dict(info.signal)
    if info.modality == "video":
        return size["frames"] * size["rate_den"] / size["rate_num"]
    return size["samples"] / size["rate"] if info.modality == "audio" else 0.0


def _run(held: dict[tuple[int, int], bool], stage: int) -> tuple[int, bool]:
    """(segments of a stage that follow one another from 0, whether the last of them is its last)."""
    count = 0
    while (stage, count) in held:
        count += 1
        if held[stage, count - 1]:
            return count, True
    return count, False


def _shortened(part: Part, info: StreamInfo) -> Part:
    return replace(part, blobs=part.blobs[: info.stages]) if info.grouped else part
