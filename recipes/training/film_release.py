"""From a run on films to a model folder: half-precision weights, the adaptive prior primed on training films, a card with numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from smalti.codecs.bitstream import write
from smalti.codecs.neural import info_of
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.metrics.registry import resolve
from smalti.recipes.prime_prior import trees
from smalti.recipes.training.cards import LICENCE, machine, training_seconds
from smalti.recipes.training.config import FilmDataConfig, LossConfig, TrainingConfig
from smalti.recipes.training.film_data import read_frames
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Prior, Tokenizer
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Image, Video
from smalti.tokenizers.tokens import Tokens
from smalti.tokenizers.zoo import ModelInfo

PRIOR_FILMS = 100
RATE = Fraction(25)  # of films whose own is not asked for


def release(
    trained: Any, run: Path, config: TrainingConfig, files: Sequence[Path], holdout: Sequence[Path], device: str, made_by: str
) -> ModelInfo:
    """Write the model folder of a run and return what it says of itself; made_by: the command line that makes it again."""
    folder = run / "model"
    zoo.save(trained, folder)
    stored = zoo.load(str(folder), device)  # tokens of the weights as they are stored, not as they were trained
    tokens = [stored.encode([film])[0] for film in films(files[:: max(1, -(-len(files) // PRIOR_FILMS))])]
    prior = AdaptivePrior.prime(trees(stored.net.quantizer, tokens[0].layout.stages), tokens)
    names = ["psnr", *(["lpips-alex"] if isinstance(config.loss, LossConfig) and config.loss.lpips_alex else [])]
    rows = evaluate(stored, prior, holdout, names)
    rates = ", ".join(f"{row['bits_per_pixel']:.4f}" for row in rows)
    stride, group = trained.config.stride, trained.config.group
    summary = f"films, {stride} x {stride} pixels and {group} frames a token, {rates} bits per pixel"
    card = _card(config, run, rows, summary, len(files), made_by, device)
    return zoo.save(trained, folder, prior, card=card, about={"summary": summary, "licence": LICENCE})


def films(files: Sequence[Path]) -> Iterator[Video]:
    """The films of files that can be read; training has named the others already."""
    for path in files:
        try:
            yield Video(list(read_frames(path)), RATE)
        except SignalError:
            continue


def evaluate(tokenizer: Tokenizer, prior: Prior, files: Sequence[Path], metrics: Sequence[str]) -> list[dict[str, float]]:
    """For each decodable prefix: stages, bits per pixel of whole files and scores of frames, means over films. SignalError for no film."""
    judges = [resolve(name, str(getattr(tokenizer, "device", "cpu"))) for name in metrics]
    found: dict[int, list[dict[str, float]]] = {}
    for film in films(files):
        frames = list(film.frames)
        (tokens,) = tokenizer.encode([film])
        for cut in tokens.layout.cuts:
            part = tokens.prefix(cut)
            (drawn,) = tokenizer.decode([part])
            assert isinstance(drawn, Video)
            row = {"bits_per_pixel": _bits(tokenizer, prior, film, part) / (len(frames) * frames[0].shape[0] * frames[0].shape[1])}
            scores: dict[str, list[float]] = {judge.name: [] for judge in judges}
            for frame, picture in zip(frames, drawn.frames, strict=True):
                for judge in judges:
                    scores[judge.name].append(judge(Image(frame), Image(picture)).value)
            found.setdefault(cut, []).append(row | {name: math.fsum(values) / len(values) for name, values in scores.items()})
    if not found:
        raise SignalError(f"no film to evaluate on among {len(files)} files")
    return [{"stages": cut} | {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]} for cut, rows in found.items()]


def _bits(tokenizer: Tokenizer, prior: Prior, film: Video, tokens: Tokens) -> int:
    return 8 * len(write(tokens, prior, info_of(tokenizer, film, tokens, prior.id)))


def _card(config: TrainingConfig, run: Path, rows: Sequence[dict[str, float]], summary: str, count: int, made_by: str, device: str) -> str:
    assert isinstance(config.data, FilmDataConfig)
    names = [name for name in rows[0] if name not in ("stages", "bits_per_pixel")]
    table = [f"| stages | bits per pixel | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
    for row in rows:
        cells = " | ".join(f"{row[name]:.3f}" for name in names)
        table.append(f"| {row['stages']:.0f} | {row['bits_per_pixel']:.4f} | {cells} |")
    lines = [
        f"# {config.name}",
        "",
        f"{summary[0].upper()}{summary[1:]}.",
        "",
        f"- Recipe: {f'`{made_by}`' if made_by else 'its own, see config.json of the run'}: {config.steps} steps, seed {config.seed}, "
        f"crops of {config.data.frames} frames of {config.data.crop} pixels, batch {config.batch}"
        + (f", from {config.init}." if config.init else "."),
        f"- Data: {count} films of the folder given as `data`"
        + (", and pictures of the one given as `data.pictures`" if config.data.pictures else "")
        + ". The weights carry the licence of that data.",
        f"- Time: {training_seconds(run) / 60:.0f} minutes of training on {machine(device)}, torch {torch.__version__}.",
        "- Prior: adaptive mixing, primed on the training films.",
        "",
        "Measured on held-out films of the same folder, means over films, whole files:",
        "",
        *table,
        "",
        "Limits: a lossy model of what it was trained on; fast and fine motion between keys is guessed.",
    ]
    return "\n".join(lines) + "\n"
