"""`smalti cut`: a prefix of a file as a file."""

from __future__ import annotations

import click

from smalti.cli import options


@click.command("cut")
@click.argument("file", metavar="FILE")
@options.together(
    options.limit_bytes,
    options.stages,
    click.option("-o", "--out", metavar="OUT", help="Result file.  [default: FILE.cut.smt]"),
    click.option("-m", "--model", metavar="MODEL", help="Model name or folder.  [default: the one that the file names]"),
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    file: str, limit_bytes: int | None, stages: int | None, out: str | None, model: str | None, force: bool, as_json: bool, quiet: bool
) -> int:
    """Make a shorter file of FILE's first stages, without running a network.

    Give --stages K, or --bytes N for the longest prefix of at most N bytes. FILE may be - for standard input.
    """
    from smalti import api
    from smalti.cli.files import plan, read, write
    from smalti.codecs.bitstream import parse
    from smalti.codecs.media.files import read_bytes
    from smalti.codecs.neural import write_within
    from smalti.tokenizers.contracts import Target
    from smalti.tokenizers.errors import SmaltiError

    if (stages is None) == (limit_bytes is None):
        raise click.UsageError("give --stages or --bytes", click.get_current_context())
    (job,) = plan([file], out, ".cut.smt", (".smt",), force)
    source = read(job)
    data = source if isinstance(source, bytes) else read_bytes(source)
    try:
        parsed = parse(data)
        info = api.the_stream(parsed)
        if stages is not None and stages > info.stages:
            raise click.UsageError(f"{file} holds {info.stages} stages, asked for {stages}", click.get_current_context())
        if parsed.form == "chunked" and stages is not None:
            shorter = parsed.cut(stages)
        else:
            tokens = api.tokens_of(parsed, model)
            prior = api.prior_for(info, None if info.layout is not None else api.model_of(info, model))
            shorter = write_within(tokens, prior, info, Target(bytes=limit_bytes, stages=stages))
    except SmaltiError as error:
        raise type(error)(f"{file}: {error}") from None
    write(job, shorter)
    result = {
        "source": job.source,
        "target": job.target,
        "bytes": len(shorter),
        "stages": parse(shorter).stages(),
        "source_bytes": len(data),
    }
    if as_json:
        options.print_json(result)
    elif not quiet:
        line = f"{job.target}: {len(shorter)} bytes, {result['stages']} of {info.stages} stages ({file} has {len(data)} bytes)"
        options.say(line) if job.target == "-" else click.echo(line)
    return 0
