"""`smalti compare`: codecs beside each other by real bytes, in one report."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.compare.results import Report

Step = Callable[[str, int, int], None]


@click.command("compare")
@click.argument("data", metavar="DATA...", nargs=-1, required=True)
@options.together(
    click.option("--codecs", metavar="A,B,...", help="Codecs and models, with settings behind a colon.  [default: the usual of the kind]"),
    click.option("-o", "--output", metavar="DIR", help="Where the report goes.  [default: ./comparison]"),
    click.option("--metrics", metavar="A,B,...", help="Metrics, and tasks too.  [default: the usual of the kind]"),
    click.option("--tasks", metavar="A,B,...", help="What machines are asked; 'none' for nothing.  [default: pictures: classification]"),
    click.option("--rates", type=options.Whole(1), metavar="N", help="At most N settings of each codec's ladder."),
    click.option("--anchor", metavar="A", help="The codec that others are set against.  [default: the first]"),
    click.option("--limit", type=options.Whole(1), metavar="N", help="Only the first N files."),
    click.option("--labels", metavar="FILE", help="Class numbers by file name, as JSON or lines of name, tab, number."),
    click.option("--texts", metavar="FILE", help="What is said or written, by file name, in the same forms."),
    click.option(
        "--resume/--fresh", default=True, show_default=True, help="Go on where an earlier run into DIR was stopped, or forget it."
    ),
    click.option("-j", "processes", type=options.Whole(1), metavar="N", help="Processes at a time.  [default: one for each core]"),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, metavar="N", help="Of bootstraps."),
    click.option("--no-page", is_flag=True, help="JSON and CSV alone."),
    click.option("--page-only", is_flag=True, help="Make the page of DATA, a folder with a report.json, anew."),
    click.option("--diff", is_flag=True, help="Say what changed from one report.json to another; DATA are these two."),
    options.as_json,
    options.quiet,
)
def command(
    data: tuple[str, ...], codecs: str | None, output: str | None, metrics: str | None, tasks: str | None, rates: int | None,
    anchor: str | None, limit: int | None, labels: str | None, texts: str | None, resume: bool, processes: int | None, seed: int,
    no_page: bool, page_only: bool, diff: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Compare codecs on DATA (pictures, sounds, films or shapes of one kind, or folders of them) by the bytes of real files.

    Writes report.html (one page, no network needed), report.json, rows.csv, curves.csv and bd.csv into DIR. What was measured is kept in
    DIR/cache: a run that was stopped goes on, and one with another codec or metric measures that alone.

    Codecs: names that `smalti models` lists, jpeg, webp, avif, opus, x264, draco, ... (a wrong name lists all of its kind); NAME/2 and
    NAME/4 see pictures and films smaller; MODEL+zlib packs a model's tokens by zlib; package.module:factory is a codec of your own.

    \b
    Settings stand behind a colon:
      jpeg:10,30,50              qualities
      audio-residual-16k:2,4,8   numbers of stages
      image-line:0.02bpp,0.05bpp rates; also kbps, and b for bytes

    BD rates need 4 settings and verdicts 6 files; a codec with fewer is listed with its rates alone.

    --diff A.json B.json prints what changed beyond the intervals, and ends with 1 where something did.

    Exit code 1: something failed, or what was asked for is not at hand; the report and stderr say what.
    """
    if diff:
        return _diff(data, as_json, quiet)
    if page_only:
        return _page_only(data, quiet)
    from smalti.compare.api import compare
    from smalti.compare.engine import processes_by_default

    with _progress(quiet or as_json) as step:
        report = compare(
            data, codecs, output or "comparison", metrics=_names(metrics), tasks=_names(tasks), rates=rates, anchor=anchor, limit=limit,
            labels=labels, texts=texts, processes=processes or processes_by_default(), resume=resume, page=not no_page, seed=seed,
            step=step,
        )  # fmt: skip
    for item in report.absent:
        options.complain(f"{item.name} is not at hand: {item.reason}; {item.remedy}")
    _complain_of_failures(report)
    if as_json:
        from smalti.tokenizers.configs import to_dict

        options.print_json(to_dict(report))
    elif not quiet:
        _show(report, Path(output or "comparison"))
    return options.exit_code(len(report.rows), len(report.failures) + _asked_and_absent(report, bool(codecs), bool(metrics or tasks)))


