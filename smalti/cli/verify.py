"""`smalti verify`: is a file whole?"""

from __future__ import annotations

from typing import Any

import click

from smalti.cli import options

CODES = {"whole": 0, "damaged": 1, "refused": 2}


@click.command("verify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-m", "--model", metavar="MODEL", help="Model name or folder.  [default: the one that the file names]")
@click.option("--fast", is_flag=True, help="Checksums only; tokens are not decoded and no model is needed.")
@options.together(options.as_json, options.quiet)
def command(files: tuple[str, ...], model: str | None, fast: bool, as_json: bool, quiet: bool) -> int:
    """Check FILEs: structure, checksums, and whether the tokens are those that were written.

    Exit code 0: all whole. 1: damaged, but partly decodable. 2: refused. The worst of all files counts.
    """
    from smalti.cli.info import read_file
    from smalti.codecs.bitstream import inspect

    results = [_verdict(name, inspect(read_file(name)), model, fast) for name in files]
    if as_json:
        options.print_json(results)
    elif not quiet:
        for item in results:
            click.echo(f"{item['file']}: {item['status']}" + "".join(f"; {p}" for p in item["problems"]))
    return max(CODES[item["status"]] for item in results)


def _verdict(name: str, report: Any, model: str | None, fast: bool) -> dict[str, Any]:
    from smalti import api
    from smalti.tokenizers.errors import BitstreamError, ModelError

    status, problems = report.status, list(report.problems)
    if status == "whole" and not fast:
        try:
            api.tokens_of(report.file, model)
        except BitstreamError as error:
            status, problems = "refused", [str(error)]
        except ModelError as error:
            problems = [f"tokens not checked: {error}"]
    stages = [stream.stages for stream in report.streams]
    return {"file": name, "status": status, "problems": problems, "whole_stages": stages}
