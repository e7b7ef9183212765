"""From a finished run to a model folder: half-precision weights, static tables fitted to the training tokens, and a card with measured
numbers."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smalti.codecs.media.images import read_image
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes.evaluation import evaluate
from smalti.recipes.training.config import TrainingConfig
from smalti.recipes.training.loop import Result
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.tokens import Tokens
from smalti.tokenizers.zoo import ModelInfo

PRIOR_PICTURES = 1000  # about a million tokens for the shipped data: a table of 1024 entries is known to a hundredth of a bit
LICENCE = "as the training data's"


def release(result: Result, config: TrainingConfig, files: Sequence[Path], holdout: Sequence[Path], device: str = "cpu") -> ModelInfo:
    """Write the model folder of a run and return what it says of itself."""
    folder = result.folder / "model"
    zoo.save(result.tokenizer, folder)
    stored = zoo.load(str(folder), device)  # tokens of the weights as they are stored, not as they were trained
    prior = fit_prior(stored, files[:PRIOR_PICTURES])
    scores = evaluate(NeuralCodec(stored, prior, config.name), holdout, ["alex"] if config.loss.lpips_alex else [])
    rates = ", ".join(f"{rate['bits_per_pixel']:.3f}" for rate in scores["rates"])
    summary = f"pictures, {config.tokenizer.stride} x {config.tokenizer.stride} pixels a token, {rates} bits per pixel"
    prior.save(folder / "prior.safetensors")
    card = _card(config, result, scores, summary, len(files))
    return zoo.save(result.tokenizer, folder, prior.id.hex(), card=card, about={"summary": summary, "licence": LICENCE})


def fit_prior(tokenizer: ImageGrid, files: Sequence[Path], batch: int = 8) -> StaticPrior:
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


def _card(config: TrainingConfig, result: Result, scores: dict[str, Any], summary: str, pictures: int) -> str:
    names = list(scores["rates"][0]["scores"])
    table = [f"| stages | bits per pixel | {' | '.join(names)} |", "|" + "---|" * (len(names) + 2)]
    for rate in scores["rates"]:
        cells = " | ".join(f"{rate['scores'][name]:.3f}" for name in names)
        table.append(f"| {rate['stages']} | {rate['bits_per_pixel']:.4f} | {cells} |")
    use = [f"{s['stage']}: {s['used']} of {s['size']} entries, perplexity {s['perplexity']:.0f}" for s in scores["codebooks"]]
    trained = _training_seconds(result.folder)
    lines = [
        f"# {config.name}",
        "",
        f"{summary[0].upper()}{summary[1:]}.",
        "",
        f"- Recipe: `smalti train {shlex.quote(config.name)} data=DIR steps={config.steps}`, seed {config.seed}, "
        f"crops of {config.data.crop} pixels, batch {config.batch}.",
        f"- Data: {pictures} pictures of the folder given as `data`. The weights carry the licence of that data.",
        f"- Time: {trained / 60:.0f} minutes of training on {platform.machine()}.",
        f"- Codebooks on the held-out pictures: {'; '.join(use)}.",
        "",
        f"Measured on {scores['pictures']} held-out pictures of the same folder, means over pictures, whole files:",
        "",
        *table,
        "",
        "Limits: pictures only; a lossy model of what it was trained on, so text, faces and fine repeated patterns suffer first.",
    ]
    return "\n".join(lines) + "\n"


def _training_seconds(folder: Path) -> float:
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(float(json.loads(line).get("seconds", 0)) for line in lines)
