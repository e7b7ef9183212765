"""`smalti transcode`: the same tokens under another prior."""

from __future__ import annotations

import click

from smalti.cli import options


@click.command("transcode")
@click.argument("file", metavar="FILE")
@options.together(
    click.option(
        "--prior",
        default="",
        metavar="PRIOR",
        help="Probabilities to code with: 'uniform', 'static', 'adaptive', 'masked' or a prior's file.  [default: the model's own]",
    ),
    click.option("--source-prior", default="", metavar="FILE", help="What FILE was coded with.  [default: as the file says]"),
    click.option("-o", "--out", metavar="OUT", help="Result file, folder (ends in / or exists) or -.  [default: FILE.transcoded.smt]"),
    options.file_model,
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    file: str, prior: str, source_prior: str, out: str | None, model: str | None, force: bool, as_json: bool, quiet: bool
) -> int:  # fmt: skip
    """Code FILE's tokens under another prior, without running the tokenizer's network: same picture, other size.

    FILE is a .smt file of any form, archives too, or - for standard input. Tokens, side fields and what the file says of its source stay.
    Without --prior the file comes back to its model's own. 'static' asks for the model's own static tables, 'masked' for the masked prior
    beside the model, whose own small network takes seconds a picture. Whoever reads the result needs the prior's file again, where one was
    given.
    """
    from pathlib import Path

    from smalti import api
    from smalti.cli.files import PIPE, name_of, plan, read, write
    from smalti.tokenizers.errors import UsageError

    if file != PIPE and Path(file).is_dir():
        raise UsageError(f"{file}: a folder; transcode takes one .smt file")
    (job,) = plan([file], out, ".transcoded.smt", (".smt",), force, as_json)
    data = read(file)
    made = api.with_name(name_of(file), lambda: api.transcode(data, prior, model, source_prior))
    write(job.target, made)
    result = {"source": job.source, "target": job.target, "bytes": len(made), "source_bytes": len(data), "changed": made != data}
    if as_json:
        options.print_json(result)
    elif not quiet:
        same = "" if made != data else "; nothing changed, it was coded so before"
        options.say_done(job.target, f"{len(made)} bytes ({name_of(file)} has {len(data)} bytes{same})")
    return 0
