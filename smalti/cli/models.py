"""`smalti models`: what can be used by name."""

from __future__ import annotations

from typing import Any

import click

from smalti.cli import options


@click.command("models")
@click.argument("name", required=False)
@options.as_json
def command(name: str | None, as_json: bool) -> int:
    """List the models, or show the card of NAME: how it was made, licence, rates, metrics, limits.

    Models are shipped with Smalti or lie below the folders that $SMALTI_MODELS lists, as NAME/NUMBER/. NAME is the newest, NAME@NUMBER
    that very one; where a model is asked for, a model folder will do. Public models are listed where such a folder holds their own, as
    NAME/config.json with its weights; any other is named as hf:FOLDER_OR_NAME, hub:NAME or file:PATH.
    """
    from smalti.tokenizers import zoo

    found = [zoo.find(name)] if name else zoo.known()
    for line in [] if name else zoo.problems():
        options.say(f"smalti: {line}")
    if as_json:
        options.print_json([_describe(info) for info in found])
        return 0
    if not found:
        click.echo("no models here; make one with smalti train, or put some below a folder that $SMALTI_MODELS names")
        return 0
    if name:
        click.echo(found[0].card.rstrip() or f"{found[0].name}: no card")
        return 0
    for item in map(_describe, found):
        click.echo(
            f"{item['name']:<18} {item['tokenizer']:<12} {item['bytes'] / 1e6:5.1f} MB  "
            f"{(item['fingerprint'] or 'damaged')[:12]:<12}  {item['summary']}"
        )
    click.echo("\nsmalti models NAME shows a card: recipe, data, licence, rates, metrics, limits.")
    return 0


def _describe(info: Any) -> dict[str, Any]:
    """A model as a plain dictionary; one whose weights are missing or damaged is named on stderr and has no fingerprint."""
    from smalti.tokenizers import zoo
    from smalti.tokenizers.audio.delay import delay_of
    from smalti.tokenizers.errors import ModelError

    delay = delay_of(info.kind, info.config)
    fingerprint: str | None = None
    try:
        fingerprint = zoo.fingerprint_of(info)
    except ModelError as error:
        options.say(f"smalti: {error}")
    return {
        "name": info.name,
        "tokenizer": info.kind,
        "folder": str(info.folder),
        "bytes": info.bytes,
        "fingerprint": fingerprint,
        "prior": info.prior or "uniform",
        "summary": info.summary,
        "licence": info.licence,
        "delay_seconds": delay.seconds if delay else None,
        "config": info.config,
        "card": info.card,
    }
