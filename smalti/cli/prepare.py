"""`smalti prepare`: a folder of media as token shards for trainers."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from smalti.cli import options, packs

if TYPE_CHECKING:
    from smalti.prepare.engine import Event
    from smalti.prepare.packs import Pack
    from smalti.prepare.run import Prepared


@click.command("prepare")
@click.argument("source", metavar="SRC")
@click.argument("folder", metavar="OUT", required=False, default="")
@options.together(
    click.option("-m", "--model", "models", multiple=True, metavar="MODEL", help="Model name or folder; one for each kind."),
    click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Who does the work."),
    click.option("--ray-address", metavar="A", help="Of a running Ray cluster.  [default: one is started here]"),
    click.option("-j", "jobs", type=options.Whole(1), metavar="N", help="Worker processes.  [default: one per core, or GPU]"),
    click.option("--max-errors", type=options.Whole(0), metavar="N", help="Stop when more items than N failed.  [default: any number may]"),
    click.option(
        "--unit", type=options.Whole(1), metavar="N", help="Items in a unit of work.  [default: by kind, 8 films to 2048 pictures]"
    ),
    click.option("--batch", type=options.Whole(1), metavar="N", help="Items of one shape that the network sees together.  [default: 16]"),
    click.option("--threads", type=options.Whole(1), metavar="N", help="CPU threads of the network in each worker.  [default: 1]"),
    click.option(
        "--held-out", type=click.FloatRange(0, 1), metavar="X", help="Share of items kept from training, by key.  [default: 0.01]"
    ),
    click.option("--column", default="", metavar="NAME", help="Of tables: the column of bytes.  [default: the first one]"),
    click.option("--key-column", default="", metavar="NAME", help="Of tables: a column of unique names.  [default: file and row]"),
    click.option(
        "--any-machine", is_flag=True, help="Leave the kind of processor out of the plan; codes may then differ between machines."
    ),
    click.option("--clean", is_flag=True, help="Remove what earlier runs left half-done."),
    click.option("--sheet", type=options.Whole(1), metavar="N", help="Draw N documents, decoded, into OUT/sheet.png."),
    packs.asked,
    options.device,
    click.option(
        "--force", is_flag=True, help="Accept tokens that say hardly anything: half of them one and little else, or 1 % of entries used."
    ),
    options.as_json,
    options.quiet,
)
def command(
    source: str, folder: str, models: tuple[str, ...], engine: str, ray_address: str | None, jobs: int | None, max_errors: int | None,
    unit: int | None, batch: int | None, threads: int | None, held_out: float | None, column: str, key_column: str, any_machine: bool,
    clean: bool, sheet: int | None, device: str, force: bool, as_json: bool, quiet: bool,
    **asked_for: Any,
) -> int:  # fmt: skip
    """Turn SRC, a folder of pictures, sounds, films or shapes, into token shards in the folder OUT, for programs that train on tokens.

    SRC is a folder (with all folders in it), a text file with a path in each line, tar files of samples as WebDataset lays them down
    (shards-{000..019}.tar, 'shards/*.tar'), or .parquet files with a column of bytes; paths or URLs. Give a model for each kind of media in
    it: -m image-grid-16 -m audio-single-16k. What no model takes is left out, and counted.

    A run that was stopped, however it was, goes on from its last unit when the same command is given again. Codes depend on neither the
    number of workers nor the engine: OUT/dataset.json has a digest over all of them. `smalti verify OUT --deep` reads everything again,
    `smalti detokenize OUT --key K` gives an item back.

    --pack NAME also writes what a language model is trained on: ids of all levels in one stream, in a trainer's own files, packed into rows
    of a context. Items that are held out become a pack NAME-held-out. With --repack another pack is made of what is prepared already.

    Items that cannot be read are listed in OUT/codes/*.errors.jsonl with the reason; so is one that killed a worker twice.

    Exit code 1: done, but some items failed.
    """
    from smalti.prepare.run import Listener, Options, prepare

    packs.check_asked(asked_for)
    if asked_for["repack"]:
        return packs.only_packs(folder or source, asked_for, as_json, quiet)
    if not folder or not models:
        raise click.UsageError(
            f"missing {'OUT' if not folder else '-m MODEL'}: smalti prepare SRC OUT -m MODEL", click.get_current_context()
        )
    wanted = Options(
        unit, batch, threads, held_out, device, any_machine, column, key_column, engine, ray_address, jobs, max_errors, clean, force
    )
    progress = Progress(quiet or as_json)
    listener = Listener((lambda line: None) if quiet else options.say, progress.begin, progress.event)
    try:
        done = prepare(source, folder, models, wanted, listener)
    finally:
        progress.end()
    drawn = _sheet(done, sheet, device)
    packed = packs.write(done.codes, asked_for, quiet or as_json) if asked_for["pack"] else []
    _report(folder, done, drawn, packed, as_json, quiet)
    return int(bool(done.codes.manifest["errors"]))


class Progress:
    """Items done, a rate and the time left, on stderr; silent where that is no terminal. State: when it began, and what is done."""

    def __init__(self, silent: bool) -> None:
        self.silent = silent or not sys.stderr.isatty()
        self.items = self.before = self.done = 0
        self.partly: dict[int, int] = {}
        self.began = self.shown = time.monotonic()

    def begin(self, items: int, done: int) -> None:
        self.items, self.before, self.done = items, done, done
        self.began = time.monotonic()

    def event(self, event: Event) -> None:
        if event.kind == "items":
            self.partly[event.unit] = self.partly.get(event.unit, 0) + event.counts["count"]
        elif event.kind == "lost":
            self.partly.pop(event.unit, None)
        else:
            self.partly.pop(event.unit, None)
            self.done += event.counts["documents"] + event.counts["errors"]
        if not self.silent and time.monotonic() - self.shown > 0.2:
            self.shown = time.monotonic()
            click.echo(f"\r\033[K{self.line(self.shown - self.began)}", err=True, nl=False)

    def line(self, seconds: float) -> str:
        """What is shown after so many seconds."""
        done = self.done + sum(self.partly.values())
        rate = (done - self.before) / max(seconds, 1e-9)
        left = f"{_time((self.items - done) / rate)} left" if rate > 0 else "..."
        return f"preparing  {done} of {self.items}  {rate:.1f}/s  {left}"

    def end(self) -> None:
        if not self.silent and self.shown > self.began:
            click.echo("\r\033[K", err=True, nl=False)


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _sheet(done: Prepared, count: int | None, device: str) -> str | None:
    if count is None:
        return None
    from smalti.prepare.sheet import draw

    return str(draw(done.codes, count, device))


def _report(folder: str, done: Prepared, sheet: str | None, packed: list[Pack], as_json: bool, quiet: bool) -> None:
    about, left_out = done.codes.manifest, sum(done.left_out.values())
    if as_json:
        facts: dict[str, Any] = {key: about[key] for key in ("digest", "items", "documents", "tokens", "errors", "held_out", "models")}
        found = {"folder": folder, **facts, "units": done.units, "units_before": done.done_before, "left_out": done.left_out}
        found |= {"sheet": sheet, "busy_seconds": done.busy_seconds, "cpu_seconds": done.cpu_seconds}
        found |= {"removed": [str(path) for path in done.removed], "packs": [packs.facts(pack) for pack in packed]}
        options.print_json([found])
    if left_out and not quiet:
        most = sorted(done.left_out.items(), key=lambda item: -item[1])[:4]
        options.say(f"{left_out} files that no model takes are left out: {', '.join(f'{count} {ending}' for ending, count in most)}")
    if about["errors"]:
        options.say(f"{about['errors']} of {about['items']} items failed; {done.codes.places.codes} says why in *.errors.jsonl")
    if quiet or as_json:
        return
    units = f"{done.units} unit{'' if done.units == 1 else 's'}"
    options.say_done(folder, f"{about['documents']} documents, {about['tokens']} tokens in {units}; digest {about['digest'][:16]}")
    for model in about["models"]:
        for stage in model["stages"]:
            click.echo(
                f"  {model['name']} {stage['name']}: {stage['tokens']} tokens of {stage['vocab']} entries, "
                f"{stage['entropy_bits']:.2f} bits each, {stage['used']:.1%} used, most frequent {stage['top_share']:.1%}"
            )
    if sheet is not None:
        click.echo(f"{sheet}: a sheet of decoded documents")
    packs.say(packed, quiet)
