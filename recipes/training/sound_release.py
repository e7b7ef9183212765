"""From a finished run on sounds to a model folder: half-precision weights, static tables fitted to the training tokens, and a card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smalti.codecs.media.audio import read_audio
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.static import StaticPrior
from smalti.metrics.audio import SISDR, MelDistance
from smalti.metrics.tokens import use_of
from smalti.recipes.training.cards import LICENCE, machine, training_seconds
from smalti.recipes.training.config import TrainingConfig
from smalti.recipes.training.sound_holdout import SCORED_SECONDS, at_rate, middle
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Audio
from smalti.tokenizers.tokens import Tokens
from smalti.tokenizers.zoo import ModelInfo

PRIOR_SOUNDS = 400


@dataclass(frozen=True)
class Rate:
    """What a number of stages costs and keeps. kbps: all bytes of all files over all seconds. scores: means over files."""

    stages: int
    kbps: float
    scores: dict[str, float]


def release(
    trained: Any, run: Path, config: TrainingConfig, files: Sequence[Path], holdout: Sequence[Path], device: str, made_by: str
) -> ModelInfo:
    """Write the model folder of a run and return what it says of itself; made_by: the command line that makes it again."""
    folder = run / "model"
    zoo.save(trained, folder)
    stored = zoo.load(str(folder), device)  # tokens of the weights as they are stored, not as they were trained
    rate = stored.config.rate
    prior = StaticPrior.fit(_tokens(stored, files[:: max(1, -(-len(files) // PRIOR_SOUNDS))], rate))
    rates = evaluate(NeuralCodec(stored, prior, config.name), holdout, rate)
    few = f"{rates[0].kbps:.2f}" if len(rates) == 1 else f"{rates[0].kbps:.2f} to {rates[-1].kbps:.2f}"
    summary = f"sound at {rate} Hz, {rate / stored.config.hop:.4g} frames per second, {few} kbps"
    use = use_of(_tokens(stored, holdout, rate))
    books = "; ".join(f"level {i}: {u.used} of {u.size} entries, perplexity {u.perplexity:.0f}" for i, u in enumerate(use))
    card = _card(config, run, rates, summary, len(files), made_by, device, books)
    return zoo.save(trained, folder, prior, card=card, about={"summary": summary, "licence": LICENCE})


def evaluate(codec: NeuralCodec, files: Sequence[Path], rate: int) -> list[Rate]:
    """Rates of real files and scores at every decodable prefix, on the middles of sounds at the tokenizer's rate.

    Raises SignalError where no file can be read.
    """
    sizes: dict[int, int] = {}
    values: dict[int, dict[str, list[float]]] = {}
    seconds = 0.0
    for sound in _sounds(files, rate):
        (tokens,) = codec.encode([sound])
        seconds += sound.seconds
        for cut in tokens.layout.cuts:
            data = codec.pack(tokens.prefix(cut))
            sizes[cut] = sizes.get(cut, 0) + len(data)
            for judge in (MelDistance(), SISDR()):
                found = judge(sound, codec.decompress(data)).value
                values.setdefault(cut, {}).setdefault(judge.name, []).append(found)
    if not seconds:
        raise SignalError(f"no sound to evaluate on among {len(files)} files")
    means = {cut: {name: math.fsum(v) / len(v) for name, v in scores.items()} for cut, scores in values.items()}
    return [Rate(cut, 8 * sizes[cut] / seconds / 1000, means[cut]) for cut in sorted(sizes)]


def _sounds(files: Sequence[Path], rate: int) -> list[Audio]:
    found = []
    for path in files:
        try:
            found.append(middle(at_rate(read_audio(path), rate), SCORED_SECONDS))
        except SignalError:  # training has named it already
            continue
    return found


def _tokens(tokenizer: Tokenizer, files: Sequence[Path], rate: int) -> list[Tokens]:
    return [tokens for path in files for sound in _sounds([path], rate) for tokens in tokenizer.encode([sound])]


def _card(
    config: TrainingConfig, run: Path, rates: Sequence[Rate], summary: str, sounds: int, made_by: str, device: str, books: str
) -> str:
    names = list(rates[0].scores)
    table = [f"| stages | kbps | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
    table += [f"| {r.stages} | {r.kbps:.3f} | {' | '.join(f'{r.scores[name]:.3f}' for name in names)} |" for r in rates]
    lines = [
        f"# {config.name}",
        "",
        f"{summary[0].upper()}{summary[1:]}.",
        "",
        f"- Recipe: {f'`{made_by}`' if made_by else 'its own, see config.json of the run'}: {config.steps} steps, seed {config.seed}, "
        f"crops of {config.data.crop} samples, batch {config.batch}.",
        f"- Data: {sounds} files of the folder given as `data`. The weights carry the licence of that data.",
        f"- Time: {training_seconds(run) / 60:.0f} minutes of training on {machine(device)}, torch {torch.__version__}.",
        f"- Codebooks on the held-out sounds: {books}.",
        "",
        f"Measured on held-out files of that folder, at most {SCORED_SECONDS} s of each: all bytes over all seconds, means over files:",
        "",
        *table,
        "",
        "Limits: a lossy model of what it was trained on, so other languages, music and noise suffer first. No adversary: low rates buzz.",
    ]
    return "\n".join(lines) + "\n"
