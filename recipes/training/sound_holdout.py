"""What a run on sounds is judged by while it trains: the middle of each held-out file, and a file to listen to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from smalti.codecs.media.audio import read_audio, write_audio
from smalti.metrics.audio import SISDR, MelDistance
from smalti.recipes.training.holdout import Seen
from smalti.recipes.training.sheet import shown_cuts
from smalti.tokenizers.audio.sounds import resample, resampled_length
from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Audio

SCORED_SECONDS = 10
HEARD_FILES = 4
PAUSE_SECONDS = 0.3


def measure(tokenizer: Tokenizer, rate: int, files: Sequence[Path], listen: Path) -> Seen:
    """Judge the middles of sounds, at the tokenizer's rate, at every decodable prefix (of many, at doubled lengths), one at a time.

    listen: a WAV file that is written: each of the first few originals, then what all levels make of it.
    """
    values: dict[str, list[float]] = {}
    heard: list[np.ndarray] = []
    skipped: list[str] = []
    for path in files:
        try:
            sound = middle(at_rate(read_audio(path), rate), SCORED_SECONDS)
        except SignalError as error:
            skipped.append(str(error))
            continue
        (tokens,) = tokenizer.encode([sound])
        decoded = sound
        for cut in shown_cuts(tokens.layout.cuts):
            (back,) = tokenizer.decode([tokens.prefix(cut)])
            assert isinstance(back, Audio)
            decoded = back
            for judge in (MelDistance(), SISDR()):
                values.setdefault(f"{judge.name}_{cut}", []).append(judge(sound, decoded).value)
        if len(heard) < 4 * HEARD_FILES:
            pause = np.zeros(round(PAUSE_SECONDS * rate), np.float32)
            heard += [sound.samples.mean(0), pause, decoded.samples.mean(0), pause]
    if heard:
        write_audio(Audio(np.concatenate(heard)[None], rate), listen)
    scores = {name: math.fsum(found) / len(found) for name, found in values.items()}
    return Seen(scores, tuple(skipped))


def at_rate(audio: Audio, rate: int) -> Audio:
    """The sound at another rate."""
    length = resampled_length(audio.samples.shape[1], audio.rate, rate)
    return Audio(np.clip(resample(audio.samples, audio.rate, rate, length), -1, 1), rate)


def middle(audio: Audio, seconds: float) -> Audio:
    """The middle of a sound, at most so long."""
    count = round(seconds * audio.rate)
    start = max(0, (audio.samples.shape[1] - count) // 2)
    return Audio(np.ascontiguousarray(audio.samples[:, start : start + count]), audio.rate)
