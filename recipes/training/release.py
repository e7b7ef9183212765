"""From a finished run to a model folder: half-precision weights, static tables fitted to the training tokens, and a card with measured
numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from smalti.codecs.media.images import read_image
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes.evaluation import evaluate
from smalti.recipes.training import film_release, sound_release
from smalti.recipes.training.cards import LICENCE, machine, training_seconds
from smalti.recipes.training.config import LossConfig, SoundConfig, TrainingConfig, command, recipes
from smalti.recipes.training.loop import Result
from smalti.recipes.training.sheet import MOST_SHOWN
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.image.line_network import ImageLineConfig
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.tokens import Tokens
from smalti.tokenizers.video.network import VideoCausalConfig
from smalti.tokenizers.zoo import ModelInfo

PRIOR_PICTURES = 1000  # about a million tokens for the shipped data: a table of 1024 entries is known to a hundredth of a bit


def release(
    result: Result, config: TrainingConfig, files: Sequence[Path], holdout: Sequence[Path], device: str = "cpu", made_by: str = ""
) -> ModelInfo:
    """Write the model folder of a run and return what it says of itself; made_by: the command line, by default that of a shipped recipe."""
    if not made_by and config.name in recipes():
        made_by = command(config.name, config)
    if isinstance(config.tokenizer, SoundConfig):
        return sound_release.release(result.tokenizer, result.folder, config, files, holdout, device, made_by)
    if isinstance(config.tokenizer, VideoCausalConfig):
        return film_release.release(result.tokenizer, result.folder, config, files, holdout, device, made_by)
    assert isinstance(config.loss, LossConfig)
    folder = result.folder / "model"
    zoo.save(result.tokenizer, folder)
    stored = zoo.load(str(folder), device)  # tokens of the weights as they are stored, not as they were trained
    prior = fit_prior(stored, files[:: max(1, -(-len(files) // PRIOR_PICTURES))])  # of all folders alike: files are in order of names
    metrics = ["psnr", *(["lpips-alex"] if config.loss.lpips_alex else [])]
    scores = evaluate(NeuralCodec(stored, prior, config.name), holdout, metrics, device=device)
    summary = f"pictures, {_tokens(config.tokenizer)}, {_rates([rate['bits_per_pixel'] for rate in scores['rates']])} bits per pixel"
    card = _card(config, result, scores, summary, len(files), made_by, device)
    return zoo.save(result.tokenizer, folder, prior, card=card, about={"summary": summary, "licence": LICENCE})


def _tokens(config: ImageGridConfig | ImageLineConfig) -> str:
    if isinstance(config, ImageLineConfig):
        return f"up to {config.quantizer.steps} tokens per {config.region} x {config.region} pixels"
    return f"{config.stride} x {config.stride} pixels a token"


def _rates(found: Sequence[float]) -> str:
    few = [f"{rate:.3f}" for rate in found]
    return ", ".join(few) if len(few) <= MOST_SHOWN else f"{few[0]} to {few[-1]}"


def fit_prior(tokenizer: Tokenizer, files: Sequence[Path], batch: int = 8) -> StaticPrior:
    """Static tables from the tokens of pictures; files that cannot be read are left out."""
    tokens: list[Tokens] = []
    for start in range(0, len(files), batch):
        pictures = []
        for path in files[start : start + batch]:
            try:
                pictures.append(read_image(path))
            except SignalError:  # training has named it already
                continue
        tokens += tokenizer.encode(pictures)
    return StaticPrior.fit(tokens)


def _card(config: TrainingConfig, result: Result, scores: dict[str, Any], summary: str, pictures: int, made_by: str, device: str) -> str:
    names = list(scores["rates"][0]["scores"])
    table = [f"| stages | bits per pixel | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
    for rate in scores["rates"]:
        cells = " | ".join(f"{rate['scores'][name]:.3f}" for name in names)
        table.append(f"| {rate['stages']} | {rate['bits_per_pixel']:.4f} | {cells} |")
    use = [f"{s['stage']}: {s['used']} of {s['size']} entries, perplexity {s['perplexity']:.0f}" for s in scores["codebooks"]]
    trained = training_seconds(result.folder)
    lines = [
        f"# {config.name}",
        "",
        f"{summary[0].upper()}{summary[1:]}.",
        "",
        f"- Recipe: {f'`{made_by}`' if made_by else 'its own, see config.json of the run'}: {config.steps} steps, seed {config.seed}, "
        f"crops of {config.data.crop} pixels, batch {config.batch}.",
        f"- Data: {pictures} pictures of the folder given as `data`. The weights carry the licence of that data.",
        f"- Time: {trained / 60:.0f} minutes of training on {machine(device)}, torch {torch.__version__}.",
        f"- Codebooks on the held-out pictures: {'; '.join(use)}.",
        "",
        f"Measured on {scores['pictures']} held-out pictures of the same folder, means over pictures, whole files:",
        "",
        *table,
        "",
        "Limits: pictures only; a lossy model of what it was trained on, so text, faces and fine repeated patterns suffer first.",
    ]
    return "\n".join(lines) + "\n"
