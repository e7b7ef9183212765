"""`smalti detokenize`: token files back to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.cli.files import Job

RESULTS = ("png", "jpg", "webp")


@click.command("detokenize")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@options.together(
    click.option("-m", "--model", metavar="MODEL", help="Model name or folder.  [default: the one that the file names]"),
    click.option("-o", "--out", metavar="OUT", help="Result file or folder; the ending chooses PNG, JPEG or WebP.  [default: FILE.png]"),
    options.stages,
    options.limit_bytes,
    options.device,
    options.threads,
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    files: tuple[str, ...], model: str | None, out: str | None, stages: int | None, limit_bytes: int | None,
    device: str, threads: int | None, force: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Turn token files (.smt, or .json and .npy from tokenize) back into pictures of exactly the size that went in.

    FILE may be a folder, or - for standard input (.smt). --stages K or --bytes N decode a prefix: a coarser picture. A .npy array needs
    --model.
    """
    from smalti.cli.files import plan
    from smalti.tokenizers.errors import SmaltiError

    if stages and limit_bytes:
        raise click.UsageError("give --stages or --bytes, not both", click.get_current_context())
    jobs = plan(files, out, ".png", (".smt", ".json", ".npy"), force)
    options.set_threads(threads)
    results: list[dict[str, Any]] = []
    failed = False
    with options.progress(len(jobs), "detokenizing", quiet or as_json) as bar:
        for job in jobs:
            try:
                results.append(_one(job, model, stages, limit_bytes, device))
            except SmaltiError as error:
                if len(jobs) == 1:
                    raise
                failed = True
                options.say(f"smalti: {error}")
            bar.update(1)
    if as_json:
        options.print_json(results)
    elif not quiet:
        for item in results:
            line = f"{item['target']}: {item['width']} x {item['height']} from {item['stages']} stages"
            options.say(line) if item["target"] == "-" else click.echo(line)
    return 1 if failed else 0


def _one(job: Job, model: str | None, stages: int | None, limit_bytes: int | None, device: str) -> dict[str, Any]:
    from smalti.cli.files import read, write
    from smalti.codecs.media.files import read_bytes
    from smalti.codecs.media.images import encode_image
    from smalti.tokenizers.signals import Image

    source = read(job)
    data = source if isinstance(source, bytes) else read_bytes(source)
    name = "standard input" if job.source == "-" else job.source
    ending = Path(job.source).suffix.lower()
    if ending in (".npy", ".json"):
        tokens, tokenizer = _from_array(data, ending, name, model, device)
    else:
        tokens, tokenizer = _from_smt(data, name, model, limit_bytes, device)
    tokens = tokens.prefix(stages) if stages else tokens
    (picture,) = tokenizer.decode([tokens])
    assert isinstance(picture, Image)
    suffix = Path(job.target).suffix if job.target != "-" else ".png"
    write(job, encode_image(picture, suffix, job.target))
    return {
        "source": job.source,
        "target": job.target,
        "height": picture.height,
        "width": picture.width,
        "stages": len(tokens.arrays),
        "model": tokenizer.name,
    }


def _from_smt(data: bytes, name: str, model: str | None, limit_bytes: int | None, device: str) -> tuple[Any, Any]:
    from smalti import api
    from smalti.codecs.bitstream import parse
    from smalti.tokenizers.errors import SmaltiError

    try:
        file = parse(data)
        info = api.the_stream(file)
        tokens = api.tokens_of(file, model)
        tokenizer = api.load_info(api.model_of(info, model), device)
        if limit_bytes:
            tokens = tokens.prefix(_fitting(tokens, info, model, limit_bytes))
    except SmaltiError as error:
        raise type(error)(f"{name}: {error}") from None
    return tokens, tokenizer


def _fitting(tokens: Any, info: Any, model: str | None, limit_bytes: int) -> int:
    from smalti import api
    from smalti.codecs.bitstream import parse
    from smalti.codecs.neural import write_within
    from smalti.tokenizers.contracts import Target

    prior = api.prior_for(info, api.model_of(info, model))
    return parse(write_within(tokens, prior, info, Target(bytes=limit_bytes))).stages()


def _from_array(data: bytes, ending: str, name: str, model: str | None, device: str) -> tuple[Any, Any]:
    from smalti import api
    from smalti.cli import arrays
    from smalti.tokenizers.errors import UsageError

    if len(data) > arrays.MAX_BYTES:
        raise UsageError(f"{name}: more than {arrays.MAX_BYTES} bytes of tokens; use .smt for signals this large")
    if ending == ".json":
        tokens, made_by = arrays.from_json(data, name)
        return tokens, api.load(model or made_by, device)
    if model is None:
        raise UsageError(f"{name}: an array does not say which model made it; name one with --model")
    tokenizer = api.load(model, device)
    return arrays.from_npy(data, tokenizer, name), tokenizer
