"""What phases are worth: a sound model's own magnitudes with phases of the original, all, those below a frequency, or coarsely coded ones.

    python -m smalti.recipes.bench.phases MODEL:STAGES SOUNDS [--train SOUNDS] [--levels 6]

Spectra of 20 ms windows, a quarter apart. Rows: what the model decodes; its magnitudes with the original's phases, and the original's
magnitudes with its phases, which says whether it is magnitudes or phases that a metric misses; the original's phases below 500, 1000 and
2000 Hz alone. With --train: the wave below 1 kHz as residual tables of 1024 entries code it, frame by frame of 20 ms (its MDCT, so half a
kilobit per second a level), tables by k-means from training sounds; below 1 kHz phases are then those of that coarse wave. No model of ours
does so: this is what one could win, and what it would cost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.files import list_sounds
from smalti.recipes import models
from smalti.recipes.bench.scored import Scored
from smalti.recipes.prime_prior import Progress
from smalti.tokenizers.audio.sounds import resample, resampled_length
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Array, Audio

WINDOW_SECONDS, OVERLAP = 0.02, 4
BELOW = (500, 1000, 2000)
LOW_HZ, FRAMES_PER_SECOND, ENTRIES = 1000, 50, 1024
FITTED_FRAMES = 40000
SHOWN = ("pesq-wb", "stoi", "mel-distance-4k")


class Spectra:
    """Complex spectra (bins, T) of a wave at a rate, and back."""

    def __init__(self, rate: int) -> None:
        from scipy.signal import ShortTimeFFT
        from scipy.signal.windows import hann

        size = round(WINDOW_SECONDS * rate)
        self.transform = ShortTimeFFT(hann(size, sym=False), size // OVERLAP, rate)
        self.hertz = self.transform.f[:, None]

    def of(self, wave: Array) -> Array:
        """Of float32 (T,)."""
        return self.transform.stft(wave.astype(np.float64))

    def wave(self, spectra: Array, count: int) -> Array:
        """float32 (count,), within [-1, 1]."""
        return np.clip(self.transform.istft(spectra, k1=count), -1, 1).astype(np.float32)


def turned(magnitudes: Array, phases: Array) -> Array:
    """The magnitudes of one complex spectrum with the phases of another."""
    return np.abs(magnitudes) * np.exp(1j * np.angle(phases))


class LowBand:
    """The wave below 1 kHz in frames of a modified discrete cosine transform (Princen and Bradley, 1986), coded by residual tables."""

    def __init__(self) -> None:
        self.rate = 2 * LOW_HZ
        self.size = self.rate // FRAMES_PER_SECOND
        k, n = np.arange(self.size)[:, None], np.arange(2 * self.size)[None]
        window = np.sin(np.pi * (n + 0.5) / (2 * self.size))
        self.basis = window * np.sqrt(2 / self.size) * np.cos(np.pi / self.size * (n + 0.5 + self.size / 2) * (k + 0.5))
        self.tables: list[Array] = []

    def frames(self, audio: Audio) -> Array:
        """(frames, size) coefficients of the mean of a sound's channels."""
        count = resampled_length(audio.samples.shape[1], audio.rate, self.rate)
        wave = resample(audio.samples.mean(0, keepdims=True), audio.rate, self.rate, count)[0]
        padded = np.pad(wave, (self.size, 2 * self.size - count % self.size))
        return np.lib.stride_tricks.sliding_window_view(padded, 2 * self.size)[:: self.size] @ self.basis.T

    def wave(self, frames: Array, rate: int, count: int) -> Array:
        """float32 (count,) at another rate."""
        pieces = frames @ self.basis
        found = np.zeros((len(pieces) + 1, self.size))
        found[:-1] += pieces[:, : self.size]
        found[1:] += pieces[:, self.size :]
        low = found.reshape(1, -1)[:, self.size :].astype(np.float32)
        length = resampled_length(low.shape[1], self.rate, rate)
        return resample(low, self.rate, rate, max(length, count))[0, :count]

    def fit(self, frames: Array, levels: int) -> None:
        """Tables from training frames, each from what the ones before leave over."""
        from sklearn.cluster import MiniBatchKMeans

        rest = np.random.default_rng(0).permutation(frames)[:FITTED_FRAMES]
        if len(rest) < ENTRIES:
            raise UsageError(f"{len(rest)} frames of training sounds, expected {ENTRIES} and more: 20 seconds; name more of them")
        for _ in range(levels):
            means = MiniBatchKMeans(ENTRIES, batch_size=4096, n_init=1, max_iter=8, random_state=0, init="random").fit(rest)
            self.tables.append(means.cluster_centers_)
            rest = rest - self.tables[-1][means.predict(rest)]

    def coded(self, frames: Array) -> Iterator[Array]:
        """The frames as the first one, two and more tables say them."""
        found = np.zeros_like(frames)
        for table in self.tables:
            rest = frames - found
            found = found + table[np.argmin((table**2).sum(1) - 2 * rest @ table.T, 1)]
            yield found


