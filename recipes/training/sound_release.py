"""From a finished run on sounds to a model folder: half-precision weights, a prior primed on the training tokens, and a card.

The adaptive prior takes a quarter off the one level of `audio-single` beside tables that never change, 5 % off six levels of
`audio-residual` (LOG.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from smalti.codecs.media.audio import read_audio
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.metrics.tokens import use_of
from smalti.recipes.audio_table import SIZE, Row, Setting, Sound, markdown, measure, rival
from smalti.recipes.prime_prior import trees
from smalti.recipes.sounds import judges_of
from smalti.recipes.training.cards import LICENCE, machine, training_seconds
from smalti.recipes.training.config import TrainingConfig
from smalti.recipes.training.sound_holdout import SCORED_SECONDS, at_rate, middle
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Target, Tokenizer
from smalti.tokenizers.errors import SignalError, SmaltiError
from smalti.tokenizers.signals import Audio
from smalti.tokenizers.tokens import Tokens
from smalti.tokenizers.zoo import ModelInfo

PRIOR_SOUNDS = 1000
RIVALS = ("opus:6", "lyra:1")


def release(
    trained: Any, run: Path, config: TrainingConfig, files: Sequence[Path], holdout: Sequence[Path], device: str, made_by: str
) -> ModelInfo:
    """Write the model folder of a run and return what it says of itself; made_by: the command line that makes it again."""
    folder = run / "model"
    zoo.save(trained, folder)
    stored = zoo.load(str(folder), device)  # tokens of the weights as they are stored, not as they were trained
    rate = stored.config.rate
    tokens = _tokens(stored, files[:: max(1, -(-len(files) // PRIOR_SOUNDS))], rate)
    prior = AdaptivePrior.prime(trees(stored.net.quantizer, tokens[0].layout.stages), tokens)
    rows = evaluate(NeuralCodec(zoo.load(str(folder), "cpu"), prior, config.name), holdout, rate)
    own = [row.kbps for row in rows if row.codec.startswith(config.name)]
    few = f"{own[0]:.2f}" if len(own) == 1 else f"{own[0]:.2f} to {own[-1]:.2f}"
    summary = f"sound at {rate} Hz, {rate / stored.config.hop:.4g} frames per second, {few} kbps"
    names = [stage.name.replace("level", "level ") for stage in tokens[0].layout.stages]
    used = zip(names, use_of(tokens), strict=True)
    books = "; ".join(f"{name}: {u.used} of {u.size} entries, perplexity {u.perplexity:.0f}" for name, u in used)
    card = _card(config, run, rows, summary, len(files), made_by, device, books, stored.delay.text)
    return zoo.save(trained, folder, prior, card=card, about={"summary": summary, "licence": LICENCE})


def evaluate(codec: NeuralCodec, files: Sequence[Path], rate: int) -> list[Row]:
    """Rates of real files, scores and speed at every decodable prefix, on the middles of sounds at the tokenizer's rate; beside them
    rivals that are installed. codec: on the CPU, of which it gets one thread. Raises SignalError where no file can be read."""
    sounds = [Sound(str(number), sound) for number, sound in enumerate(_sounds(files, rate))]
    if not sounds:
        raise SignalError(f"no sound to evaluate on among {len(files)} files")
    cuts = codec.tokenizer.layout(SIZE).cuts
    settings = [Setting(f"{codec.name}, {cut} stage{'s' if cut > 1 else ''}", codec, Target(stages=cut)) for cut in cuts]
    with _one_thread():
        for text in RIVALS:
            with contextlib.suppress(SmaltiError):  # its package or its networks are not here, or it takes no such sound
                settings.append(_tried(rival(text), max(sounds, key=lambda sound: len(sound.audio.samples))))
        judges, _ = judges_of()
        return measure(sounds, settings, tuple(judges))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread, and on as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tried(setting: Setting, sound: Sound) -> Setting:
    """Itself; SmaltiError where it needs what is not installed, or takes no sound of so many channels."""
    setting.codec.compress(sound.audio, setting.target)
    return setting


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
    config: TrainingConfig, run: Path, rows: Sequence[Row], summary: str, sounds: int, made_by: str, device: str, books: str, delay: str
) -> str:
    lines = [
        f"# {config.name}",
        "",
        f"{summary[0].upper()}{summary[1:]}.",
        "",
        f"- Recipe: {f'`{made_by}`' if made_by else 'its own, see config.json of the run'}: {config.steps} steps, seed {config.seed}, "
        f"crops of {config.data.crop} samples, batch {config.batch}, {'with' if config.adversary.weight else 'without'} discriminators.",
        f"- Data: {sounds} files of the folder given as `data`. The weights carry the licence of that data.",
        f"- Time: {training_seconds(run) / 60:.0f} minutes of training on {machine(device)}, torch {torch.__version__}.",
        f"- Delay: {delay}.",
        f"- Codebooks on training sounds: {books}.",
        "",
        f"Measured on {rows[0].files} held-out files of that folder, at most {SCORED_SECONDS} s of each: all bytes over all seconds, means "
        "over files, speed as seconds of sound per second of one thread; rivals that were installed beside it:",
        "",
        markdown(rows, tuple(rows[0].scores)),
        "",
        "Limits: a lossy model of what it was trained on, so other languages, music and noise suffer first."
        + ("" if config.adversary.weight else " No discriminators: low rates buzz."),
    ]
    return "\n".join(lines) + "\n"
