"""`smalti cut`: a prefix of a file as a file, and of an archive prefixes of its items."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.archives import SignalArchive
    from smalti.cli.files import Job
    from smalti.codecs.bitstream import File


@click.command("cut")
@click.argument("file", metavar="FILE")
@options.together(
    options.limit_bytes,
    options.stages,
    click.option("-o", "--out", metavar="OUT", help="Result file, folder (ends in / or exists) or -.  [default: FILE.cut.smt]"),
    options.file_model,
    options.file_prior,
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    file: str, limit_bytes: int | None, stages: int | None, out: str | None, model: str | None, prior: str,
    force: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Make a shorter file of FILE's first stages, without running the tokenizer's network.

    Give --stages K, or --bytes N for as many stages as fit into N bytes. FILE may be - for standard input. The short form of a file (most
    pictures) is coded again, so its model must be there; the chunked form needs no model. Where it is there, stages that
    do not decode on their own are refused.

    Of an archive every item is cut: --stages K keeps K stages of those that have more, and the others as they are; --bytes N makes the
    whole archive fit, each item giving up about the same share of its bytes, and needs the models of all items.
    """
    from pathlib import Path

    from smalti import api
    from smalti.cli.files import PIPE, name_of, plan, read, write
    from smalti.codecs.bitstream import is_archive, parse
    from smalti.tokenizers.errors import UsageError

    if (stages is None) == (limit_bytes is None):
        raise click.UsageError("give either --stages or --bytes", click.get_current_context())
    if file != PIPE and Path(file).is_dir():
        raise UsageError(f"{file}: a folder; cut takes one .smt file")
    (job,) = plan([file], out, ".cut.smt", (".smt",), force, as_json)
    data = read(file)
    if is_archive(data):
        return _cut_archive(job, data, limit_bytes, stages, model, prior, as_json, quiet)
    parsed = api.with_name(name_of(file), lambda: parse(data))
    shorter = api.with_name(name_of(file), lambda: shorter_file(parsed, limit_bytes, stages, model, prior))
    write(job.target, shorter)
    held, kept = parsed.streams[0].stages, parse(shorter).streams[0].stages
    result = {"source": job.source, "target": job.target, "bytes": len(shorter), "stages": kept, "source_bytes": len(data)}
    if as_json:
        options.print_json(result)
    elif not quiet:
        same = "; the same" if shorter == data else ""
        options.say_done(job.target, f"{len(shorter)} bytes, {kept} of {held} stages ({name_of(file)} has {len(data)} bytes{same})")
    return 0


def shorter_file(file: File, limit_bytes: int | None, stages: int | None, model: str | None, prior: str) -> bytes:
    """The file of the first stages of all streams, so many or as many as fit; UsageError where that does not decode, or nothing fits."""
    from smalti import api
    from smalti.codecs.neural import write_within
    from smalti.tokenizers.contracts import Target
    from smalti.tokenizers.errors import UsageError

    held = max(info.stages for info in file.streams)
    if stages is not None and stages > held:
        raise UsageError(f"it holds {held} stages, asked for {stages}")
    if file.form == "solo":
        found = api.opened(file, model, prior=prior)
        if len(found.cuts) == 1 and limit_bytes is not None and file.size > limit_bytes:
            way = f"tokenize the original with --bytes {limit_bytes}, or with a model of several stages"
            raise UsageError(f"its {file.size} bytes are of one piece and cannot be cut; {way}")
        return write_within(found.tokens(), found.prior, found.info, Target(bytes=limit_bytes, stages=stages))
    if stages is not None:
        return _cut(file, stages, model)
    assert limit_bytes is not None
    shorter = file.cut(held)
    for k in reversed(_decodable(file, model)):
        if len(shorter) <= limit_bytes:
            break
        shorter = file.cut(k)
    if len(shorter) > limit_bytes:
        raise UsageError(f"the smallest file of this signal has {len(shorter)} bytes, the target allows {limit_bytes}")
    return shorter


