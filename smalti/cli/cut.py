"""`smalti cut`: a prefix of a file as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from smalti.cli import options

if TYPE_CHECKING:
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
    pictures) is coded again, so its model must be there; the chunked form needs no model.
    """
    from pathlib import Path

    from smalti import api
    from smalti.cli.files import PIPE, name_of, plan, read, write
    from smalti.codecs.bitstream import parse
    from smalti.tokenizers.errors import UsageError

    if (stages is None) == (limit_bytes is None):
        raise click.UsageError("give either --stages or --bytes", click.get_current_context())
    if file != PIPE and Path(file).is_dir():
        raise UsageError(f"{file}: a folder; cut takes one .smt file")
    (job,) = plan([file], out, ".cut.smt", (".smt",), force, as_json)
    data = read(file)
    parsed = api.with_name(name_of(file), lambda: parse(data))
    shorter = api.with_name(name_of(file), lambda: _shorter(parsed, limit_bytes, stages, model, prior))
    write(job.target, shorter)
    held, kept = parsed.streams[0].stages, parse(shorter).streams[0].stages
    result = {"source": job.source, "target": job.target, "bytes": len(shorter), "stages": kept, "source_bytes": len(data)}
    if as_json:
        options.print_json(result)
    elif not quiet:
        options.say_done(job.target, f"{len(shorter)} bytes, {kept} of {held} stages ({name_of(file)} has {len(data)} bytes)")
    return 0


def _shorter(file: File, limit_bytes: int | None, stages: int | None, model: str | None, prior: str) -> bytes:
    from smalti import api
    from smalti.codecs.neural import write_within
    from smalti.tokenizers.contracts import Target
    from smalti.tokenizers.errors import UsageError

    held = max(info.stages for info in file.streams)
    if stages is not None and stages > held:
        raise UsageError(f"it holds {held} stages, asked for {stages}")
    if file.form == "solo":
        found = api.opened(file, model, prior=prior)
        return write_within(found.tokens(), found.prior, found.info, Target(bytes=limit_bytes, stages=stages))
    if stages is not None:
        return file.cut(stages)
    assert limit_bytes is not None
    shorter = file.cut(held)
    for k in range(held - 1, 0, -1):
        if len(shorter) <= limit_bytes:
            break
        shorter = file.cut(k)
    if len(shorter) > limit_bytes:
        raise UsageError(f"the smallest file of this signal has {len(shorter)} bytes, the target allows {limit_bytes}")
    return shorter