def _asked_and_absent(report: Report, codecs: bool, judges: bool) -> int:
    """How many of those that were named are not at hand. codecs, judges: whether such were named, or the usual ones taken."""
    from smalti.metrics.registry import known, known_tasks

    of_judges = sum(item.name in known() or item.name in known_tasks() for item in report.absent)
    return codecs * (len(report.absent) - of_judges) + judges * of_judges


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [] if text == "none" else [name.strip() for name in text.split(",") if name.strip()]


@contextmanager
def _progress(hidden: bool) -> Iterator[Step]:
    """A bar for each part of the work on stderr, with files a second and time left; nothing where stderr is no terminal."""
    if hidden or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    ]  # fmt: skip
    bars: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def step(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total, rate="")
            speed = progress.tasks[bars[what]].speed
            progress.update(bars[what], completed=done, rate=f"{speed:.2f}/s" if speed else "")

        yield step


def _complain_of_failures(report: Report, most: int = 8) -> None:
    for failure in report.failures[:most]:
        where = " ".join(part for part in (failure.item, failure.codec, failure.setting) if part)
        options.complain(f"{where}: {failure.stage}: {failure.error}" if where else f"{failure.stage}: {failure.error}")
    if len(report.failures) > most:
        options.complain(f"{len(report.failures) - most} more failures, see the report")


def _show(report: Report, out: Path) -> None:
    """The table of curves, BD rates against the first codec, and where the rest is."""
    judged = [*(metric.name for metric in report.metrics), *(task.name for task in report.tasks)]
    count = len(report.items)
    click.echo(f"{count} item{'' if count == 1 else 's'}, rates in {report.rate.unit}, means over items")
    width = max(len(codec.name) for codec in report.codecs)
    label = max((len(s) for codec in report.codecs for s in codec.settings), default=0)
    columns = [max(10, len(name)) for name in judged]
    titles = " ".join(f"{name:>{n}}" for name, n in zip(judged, columns, strict=True))
    click.echo(f"{'codec':<{width}} {'setting':<{label}} {'rate':>9} {titles}")
    points = {(curve.codec, curve.metric, point.setting): point for curve in report.curves for point in curve.points}
    for codec in report.codecs:
        for setting in codec.settings:
            found = [points.get((codec.name, name, setting)) for name in judged]
            rate = next((point.rate for point in found if point is not None), None)
            if rate is not None:
                cells = [
                    f"{'-' if p is None or p.value is None else format(p.value, '.4f'):>{n}}" for p, n in zip(found, columns, strict=True)
                ]
                click.echo(f"{codec.name:<{width}} {setting:<{label}} {rate:>9.4f} {' '.join(cells)}")
    for bd in report.bd:
        if bd.anchor == report.codecs[0].name and bd.codec != bd.anchor and bd.percent is not None:
            ends = f" ({bd.low:+.1f} to {bd.high:+.1f})" if bd.low is not None and bd.high is not None else ""
            why = f": {bd.reason}" if bd.reason else ""
            click.echo(f"{bd.codec} against {bd.anchor} by {bd.metric}: {bd.percent:+.1f} % bytes{ends}, {bd.verdict}{why}")
    page = out / "report.html"
    click.echo(f"{page if page.exists() else out / 'report.json'}: the report; rows.csv, curves.csv, bd.csv beside it")


def _diff(data: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    from smalti.compare.difference import difference
    from smalti.compare.results import load
    from smalti.tokenizers.errors import UsageError

    if len(data) != 2:
        raise UsageError(f"--diff takes two reports, found {len(data)} names; give A/report.json B/report.json")
    lines = difference(*(load(Path(name) / "report.json" if Path(name).is_dir() else name) for name in data))
    if as_json:
        options.print_json(lines)
    else:
        for line in lines:  # names in reports of others may hold what terminals obey
            click.echo("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line))
        if not lines and not quiet:
            options.say("nothing changed beyond the intervals")
    return int(bool(lines))


def _page_only(data: tuple[str, ...], quiet: bool) -> int:
    from smalti.compare.engine import write_page
    from smalti.tokenizers.errors import UsageError

    if len(data) != 1:
        raise UsageError(f"--page-only takes the folder of one report, found {len(data)} names")
    place = write_page(Path(data[0]))
    if not quiet:
        click.echo(f"{place}: the page")
    return 0