def _cut(file: File, stages: int, model: str | None) -> bytes:
    """A chunked file's first stages; UsageError where they do not decode."""
    from smalti.tokenizers.errors import UsageError

    cuts = _decodable(file, model)
    if stages not in cuts:
        raise UsageError(f"the first {stages} stages do not decode on their own; choose one of {', '.join(map(str, cuts))}")
    return file.cut(stages)


def _decodable(file: File, model: str | None) -> list[int]:
    """How many first stages of all streams decode, ascending; of a stream whose model is not at hand, any number is taken to."""
    from smalti import api
    from smalti.tokenizers.errors import ModelError, UsageError

    found = set(range(1, max(info.stages for info in file.streams) + 1))
    for i, info in enumerate(file.streams):
        try:
            layout = info.layout or api.load_info(api.model_of(info.fingerprint, None if i else model), "cpu").layout(info.signal)
        except (ModelError, UsageError):
            continue
        found = {k for k in found if k >= info.stages or k in layout.cuts}
    return sorted(found)


def _cut_archive(
    job: Job, data: bytes, limit_bytes: int | None, stages: int | None, model: str | None, prior: str, as_json: bool, quiet: bool
) -> int:
    from smalti import api
    from smalti.archives import SignalArchive
    from smalti.cli.files import name_of, write

    archive = api.with_name(name_of(job.source), lambda: SignalArchive(data, model, "cpu", prior))
    shorter = api.with_name(name_of(job.source), lambda: _shorter_archive(archive, data, limit_bytes, stages, model))
    write(job.target, shorter)
    kept = [max(info.stages for info in item.streams) for item in SignalArchive(shorter).items]
    result = {"source": job.source, "target": job.target, "bytes": len(shorter), "stages": kept, "source_bytes": len(data)}
    if as_json:
        options.print_json(result)
    elif not quiet:
        few, most = min(kept), max(kept)
        held = options.stages_of(most) if few == most else f"{few} to {options.stages_of(most)}"
        many = f"{len(kept)} item{'' if len(kept) == 1 else 's'}"
        same = "; the same: no item is shorter now" if shorter == data else ""
        options.say_done(job.target, f"{len(shorter)} bytes, {many} of {held} ({name_of(job.source)} has {len(data)} bytes{same})")
    return 0


def _shorter_archive(archive: SignalArchive, data: bytes, limit_bytes: int | None, stages: int | None, model: str | None) -> bytes:
    from smalti.codecs.bitstream.shorten import cut_archive, fit_archive

    if stages is not None:
        return cut_archive(data, stages, lambda number, file, count: _prefix(archive, number, file, count, model))
    assert limit_bytes is not None

    def sizes(number: int, file: File) -> list[int]:
        return [len(shorter) for shorter in _prefixes(archive, number, file, _cuts(archive, number, file, model), model)]

    def prefix(number: int, file: File, place: int) -> bytes:
        return _prefix(archive, number, file, _cuts(archive, number, file, model)[place], model)

    return fit_archive(data, limit_bytes, sizes, prefix)


def _cuts(archive: SignalArchive, number: int, file: File, model: str | None) -> list[int]:
    """How many first stages of an item decode, ascending."""
    held = max(info.stages for info in file.streams)
    found = archive.opened(number)
    return _decodable(file, model) if file.form == "chunked" else [cut for cut in found.cuts if cut <= held]


def _prefix(archive: SignalArchive, number: int, file: File, stages: int, model: str | None) -> bytes:
    return next(_prefixes(archive, number, file, [stages], model))


def _prefixes(archive: SignalArchive, number: int, file: File, cuts: Sequence[int], model: str | None) -> Iterator[bytes]:
    """Files of prefixes of an item, one at a time. Of a chunked item no token is decoded, and no model is needed."""
    from functools import partial

    from smalti import api
    from smalti.archives import title
    from smalti.codecs.bitstream import write

    name = title(number, archive.name(number))
    if file.form == "chunked":
        yield from (api.with_name(name, partial(_cut, file, cut, model)) for cut in cuts)
        return
    found = api.with_name(name, lambda: archive.opened(number))
    tokens = api.with_name(name, found.tokens)
    yield from (write(tokens.prefix(cut), found.prior, found.info) for cut in cuts)