def variants(original: Audio, decoded: Audio, low: LowBand) -> Iterator[tuple[str, Array]]:
    """Name and float32 (T,) of each row, of sounds of one channel."""
    spectra, count = Spectra(original.rate), original.samples.shape[1]
    a, b = spectra.of(original.samples.mean(0)), spectra.of(decoded.samples.mean(0))
    yield "decoded", spectra.wave(b, count)
    yield "its magnitudes, phases of the original", spectra.wave(turned(b, a), count)
    yield "magnitudes of the original, its phases", spectra.wave(turned(a, b), count)
    for hertz in BELOW:
        yield f"phases of the original below {hertz} Hz", spectra.wave(np.where(spectra.hertz < hertz, turned(b, a), b), count)
    for level, frames in enumerate(low.coded(low.frames(original)), 1):
        coarse = spectra.of(low.wave(frames, original.rate, count))
        kbps = level * np.log2(ENTRIES) * FRAMES_PER_SECOND / 1000
        yield (
            f"phases below {LOW_HZ} Hz coded, {kbps:g} kbps more",
            spectra.wave(np.where(spectra.hertz < LOW_HZ, turned(b, coarse), b), count),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.bench.phases", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", help="MODEL or MODEL:STAGES")
    parser.add_argument("sounds", type=Path, help="a folder of sounds, of one rate")
    parser.add_argument("--train", type=Path, help="a folder of training sounds, for the coded phases")
    parser.add_argument("--levels", type=int, default=6, help="how many tables code them")
    given = parser.parse_args(arguments)
    try:
        table = run(given.model, list_sounds(given.sounds), list_sounds(given.train) if given.train else [], given.levels)
    except SmaltiError as error:
        print(f"phases: {error}", file=sys.stderr)
        return 2
    print(table)
    return 0


def run(model: str, files: Sequence[Path], train: Sequence[Path], levels: int) -> str:
    """The table of scores by row, means over files."""
    name, _, stages = model.partition(":")
    tokenizer = models.codec(name).tokenizer
    low = LowBand()
    if train:
        low.fit(np.concatenate([low.frames(read_audio(path)) for path in train]), levels)
    scored = Scored(SHOWN)
    progress = Progress("measured", len(files))
    for number, path in enumerate(files, 1):
        original = read_audio(path)
        (tokens,) = tokenizer.encode([original])
        (decoded,) = tokenizer.decode([tokens.prefix(int(stages)) if stages else tokens])
        assert isinstance(decoded, Audio)
        mono = Audio(original.samples.mean(0, keepdims=True), original.rate)
        for title, wave in variants(original, decoded, low):
            scored.add(title, mono, wave)
        progress(number)
    return scored.table("sound")


if __name__ == "__main__":
    sys.exit(main())
