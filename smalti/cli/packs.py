"""What `smalti prepare` asks and says about packs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.prepare.codes import Codes
    from smalti.prepare.packs import Pack

F = TypeVar("F", bound=Callable[..., Any])
NAMES = ("pack", "pattern", "context", "packing", "format", "row_ends", "bos", "vocabulary", "shard_bytes", "repack")
# as in smalti.prepare.packs, which a command line that only helps does not import
PATTERNS, PACKINGS = ("flatten", "delay", "coarse-first"), ("best-fit", "concat", "documents")
FORMATS = ("megatron", "datatrove", "litdata", "llmc", "nanogpt", "parquet", "mds", "webdataset")

asked = options.together(
    click.option("--pack", metavar="NAME", help="Also write a stream of ids for language models into OUT/packs/NAME."),
    click.option(
        "--pattern", type=click.Choice(PATTERNS), default="flatten", show_default=True,
        help="Order of the tokens in it: all levels of a place together, level k k steps later, or one level after the other.",
    ),
    click.option(
        "--context", type=options.Whole(1), default=1024, show_default=True, metavar="N", help="Ids that a model sees; rows have one more."
    ),
    click.option(
        "--packing", type=click.Choice(PACKINGS), default="best-fit", show_default=True,
        help="Documents whole in rows, cut at their ends, or without rows. Nothing is ever dropped.",
    ),
    click.option("--format", type=click.Choice(FORMATS), default="megatron", show_default=True, help="Whose files to write."),
    click.option("--row-ends/--no-row-ends", default=True, show_default=True, help="An id after each row of a picture."),
    click.option("--bos/--no-bos", default=True, show_default=True, help="An id before each document; one after it there always is."),
    click.option("--vocabulary", metavar="PACK", help="Use the ids of another pack's folder, so that both can be trained on together."),
    click.option("--shard-bytes", type=options.Whole(1), metavar="N", help="Of a file, at most.  [default: by format, 64 MiB to 1 GiB]"),
    click.option("--repack", is_flag=True, help="Only write a pack, of a prepared OUT: smalti prepare OUT --repack."),
)  # fmt: skip


def check_asked(asked_for: dict[str, Any]) -> None:
    """Options of packs without a pack are a mistake that would only show when the work is done."""
    context = click.get_current_context()
    given = [name for name in NAMES[1:-1] if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given and not asked_for["pack"] and not asked_for["repack"]:
        raise click.UsageError(f"--{given[0].replace('_', '-')} is about packs, and none is asked for; add --pack NAME", context)


def write(codes: Codes, asked_for: dict[str, Any], quiet: bool) -> list[Pack]:
    """The packs that these options ask for: of all documents, or of training and the held-out ones apart."""
    from smalti.prepare.packs import PackOptions, open_manifest, write_packs

    vocabulary = open_manifest(asked_for["vocabulary"]).vocabulary if asked_for["vocabulary"] else None
    chosen = PackOptions(
        name=asked_for["pack"] or "tokens",
        pattern=asked_for["pattern"],
        context=asked_for["context"],
        packing=asked_for["packing"],
        format=asked_for["format"],
        row_ends=asked_for["row_ends"],
        bos=asked_for["bos"],
        vocabulary=vocabulary,
        shard_bytes=asked_for["shard_bytes"],
    )
    progress = Progress(quiet)
    try:
        return write_packs(codes, chosen, progress, force=asked_for["repack"])
    finally:
        progress.end()


def only_packs(folder: str, asked_for: dict[str, Any], as_json: bool, quiet: bool) -> int:
    """`--repack`: no network, no source."""
    from smalti.prepare import open_codes

    packs = write(open_codes(folder), asked_for, quiet or as_json)
    if as_json:
        options.print_json([{"folder": folder, "packs": [facts(pack) for pack in packs]}])
    else:
        say(packs, quiet)
    return 0


def facts(pack: Pack) -> dict[str, Any]:
    """Of a pack, for --json."""
    keys = ("name", "subset", "pattern", "packing", "format", "row", "documents", "sequences", "tokens", "ids", "padding", "digest")
    about = {key: getattr(pack, key) for key in keys}
    return {"folder": str(pack.folder), **about, "vocabulary": pack.vocabulary.to_json()}


def say(packs: list[Pack], quiet: bool) -> None:
    """A line on each."""
    for pack in [] if quiet else packs:
        rows = f" in {pack.sequences} rows of {pack.row}" if pack.row else ""
        options.say_done(
            str(pack.folder),
            f"{pack.documents} documents, {pack.ids} ids{rows} ({pack.padding / pack.ids:.1%} padding), {pack.vocabulary.total} different "
            f"ones as {pack.vocabulary.dtype.name}, for {pack.format}; digest {pack.digest[:16]}",
        )


class Progress:
    """Documents packed and a rate, on stderr; silent where that is no terminal. State: when it began."""

    def __init__(self, silent: bool) -> None:
        self.silent = silent or not sys.stderr.isatty()
        self.began = self.shown = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not self.silent and now - self.shown > 0.2:
            self.shown = now
            click.echo(f"\r\033[Kpacking  {done} of {total}  {done / (now - self.began):.0f}/s", err=True, nl=False)

    def end(self) -> None:
        if not self.silent and self.shown > self.began:
            click.echo("\r\033[K", err=True, nl=False)
