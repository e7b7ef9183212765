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
    options.prior,
    options.device,
    options.threads,
    options.batch,
    options.as_json,
    options.quiet,
)
def command(
    model: str,
    data: tuple[str, ...],
    nets: tuple[str, ...],
    names: tuple[str, ...],
    prior: str,
    device: str,
    threads: int | None,
    batch: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measure MODEL on DATA (pictures, or folders of them) at each of its rates.

    Bits per pixel are those of whole files, headers included. Codebook use is counted over all tokens: perplexity, entries used, entropy.
    Metrics are psnr, lpips-alex, lpips-vgg and those of installed extensions; LPIPS networks are looked for below $SMALTI_JUDGES, and
    run where the model runs. Exit code 1: some pictures could not be read; stderr says which.
    """
    from pathlib import Path

    from smalti import api
    from smalti.codecs.media.files import list_images
    from smalti.recipes.evaluation import evaluate
    from smalti.tokenizers.errors import UsageError

    files = [path for item in data for path in (list_images(item) if Path(item).is_dir() else [Path(item)])]
    if not files:
        raise UsageError(f"{', '.join(data)}: no pictures in there; name another folder")
    metrics = list(dict.fromkeys(("psnr", *(f"lpips-{net}" for net in nets), *names)))
    options.set_threads(threads)
    codec = api.codec(model, device, prior)
    with options.progress(len(files), "evaluating", quiet or as_json) as bar:
        result = evaluate(codec, files, metrics, batch, bar.update, str(getattr(codec.tokenizer, "device", "cpu")))
    for line in result["skipped"]:
        options.complain(line)
    if as_json:
        options.print_json(result)
    elif not quiet:
        _show(result)
    return options.exit_code(result["pictures"], len(result["skipped"]))


def _show(result: dict[str, Any]) -> None:
    click.echo(f"{result['model']} on {result['pictures']} pictures, means over pictures; whole files")
    names = list(result["rates"][0]["scores"])
    click.echo(f"{'stages':>6} {'bytes':>8} {'bits/pixel':>10} " + " ".join(f"{name:>11}" for name in names))
    for rate in result["rates"]:
        scores = " ".join(f"{rate['scores'][name]:>11.4f}" for name in names)
        click.echo(f"{rate['stages']:>6} {rate['bytes']:>8.0f} {rate['bits_per_pixel']:>10.4f} {scores}")
    for stage in result["codebooks"]:
        use = f"{stage['used']} of {stage['size']} entries used, perplexity {stage['perplexity']:.0f}"
        click.echo(f"{stage['stage']}: {use}, entropy {stage['entropy_bits']:.2f} bits, coded in {stage['coded_bits']:.2f} bits a token")
