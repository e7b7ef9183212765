"""Prime the adaptive prior of a picture, film or sound model: trees from its codebooks, counters from the tokens of training data.

    python -m smalti.recipes.prime_prior MODEL DATA... -o FILE [--judge DATA] [--device cpu] [--json]

DATA: folders of training pictures, for a sound model of sounds, for a film model of films (or of pictures: stills), one after the other;
each picture and film is learnt as it is and mirrored. FILE: what `--prior` takes, and what a model folder holds as prior.safetensors. With
--judge: bits of the tokens of these items by level, pooled, under H0 (the order-0 entropy of those very tokens, which no table made
beforehand reaches), tables fitted to the same training tokens, and the adaptive prior unprimed and primed. Files that cannot be read are
named and left out.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.files import AUDIO_SUFFIXES, check_place, list_images, list_sounds
from smalti.codecs.media.images import read_image
from smalti.codecs.priors import adaptive_tree
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.static import StaticPrior
from smalti.recipes.training.film_data import SUFFIXES, list_films, read_frames
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError
from smalti.tokenizers.quantizers.grouped import books
from smalti.tokenizers.signals import Image, Signal, Video
from smalti.tokenizers.tokens import Stage, Tokens
from smalti.tokenizers.video.keyed import Keyed

EVERY_SECONDS = 5.0
Read = TypeVar("Read")


@dataclass(frozen=True)
class Row:
    """Bits of all judged pictures' tokens, per level, under one model of them; `relative` to H0's sum."""

    name: str
    bits: tuple[float, ...]
    relative: float


class Progress:
    """Seconds and counts on standard error, now and then."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.start, self.shown = what, total, time.perf_counter(), 0.0

    def __call__(self, done: int) -> None:
        seconds = time.perf_counter() - self.start
        if done == self.total or seconds - self.shown >= EVERY_SECONDS:
            self.shown = seconds
            print(f"{self.what} {done}/{self.total}, {seconds:.0f} s", file=sys.stderr)


def trees(quantizer: Any, stages: Sequence[Stage]) -> list[np.ndarray]:
    """An order of the entries for each stage: by its codebook where there is one a stage, or one for all; else the entries' own.

    So too where a table is too large for a tree.
    """
    tables = tables_of(quantizer, len(stages), bool(stages) and stages[0].name == "pitch")
    if not tables:
        return [np.zeros(0, np.int32) for _ in stages]
    fits = [table is not None and table.size == stage.vocab <= adaptive_tree.LARGEST for table, stage in zip(tables, stages, strict=True)]
    return [
        adaptive_tree.order(table.vectors().detach().cpu().numpy()) if fit else np.zeros(0, np.int32)
        for table, fit in zip(tables, fits, strict=True)
    ]


def tables_of(quantizer: Any, stages: int, pitch: bool = False) -> list[Any]:
    """The codebook of each stage, None for a first one without, a film's motion or a voice's pitch; none at all where there is neither one
    a stage nor one for all."""
    tables = list(books(quantizer))
    if isinstance(quantizer, Keyed) or pitch:
        tables = [None, *tables]
    tables = tables * stages if len(tables) == 1 else tables
    return tables if len(tables) == stages else []


def readable(files: Sequence[Path]) -> Iterator[tuple[int, Image]]:
    """(number from 1 on, picture) of each file that can be read; the others are named on standard error."""
    return readable_as(read_image, files)


def readable_as(read: Callable[[Path], Read], files: Sequence[Path]) -> Iterator[tuple[int, Read]]:
    """The same of what `read` reads."""
    for number, path in enumerate(files, 1):
        try:
            signal = read(path)
        except SignalError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        yield number, signal


def read_signal(path: Path) -> Signal:
    """A sound, a film (at a rate that does not matter) or a picture, by its suffix; raises SignalError."""
    suffix = path.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return read_audio(path)
    return Video(list(read_frames(path)), Fraction(25)) if suffix in SUFFIXES else read_image(path)


