"""`smalti verify`: is a file whole?"""

from __future__ import annotations

from typing import Any

import click

from smalti.cli import options

CODES = {"whole": 0, "damaged": 1, "refused": 2}


@click.command("verify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.together(
    options.file_model,
    options.file_prior,
    click.option("--fast", is_flag=True, help="Checksums only; tokens are not decoded and no model is needed."),
    options.as_json,
    options.quiet,
)
def command(files: tuple[str, ...], model: str | None, prior: str, fast: bool, as_json: bool, quiet: bool) -> int:
    """Check FILEs (.smt, or - for standard input): structure, checksums, and whether the tokens are those that were written.

    Exit code 0: all whole. 1: damaged, but partly decodable. 2: refused, or not to be read. The worst of all files counts.
    """
    found = [options.attempt(len(files) == 1, _verdict, name, model, prior, fast) for name in files]
    results = [item for item in found if item is not None]
    if as_json:
        options.print_json(results)
    elif not quiet:
        for item in results:
            click.echo(f"{item['file']}: {item['status']}" + "".join(f"; {p}" for p in item["problems"]))
    return 2 if len(results) < len(files) else max(CODES[item["status"]] for item in results)


def _verdict(name: str, model: str | None, prior: str, fast: bool) -> dict[str, Any]:
    from smalti import api
    from smalti.cli.files import name_of, read
    from smalti.codecs.bitstream import inspect
    from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError

    report = inspect(read(name))
    status, problems = report.status, list(report.problems)
    if report.file is not None and status == "whole" and not fast:
        try:
            api.opened(report.file, model, prior=prior).tokens()
        except BitstreamError as error:
            status, problems = "refused", [str(error)]
        except (ModelError, UsageError) as error:
            if model is not None or prior:  # asked to check by what cannot
                raise type(error)(f"{name_of(name)}: {error}") from None
            problems = [f"only checksums, tokens not checked: {error}"]
    if report.archive is not None and status == "whole" and not fast:
        problems = [f"only checksums of {report.items} items, tokens not checked"]
    stages = [stream.stages for stream in report.streams]
    return {"file": name_of(name), "status": status, "problems": problems, "whole_stages": stages}
