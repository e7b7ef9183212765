"""`smalti fit-prior`: integer tables of how often a model's tokens occur, from data, beside the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti.cli import options

if TYPE_CHECKING:
    from smalti.tokenizers.tokens import Tokens
    from smalti.tokenizers.zoo import ModelInfo


@click.command("fit-prior")
@click.argument("model")
@click.argument("data", metavar="DATA...", nargs=-1, required=True)
@options.together(
    click.option("-o", "--out", metavar="FILE", help="Where the tables go.  [default: static.safetensors beside the model]"),
    options.tone_passes,
    options.trust_code,
    options.device,
    options.threads,
    options.batch,
    options.force,
    options.as_json,
    options.quiet,
)
def command(
    model: str, data: tuple[str, ...], out: str | None, tone_passes: int | None, device: str, threads: int | None, batch: int,
    force: bool, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """Fit tables of how often each token of MODEL occurs to DATA (files or folders of what the model takes).

    MODEL is ours or a public one (hf:..., hub:..., file:...). smalti tokenize -m MODEL --prior static then writes smaller files, which
    every reader that has the tables decodes: they are integers, the same on every machine, and are found again beside the model. A file
    of tables that lies elsewhere is given as --prior FILE, for reading too.

    Exit code 1: some files could not be read; stderr says which.
    """
    from smalti import api
    from smalti.cli.signals import NAMES, modality, suffixes
    from smalti.codecs.media.files import list_files
    from smalti.codecs.priors import stored
    from smalti.codecs.priors.static import StaticPrior
    from smalti.codecs.priors.uniform import UniformPrior
    from smalti.tokenizers import zoo
    from smalti.tokenizers.errors import UsageError

    info = zoo.find(model)
    place = _place(info, out, stored.STATIC, force)
    subject = modality(model, ())
    files = [path for item in data for path in (list_files(item, suffixes(subject)) if Path(item).is_dir() else [Path(item)])]
    if not files:
        raise UsageError(f"{', '.join(data)}: no {NAMES[subject]} in there; name another folder")
    options.set_threads(threads)
    codec = api.codec(model, device, "uniform", tone_passes)
    tokens: list[Tokens] = []
    skipped: list[str] = []
    with options.progress(len(files), "tokenizing", quiet or as_json) as bar:
        for start in range(0, len(files), batch):
            taken = files[start : start + batch]
            signals = list(_readable(info, taken, skipped))
            tokens += codec.encode(signals)
            bar.update(len(taken))
    for line in skipped:
        options.complain(line)
    if not tokens:
        raise UsageError(f"{', '.join(data)}: none of the files can be read")
    prior = StaticPrior.fit(tokens)
    place.parent.mkdir(parents=True, exist_ok=True)
    prior.save(place)
    count = sum(item.count for item in tokens)
    result = {
        "model": info.name, "prior": prior.id.hex(), "file": str(place), "bytes": place.stat().st_size, NAMES[subject]: len(tokens),
        "tokens": count, "bits_per_token": _bits(prior, tokens) / count, "uniform_bits_per_token": _bits(UniformPrior(), tokens) / count,
        "skipped": skipped,
    }  # fmt: skip
    if as_json:
        options.print_json(result)
    elif not quiet:
        rate, plain = result["bits_per_token"], result["uniform_bits_per_token"]
        made = f"tables {result['prior']}, {result['bytes']} bytes, of {count} tokens"
        click.echo(f"{place}: {made}; {rate:.3f} bits a token of these very {NAMES[subject]}, {plain:.3f} without tables")
    return options.exit_code(len(tokens), len(skipped))


def _place(info: ModelInfo, out: str | None, name: str, force: bool) -> Path:
    from smalti.tokenizers.errors import UsageError
    from smalti.tokenizers.zoo.folder import ZOO

    if out is None and info.folder.is_relative_to(ZOO):
        raise UsageError(f"{info.name} is part of this installation, which is left as it is; name a file for the tables with -o")
    place = info.beside(name) if out is None else Path(out)
    if place.is_dir():
        place = place / name
    if place.exists() and not force:
        raise UsageError(f"{place} exists; --force writes over it, -o names another place")
    return place


def _readable(info: ModelInfo, files: Sequence[Path], skipped: list[str]) -> Iterator[Any]:
    """What a model takes of each file; those that cannot be read are noted."""
    from smalti import media
    from smalti.tokenizers.errors import SignalError

    for path in files:
        try:
            yield media.read_for(info.kind, path)
        except SignalError as error:
            skipped.append(str(error))


def _bits(prior: Any, tokens: Sequence[Tokens]) -> float:
    return float(sum(sum(prior.price(item)) for item in tokens))