def mirror(signal: Signal) -> list[Signal]:
    """Left for right; nothing of a sound, which backwards is none that anybody hears."""
    if isinstance(signal, Video):
        return [Video([np.ascontiguousarray(frame[:, ::-1]) for frame in signal.frames], signal.timing)]
    return [Image(np.ascontiguousarray(signal.pixels[:, ::-1]))] if isinstance(signal, Image) else []


def files_of(kind: str, folder: Path) -> list[Path]:
    """The sounds of a folder for a tokenizer of sounds; its films for one of films, if there are any; else its pictures."""
    if kind.startswith("audio"):
        return list_sounds(folder)
    return (list_films(folder) if kind.startswith("video") else []) or list_images(folder)


def tokenize(tokenizer: Any, files: Sequence[Path], mirrored: bool) -> list[Tokens]:
    """Tokens of each picture, film or sound, and of its mirror image after it where it has one."""
    tokens: list[Tokens] = []
    progress = Progress("tokenized", len(files))
    for done, signal in readable_as(read_signal, files):
        tokens += tokenizer.encode([signal, *(mirror(signal) if mirrored else [])])
        progress(done)
    if not tokens:
        raise UsageError("none of the files can be read")
    return tokens


def entropy_bits(tokens: Sequence[Tokens]) -> tuple[float, ...]:
    """H0: per level, the order-0 entropy of these tokens times their number."""
    levels = []
    for k in range(len(tokens[0].arrays)):
        counts = np.unique(np.concatenate([item.arrays[k].ravel() for item in tokens]), return_counts=True)[1]
        levels.append(float(-(counts * np.log2(counts / counts.sum())).sum()))
    return tuple(levels)


def judge(tokens: Sequence[Tokens], priors: dict[str, Prior]) -> list[Row]:
    """H0 and each prior, pooled over the tokens of all pictures."""
    h0 = entropy_bits(tokens)
    found = {"H0": h0}
    for name, prior in priors.items():
        found[name] = tuple(float(level) for level in np.sum([prior.price(item) for item in tokens], axis=0))
    return [Row(name, bits, _share(sum(bits), sum(h0))) for name, bits in found.items()]


def _share(bits: float, of: float) -> float:
    """Tokens that are all alike have no entropy."""
    return bits / of if of else 1.0 if not bits else math.inf


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 where the model or the pictures cannot be used."""
    parser = argparse.ArgumentParser(prog="smalti.recipes.prime_prior", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        rows = _run(given.model, given.data, given.out, given.judge, given.device)
    except SmaltiError as error:
        print(f"prime_prior: {error}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
    for row in [] if given.json else rows:
        print(
            f"| {row.name} | {' | '.join(f'{bits:.0f}' for bits in row.bits)} | {sum(row.bits):.0f} | {100 * row.relative - 100:+.2f} % |"
        )
    return 0


def _run(model: str, data: Sequence[Path], out: Path, judged: Path | None, device: str) -> list[Row]:
    check_place(out)
    tokenizer = zoo.load(model, device)
    kind = tokenizer.config.kind
    learnt = [item for folder in data for item in tokenize(tokenizer, files_of(kind, folder), mirrored=True)]
    prior = AdaptivePrior.prime(trees(tokenizer.net.quantizer, learnt[0].layout.stages), learnt, progress=Progress("primed", len(learnt)))
    prior.save(out)
    print(f"{out}: prior {prior.id.hex()}, {out.stat().st_size} bytes", file=sys.stderr)
    if judged is None:
        return []
    priors: dict[str, Prior] = {
        "static": StaticPrior.fit(learnt),
        "adaptive, unprimed": AdaptivePrior(prior.orders),
        "adaptive, primed": prior,
    }
    return judge(tokenize(tokenizer, files_of(kind, judged), mirrored=False), priors)


if __name__ == "__main__":
    sys.exit(main())
