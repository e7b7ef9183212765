"""An hour of sound there and back by the command line's own path: time, processor time and peak memory of each half, in its own process.

    python -m smalti.recipes.bench.long_sound [--minutes 60] [--rate 48000] [--channels 2] [--recipe audio-residual-16k] [--model MODEL]

The sound is noise of changing loudness, written block by block; the network that of a recipe, untrained, which costs what a trained one
does, or that of a model. Peak memory is the process's largest resident set; what Python, torch and the network take is measured on one
second and named beside it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HALVES = ("tokenize", "detokenize")
ONE_HALF = """
import resource, sys
from smalti.cli import program
program.main(sys.argv[1:], standalone_mode=False)
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss / 1024, used.ru_utime + used.ru_stime)
"""


def write_noise(path: Path, seconds: int, rate: int, channels: int) -> None:
    """A 16-bit WAV file, one second at a time."""
    import soundfile

    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate, channels, "PCM_16") as file:
        for second in range(seconds):
            file.write((0.02 + 0.2 * (second % 7 == 0)) * rng.standard_normal((rate, channels)).clip(-4, 4).astype(np.float32))


def save_untrained(recipe: str, folder: Path) -> None:
    """A model folder of a recipe's network."""
    from smalti.recipes.training import subjects
    from smalti.recipes.training.config import load
    from smalti.tokenizers import zoo

    config = load(recipe, ["data=."])
    subject = subjects.of(config)
    zoo.save(subject.tokenizer(subject.network(config.tokenizer)), folder)


@dataclass(frozen=True)
class Cost:
    """Of one half. seconds: on the clock. processor_seconds: what of them the process had, which a busy machine does not change much."""

    seconds: float
    processor_seconds: float
    peak_megabytes: float


def run(half: str, source: Path, target: Path, model: str) -> Cost:
    """One half in a fresh process, on one thread."""
    arguments = [half, str(source), "-m", model, "-o", str(target), "--threads", "1", "--force", "-q"]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", ONE_HALF, *arguments], check=True, capture_output=True, text=True)
    peak, used = map(float, done.stdout.split()[-2:])
    return Cost(time.monotonic() - started, used, peak)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        prog="python -m smalti.recipes.bench.long_sound", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=int, default=48000)
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--recipe", default="audio-residual-16k", help="whose network, untrained")
    parser.add_argument("--model", help="a model in its place")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if arguments.model is None:
            save_untrained(arguments.recipe, folder / "model")
        model = arguments.model or str(folder / "model")
        for seconds in (1, 60 * arguments.minutes):
            write_noise(folder / "a.wav", seconds, arguments.rate, arguments.channels)
            samples = seconds * arguments.rate * arguments.channels * 4 / 2**20
            print(f"{seconds} s, {arguments.rate} Hz, {arguments.channels} channels: {samples:.0f} MB as float32", flush=True)
            for half, source, target in zip(HALVES, ("a.wav", "a.smt"), ("a.smt", "b.wav"), strict=True):
                cost = run(half, folder / source, folder / target, model)
                speed = f"{cost.processor_seconds:.1f} s of one processor, {seconds / cost.processor_seconds:.1f} x real time"
                print(f"  {half:<10} {cost.seconds:6.1f} s, {speed}, peak {cost.peak_megabytes:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
