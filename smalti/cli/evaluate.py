"""`smalti evaluate`: what a model costs and what it keeps, by real file bytes."""

from __future__ import annotations

import click

from smalti.cli import options


@click.command("evaluate")
@click.argument("model")
@click.argument("data", metavar="DATA...", nargs=-1, required=True)
@options.together(
    click.option("--lpips", "nets", multiple=True, type=click.Choice(["alex", "vgg"]), help="Judge by LPIPS too; may be given twice."),
    click.option("--prior", default="", metavar="PRIOR", help="'uniform' or a file of tables.  [default: the model's own]"),
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
    prior: str,
    device: str,
    threads: int | None,
    batch: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Measure MODEL on DATA (pictures or folders of them) at each of its rates.

    Bits per pixel are those of whole files, headers included. Codebook use is counted over all tokens: perplexity, entries used, entropy.
    """
    from pathlib import Path

    from smalti import api
    from smalti.codecs.media.files import list_images
    from smalti.recipes.evaluation import evaluate

    options.set_threads(threads)
    files = [path for item in data for path in (list_images(Path(item)) if Path(item).is_dir() else [Path(item)])]
    with options.progress(len(files), "evaluating", quiet or as_json) as bar:
        result = evaluate(api.codec(model, device, prior), files, nets, batch, bar.update)
    if as_json:
        options.print_json(result)
        return 1 if result["skipped"] else 0
    for line in result["skipped"]:
        options.say(f"smalti: {line}")
    click.echo(f"{result['model']} on {result['pictures']} pictures, means over pictures; whole files")
    names = list(result["rates"][0]["scores"])
    click.echo(f"{'stages':>6} {'bytes':>8} {'bits/pixel':>10} " + " ".join(f"{name:>11}" for name in names))
    for rate in result["rates"]:
        scores = " ".join(f"{rate['scores'][name]:>11.4f}" for name in names)
        click.echo(f"{rate['stages']:>6} {rate['bytes']:>8.0f} {rate['bits_per_pixel']:>10.4f} {scores}")
    for stage in result["codebooks"]:
        use = f"{stage['used']} of {stage['size']} entries used, perplexity {stage['perplexity']:.0f}"
        click.echo(f"{stage['stage']}: {use}, entropy {stage['entropy_bits']:.2f} bits, coded in {stage['coded_bits']:.2f} bits a token")
    return 1 if result["skipped"] else 0
