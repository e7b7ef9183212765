"""What a pitch is worth, and how well it is heard: WORLD draws speech again with pitches rounded, told seldom, or heard by a model.

    python -m smalti.recipes.bench.pitches SPEECH [--model MODEL] [--every 4]

WORLD (Morise et al., 2016; pyworld) analyses each sound of 16 kHz and draws it with no phase of the original. Rows: as it is; no noise
where there is a pitch, as in all rows below; pitches rounded to the grid of the model's stage; envelopes in 40 mel bands, and those told
every 20 ms; pitches told every 20 ms; the model's own pitches, one a frame. Needs pyworld (extra `voices`), pesq and pystoi
(`audio-metrics`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.files import list_sounds
from smalti.recipes.bench.scored import Scored
from smalti.recipes.fit_pitch import LABEL_SECONDS, harvested, world
from smalti.recipes.prime_prior import Progress
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Array, Audio

SHOWN = ("pesq-wb", "stoi")
BANDS, SELDOM = 40, 4  # a fourth of what WORLD says every 5 ms: 20 ms
PERIODIC = 1e-3  # part of noise in a voice


def variants(audio: Audio, model: AudioResidual) -> Iterator[tuple[str, Array]]:
    """Name and float32 (T,) of each row, of a sound of one channel at the model's rate."""
    estimator = model.net.pitch
    assert estimator is not None
    rate, samples = audio.rate, audio.samples[0].astype(np.float64)
    hertz = harvested(audio.samples[0], rate, estimator.config).astype(np.float64)
    times = np.arange(len(hertz)) * LABEL_SECONDS
    envelope = world().cheaptrick(samples, hertz, times, rate)
    noise = world().d4c(samples, hertz, times, rate)

    def drawn(pitches: Array, spectra: Array, aperiodic: Array | None = None) -> Array:
        part = np.where(pitches[:, None] > 0, PERIODIC, 1.0) * np.ones_like(spectra) if aperiodic is None else aperiodic
        wave = world().synthesize(pitches, np.ascontiguousarray(spectra), part, rate, 1000 * LABEL_SECONDS)[: len(samples)]
        return np.clip(np.pad(wave, (0, len(samples) - len(wave))), -1, 1).astype(np.float32)

    yield "as it is", drawn(hertz, envelope, noise)
    yield "no noise where there is a pitch", drawn(hertz, envelope)
    grid = estimator.grid[1:].numpy()
    nearest = grid[np.abs(np.log(grid) - np.log(np.maximum(hertz, 1))[:, None]).argmin(1)]
    yield "pitches rounded to the grid", drawn(np.where(hertz > 0, nearest, 0), envelope)
    smooth = banded(envelope, rate)
    yield f"envelopes in {BANDS} mel bands", drawn(hertz, smooth)
    yield "those every 20 ms", drawn(hertz, np.exp(seldom(np.log(smooth))))
    moments = times[::SELDOM]
    yield "pitches every 20 ms", drawn(between(hertz[::SELDOM], moments, times), envelope)
    (tokens,) = model.encode([audio])
    own = estimator.grid.numpy()[tokens.arrays[0][0]]
    moments = (np.arange(1, len(own) + 1) * estimator.hop + estimator.lead) / rate
    yield "the model's pitches, one a frame", drawn(between(own, moments, times), envelope)


def between(hertz: Array, moments: Array, times: Array) -> Array:
    """Pitches at other times, on lines between voiced ones; there is one where the nearer moment has one."""
    voiced = np.flatnonzero(hertz > 0)
    if not len(voiced):
        return np.zeros(len(times))
    there = np.interp(times, moments, (hertz > 0).astype(float)) >= 0.5
    held = hertz[voiced[np.abs(np.arange(len(hertz))[:, None] - voiced).argmin(1)]]
    return np.where(there, np.interp(times, moments, held), 0.0)


def banded(envelope: Array, rate: int) -> Array:
    """Log means in mel bands of an envelope (T, bins), and lines between them."""
    mels = 2595 * np.log10(1 + np.linspace(0, rate / 2, envelope.shape[1]) / 700)
    centres = np.linspace(0, mels[-1], BANDS)
    weights = np.maximum(0, 1 - np.abs(mels[:, None] - centres) / centres[1])
    means = np.log(envelope + 1e-12) @ (weights / weights.sum(0))
    return np.exp(means @ (weights / weights.sum(1, keepdims=True)).T)


def seldom(rows: Array) -> Array:
    """Every fourth row (T, n), and lines between them."""
    places = np.arange(len(rows))
    return np.stack([np.interp(places, places[::SELDOM], column[::SELDOM]) for column in rows.T], 1)


def run(model: str, files: Sequence[Path]) -> str:
    """The table of scores by row, means over files."""
    tokenizer: Any = zoo.load(model)
    if not isinstance(tokenizer, AudioResidual) or tokenizer.net.pitch is None:
        raise UsageError(f"{model} hears no pitch, expected a model with a pitch stage, as audio-residual-16k")
    scored = Scored(SHOWN)
    progress = Progress("measured", len(files))
    for number, path in enumerate(files, 1):
        audio = read_audio(path)
        if audio.rate != tokenizer.config.rate or len(audio.samples) != 1:
            raise UsageError(f"{path}: {audio.rate} Hz, {len(audio.samples)} channels, expected {tokenizer.config.rate} Hz and one")
        for title, wave in variants(audio, tokenizer):
            scored.add(title, audio, wave)
        progress(number)
    return scored.table("drawn by WORLD")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.bench.pitches", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sounds", type=Path, help="a folder of speech at the model's rate")
    parser.add_argument("--model", default="audio-residual-16k")
    parser.add_argument("--pattern", default="*", help="names of files, as ls_*")
    parser.add_argument("--every", type=int, default=4, help="of the files, each so-many-th")
    given = parser.parse_args(arguments)
    try:
        files = [path for path in list_sounds(given.sounds) if path.match(given.pattern)]
        table = run(given.model, files[:: max(1, given.every)])
    except SmaltiError as error:
        print(f"pitches: {error}", file=sys.stderr)
        return 2
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
