"""`smalti verify`: is a file whole?"""

from __future__ import annotations

from typing import Any

import click

from smalti.cli import options
from smalti.cli.documents import is_prepared, verdict, verdict_line

CODES = {"whole": 0, "damaged": 1, "refused": 2}


@click.command("verify")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.together(
    options.file_model,
    options.file_prior,
    click.option("--deep", is_flag=True, help="Of a prepared folder: hashes, every code, some items encoded again and decoded."),
    click.option("--fast", is_flag=True, help="Checksums only; tokens are not decoded and no model is needed."),
    options.as_json,
    options.quiet,
)
def command(files: tuple[str, ...], model: str | None, prior: str, deep: bool, fast: bool, as_json: bool, quiet: bool) -> int:
    """Check FILEs (.smt, or - for standard input): structure, checksums, and whether the tokens are those that were written.

    FILE may be a folder of `smalti prepare`: its files are as large as its commits say; --deep reads them all.

    Exit code 0: all whole. 1: damaged, but partly decodable: by detokenize --conceal, or of an archive item by item. 2: refused, or not to
    be read. The worst of all files counts.
    """
    found = [options.attempt(len(files) == 1, _verdict, name, model, prior, deep, fast) for name in files]
    results = [item for item in found if item is not None]
    if as_json:
        options.print_json(results)
    elif not quiet:
        for item in results:
            if item["form"] == "prepared":
                click.echo(verdict_line(item))
                continue
            hint = "; detokenize --conceal decodes what is left" if item["status"] == "damaged" and item["form"] == "chunked" else ""
            click.echo(f"{item['file']}: {item['status']}" + "".join(f"; {p}" for p in item["problems"]) + hint)
    return 2 if len(results) < len(files) else max(CODES[item["status"]] for item in results)


def _verdict(name: str, model: str | None, prior: str, deep: bool, fast: bool) -> dict[str, Any]:
    if is_prepared(name):
        return verdict(name, deep, model)
    from smalti import api
    from smalti.cli.files import name_of, read
    from smalti.codecs.bitstream import inspect
    from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError

    if deep:
        raise UsageError(f"{name_of(name)}: --deep is for folders of `smalti prepare`; of a file all is checked without it")
    data = read(name)
    report = inspect(data)
    status, problems = report.status, list(report.problems)
    if report.file is not None and status == "whole" and not fast:
        try:
            found = api.opened(report.file, model, prior=prior)
            found.tokens()
            if found.sound is not None:
                found.sound.tokens()
            problems += [f"only checksums of its sound: {found.silent}"] if found.silent else []
        except BitstreamError as error:
            status, problems = "refused", [str(error)]
        except (ModelError, UsageError) as error:
            if model is not None or prior:  # asked to check by what cannot
                raise type(error)(f"{name_of(name)}: {error}") from None
            problems = [f"only checksums, tokens not checked: {error}"]
    if report.archive is not None and status == "whole" and not fast:
        status, problems = _items(data, name_of(name), model, prior)
    stages = [stream.stages for stream in report.streams]
    return {"file": name_of(name), "form": report.form, "status": status, "problems": problems, "whole_stages": stages}


def _items(data: bytes, name: str, model: str | None, prior: str) -> tuple[str, list[str]]:
    """(status, problems) of an archive whose checksums are right, by decoding the tokens of all items."""
    from smalti.archives import SignalArchive, title
    from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError

    archive = SignalArchive(data, model, "cpu", prior)
    wrong: list[str] = []
    for number, key in enumerate(archive.names):
        try:
            archive.opened(number).tokens()
        except BitstreamError as error:
            wrong.append(f"{title(number, key)}: {error}")
        except (ModelError, UsageError) as error:
            if model is not None or prior:
                raise type(error)(f"{name}: {title(number, key)}: {error}") from None
            return "whole", [f"only checksums of {len(archive)} items, tokens not checked: {title(number, key)}: {error}"]
    return "whole" if not wrong else "damaged" if len(wrong) < len(archive) else "refused", wrong
