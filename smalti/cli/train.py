"""`smalti train`: the one loop, from a recipe to a model folder."""

from __future__ import annotations

from pathlib import Path

import click

from smalti.cli import options


@click.command("train")
@click.argument("recipe")
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE]...")
@options.together(
    click.option("--runs", default="runs", show_default=True, metavar="DIR", help="Where run folders lie."),
    options.device,
    options.threads,
    options.as_json,
    options.quiet,
)
def command(recipe: str, changes: tuple[str, ...], runs: str, device: str, threads: int | None, as_json: bool, quiet: bool) -> int:
    """Train a model by RECIPE (see smalti recipes, or a .toml file): smalti train image-grid-16 data=DIR

    Any key of the recipe can be changed: steps=2000, optimizer.learning_rate=1e-3, loss.lpips_alex=0. init=MODEL starts from a
    model's weights (fine-tuning). The same call again resumes an interrupted run. LPIPS losses need their network: see $SMALTI_JUDGES.

    A run leaves config.json, log.jsonl, sheets of reconstructions (of sounds, files to listen to) and, at the end, a model folder to be
    used with -m. Several processes: accelerate launch -m smalti train ...; a batch is then that of each.
    """
    from smalti.recipes.training import config as recipes

    config = recipes.load(recipe, changes)
    made_by = recipes.command(recipe, config)  # now: the file may have changed when the run ends
    options.set_threads(threads)
    from smalti.recipes.training.loop import Run
    from smalti.recipes.training.release import release

    run = Run(config, Path(runs), device, quiet or as_json)
    result = run.train()
    if not run.is_main:
        run.close()
        return 0
    info = release(result, config, run.files, run.holdout, str(run.accelerator.device), made_by)
    run.close()
    if as_json:
        options.print_json(
            {"run": str(result.folder), "model": str(info.folder), "seconds": result.seconds, "skipped": list(result.skipped)}
        )
    elif not quiet:
        what = "SOUND" if config.data.kind == "sounds" else "PHOTO"
        made = f"model of {info.bytes / 1e6:.1f} MB after {result.seconds:.0f} s"
        click.echo(f"{info.folder}: {made}; try smalti tokenize {what} -m {info.folder}")
    if result.skipped:
        options.say(f"smalti: {len(result.skipped)} files could not be read; they are named in {result.folder / 'log.jsonl'}")
    return 1 if result.skipped else 0
