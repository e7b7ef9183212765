"""`smalti recipes`: what can be trained by name."""

from __future__ import annotations

from pathlib import Path

import click

from smalti.cli import options


@click.command("recipes")
@options.as_json
def command(as_json: bool) -> int:
    """List the training recipes; each is a short TOML file that smalti train takes by name."""
    from smalti.recipes.training.config import RECIPES, recipes

    found = [{"name": name, "file": str(RECIPES / f"{name}.toml"), "about": _about(RECIPES / f"{name}.toml")} for name in recipes()]
    if as_json:
        options.print_json(found)
    else:
        for item in found:
            click.echo(f"{item['name']:<18} {item['about']}")
    return 0


def _about(path: Path) -> str:
    """The first sentence of the recipe's first line."""
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    return first.removeprefix("#").strip().partition(". ")[0]
