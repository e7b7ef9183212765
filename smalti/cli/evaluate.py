"""`smalti evaluate`: what a model costs and what it keeps, by real file bytes."""

from __future__ import annotations

from typing import Any

import click

from smalti.cli import options


@click.command("evaluate")
@click.argument("model")
@click.argument("data", metavar="DATA...", nargs=-1, required=True)
@options.together(
    click.option(
        "--lpips", "nets", multiple=True, type=click.Choice(["alex", "vgg"]), help="The same as --metric lpips-alex or lpips-vgg."
    ),
    click.option("--metric", "names", multiple=True, metavar="NAME", help="Judge by this metric besides PSNR; may be given again."),
    click.option("--task", "tasks", multiple=True, metavar="NAME", help="Score the whole set by this task; may be given again."),
    click.option(
        "--bpp",
        "rates",
        multiple=True,
        type=click.FloatRange(0, min_open=True),
        metavar="R",
        help="Measure files of at most R bits per pixel; may be given again.",
    ),
    options.allocate,
    click.option("--labels", metavar="FILE", help="JSON object of class numbers by file name, for classification-accuracy."),
    click.option("--use-picture", metavar="FILE", help="Write a picture of how often each codebook entry is used (PNG)."),
    options.prior,
    options.tone_passes,
    options.device,
    options.threads,
    options.batch,
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    model: str,
    data: tuple[str, ...],
    nets: tuple[str, ...],
    names: tuple[str, ...],
    tasks: tuple[str, ...],
    rates: tuple[float, ...],
    allocate: bool,
    labels: str | None,
    use_picture: str | None,
    prior: str,
    tone_passes: int,
    device: str,
    threads: int | None,
    batch: int,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measure MODEL on DATA (pictures, or folders of them) at each of its numbers of stages, or at the rates of --bpp.

    Bits per pixel are those of whole files, headers included. Codebook use is counted over all tokens: entries used, perplexity, entropy,
    and the bits that tokens share with neighbours and levels, less what chance shares.

    Metrics, means over pictures, are psnr, psnr-y, ssim, ms-ssim, ms-ssim-db, lpips-alex, lpips-vgg and those of installed extensions.
    Tasks, of all pictures at once, are classification-agreement, classification-accuracy, frechet-distance, kernel-distance; beside
    their scores stands the ceiling, that of the pictures as they are. Their networks come by smalti fetch-judges.

    Exit code 1: some pictures could not be read; stderr says which.
    """
    from pathlib import Path

    from smalti import api
    from smalti.cli.files import Job, check
    from smalti.codecs.media.files import list_images
    from smalti.recipes.evaluation import evaluate
    from smalti.tokenizers.contracts import Target
    from smalti.tokenizers.errors import UsageError

    if use_picture:
        check([Job(model, use_picture)], force, as_json, "--use-picture")
    files = [path for item in data for path in (list_images(item) if Path(item).is_dir() else [Path(item)])]
    if not files:
        raise UsageError(f"{', '.join(data)}: no pictures in there; name another folder")
    metrics = list(dict.fromkeys(("psnr", *(f"lpips-{net}" for net in nets), *names)))
    numbers = _labels(labels) if labels else None
    options.set_threads(threads)
    codec = api.codec(model, device, prior, tone_passes, allocate)
    with options.progress(len(files), "evaluating", quiet or as_json) as bar:
        where = str(getattr(codec.tokenizer, "device", "cpu"))
        chosen, drawn = list(dict.fromkeys(tasks)), Path(use_picture) if use_picture else None
        targets = [Target(bits_per_pixel=rate) for rate in rates]
        result = evaluate(codec, files, metrics, batch, bar.update, where, chosen, numbers, drawn, targets)
    for line in result["skipped"]:
        options.complain(line)
    if as_json:
        options.print_json(result)
    elif not quiet:
        _show(result)
    return options.exit_code(result["pictures"], len(result["skipped"]))


def _labels(file: str) -> dict[str, int]:
    import json

    from smalti.codecs.media.files import read_bytes
    from smalti.tokenizers.errors import UsageError

    try:
        labels = json.loads(read_bytes(file))
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, dict) or not all(type(number) is int and number >= 0 for number in labels.values()):
        raise UsageError(f"{file}: no labels, expected a JSON object of class numbers by file name")
    return labels


def _show(result: dict[str, Any]) -> None:
    click.echo(f"{result['model']} on {result['pictures']} pictures, means over pictures; whole files")
    columns = [*result["rates"][0]["scores"], *result["tasks"]]
    widths = [max(11, len(name)) for name in columns]
    click.echo(_row("stages", "bytes", "bits/pixel", columns, widths))
    for rate in result["rates"]:
        scores = [f"{value:.4f}" for value in (*rate["scores"].values(), *rate["tasks"].values())]
        click.echo(_row(f"{rate['stages']:.3g}", f"{rate['bytes']:.0f}", f"{rate['bits_per_pixel']:.4f}", scores, widths))
    for name, task in result["tasks"].items():
        click.echo(f"{name}: {task['ceiling']:.4f} on the pictures as they are; {task['better']} is better")
    for stage in result["codebooks"]:
        use = f"{stage['used']} of {stage['size']} entries used, {stage['dead']} dead, perplexity {stage['perplexity']:.0f}"
        bits = f"entropy {stage['entropy_bits']:.2f} bits, coded in {stage['coded_bits']:.2f} bits a token"
        click.echo(f"{stage['stage']}: {use}, {bits}{_shared(stage)}")


def _shared(stage: dict[str, Any]) -> str:
    """What its tokens say about others, where that was counted."""
    named = {"its right neighbour": stage["neighbour_bits"], "the level before": stage["level_bits"]}
    return "".join(f", {bits:.2f} shared with {name}" for name, bits in named.items() if bits is not None)


def _row(stages: str, size: str, rate: str, scores: list[str], widths: list[int]) -> str:
    return " ".join([f"{stages:>6} {size:>8} {rate:>10}", *(f"{score:>{width}}" for score, width in zip(scores, widths, strict=True))])
