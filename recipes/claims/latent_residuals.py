"""Residual coding of a film's key latents against the key before, beside coding each key by itself, at equal bits.

    SMALTI_JUDGES=DIR python -m smalti.recipes.claims.latent_residuals CLIPS_TRAIN CLIPS_EVAL [--limit N] [--leave-out original] [--json]

Encoder, decoder and the first key's tables are those of a shipped model. Later keys are residuals in a closed loop (`residual_loop.py`),
with tables of as many entries as the model's, fitted by k-means on the residuals of the training clips: first on those against the model's
own latents, then three times on those of their own loop, the last at the slack that gives the wanted bits. One and two levels have loops
and tables of their own. Bits are those of the coder (motion, which is the same for all, and levels) under the adaptive prior, for every
way with trees of its tables and primed on the same training clips, and unprimed. A residual way's first key is priced by the model's
prior, the others as a stream of their own. Equal bits are reached by the encoder's slack, found by secants with the prior primed anew.
Judged are the keys, drawn by the shipped decoder from what a decoder sums up.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.codecs.priors import adaptive_tree
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.metrics.registry import resolve
from smalti.recipes.claims.residual_loop import Coded, Prediction, closed_loop, fitted, summed
from smalti.recipes.prime_prior import Progress, trees
from smalti.recipes.training.film_data import list_films, read_frames
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError
from smalti.tokenizers.image.pixels import to_eight_bits
from smalti.tokenizers.quantizers.grid import to_rows
from smalti.tokenizers.signals import Image, Video
from smalti.tokenizers.tokens import Tokens
from smalti.tokenizers.video.causal import VideoCausal
from smalti.tokenizers.video.films import to_network
from smalti.tokenizers.video.network import VideoCausalNet
from smalti.tokenizers.video.stream import AXES

PASSES = 3
SLOPE = -0.25  # about that of log bits over log slack
NEAR = 0.005  # bits that count as equal
ROUNDS = 6  # at most, to get there
OURS = "each key by itself"


@dataclass(frozen=True)
class Film:
    """z: (T, D, h, w), latents of the keys. motion: (T, h, w), the first 0. own: the model's entries (T, h, w) per level. pictures: uint8
    (T, H, W, 3). pixels: of all frames."""

    name: str
    z: Tensor
    motion: Tensor
    own: tuple[Tensor, ...]
    pictures: np.ndarray
    pixels: int


@dataclass(frozen=True)
class Way:
    """A way to code keys after the first. tables: none for the model's own."""

    name: str
    levels: int
    prediction: Prediction
    tables: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Item:
    """Of one clip. bits per pixel under the primed prior and the unprimed. error: squared distance of latents, mean per place, by key, as
    are psnr and lpips. difference: of neighbouring keys, see `metrics.video`."""

    clip: str
    bits_per_pixel: float | None
    unprimed: float | None
    error: tuple[float, ...]
    psnr: tuple[float, ...]
    lpips: tuple[float, ...]
    difference: float


@dataclass(frozen=True)
class Row:
    way: str
    levels: str
    slack: float | None
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Priced:
    """A way at a slack: per clip what was coded, and bits per pixel up to each level, primed and unprimed."""

    slack: float
    coded: tuple[Coded, ...]
    bits: tuple[tuple[float, ...], ...]
    unprimed: tuple[tuple[float, ...], ...]

    def rate(self, level: int = -1) -> float:
        return mean([bits[level] for bits in self.bits])


class Comparison:
    """One model on training and judged films. slack: of the model, at which tables are fitted too."""

    def __init__(self, net: VideoCausalNet, learnt: Sequence[Film], judged: Sequence[Film]) -> None:
        self.net, self.learnt, self.judged = net, learnt, judged
        self.slack = net.config.slack
        stages = net.quantizer.layout((1, 1, 1), AXES).stages
        self.trees = trees(net.quantizer, stages)
        own = [self._tokens(film.motion, film.own) for film in learnt]
        self.prior = AdaptivePrior.prime(self.trees, own, progress=Progress("the model's prior", len(own)))

    def dequantized(self, film: Film, levels: int) -> Tensor:
        """Latents (T, D, h, w) of some first levels as the model decodes them."""
        return self.net.dequantize([level[None] for level in film.own[:levels]])[0].transpose(0, 1)

    def _tokens(self, motion: Tensor, levels: Sequence[Tensor]) -> Tokens:
        layout = self.net.quantizer.layout(tuple(motion.shape), AXES).prefix(1 + len(levels))
        return Tokens(layout, tuple(stage.numpy().astype(np.int32) for stage in (motion, *levels)))

    def fit(self, way: Way, size: int, slack: float, passes: int = PASSES) -> Way:
        """The way with tables of that many entries, on residuals of its own loop, and before it has one on those of the model's latents."""
        for number in range(passes):
            if way.tables:
                found = [self._coded(film, way, slack).residuals for film in self.learnt]
            else:
                found = [self._against_own(film, way) for film in self.learnt]
            way = replace(way, tables=fitted(torch.cat([to_rows(residuals) for residuals in found]), way.levels, size, slack))
            print(f"{way.name}, {way.levels} levels: fitted at {slack:.3f}, pass {number + 1} of {passes}", file=sys.stderr)
        return way

    def _against_own(self, film: Film, way: Way) -> Tensor:
        before = self.dequantized(film, way.levels)
        return torch.stack([z - way.prediction(old, moves) for z, old, moves in zip(film.z[1:], before, film.motion[1:], strict=False)])

    def _coded(self, film: Film, way: Way, slack: float) -> Coded:
        return closed_loop(film.z, self.dequantized(film, way.levels)[0], film.motion, way.tables, slack, way.prediction)

    def own(self) -> Priced:
        """The model as it is."""
        bits: list[tuple[float, ...]] = []
        unprimed: list[tuple[float, ...]] = []
        for film in self.judged:
            for prior, rows in ((self.prior, bits), (AdaptivePrior(self.prior.orders), unprimed)):
                rows.append(_rates(prior.price(self._tokens(film.motion, film.own)), film))
        coded = tuple(Coded(film.own, self.dequantized(film, len(film.own)), film.z[1:]) for film in self.judged)
        return Priced(self.slack, coded, tuple(bits), tuple(unprimed))

    def priced(self, way: Way, slack: float) -> Priced:
        """The judged films at a slack, the prior primed at the same."""
        orders = [self.trees[0], *(adaptive_tree.order(table.numpy()) for table in way.tables)]
        learnt = [self._tokens(film.motion[1:], self._coded(film, way, slack).entries) for film in self.learnt]
        prior = AdaptivePrior.prime(orders, learnt)
        coded = tuple(self._coded(film, way, slack) for film in self.judged)
        bits: list[tuple[float, ...]] = []
        unprimed: list[tuple[float, ...]] = []
        for film, found in zip(self.judged, coded, strict=True):
            first = self._tokens(film.motion[:1], [level[:1] for level in film.own[: way.levels]])
            later = self._tokens(film.motion[1:], found.entries)
            pairs = ((self.prior, prior), (AdaptivePrior(self.prior.orders), AdaptivePrior(prior.orders)))
            for (still, moving), rows in zip(pairs, (bits, unprimed), strict=True):
                rows.append(_rates([a + b for a, b in zip(still.price(first), moving.price(later), strict=True)], film))
        return Priced(slack, coded, tuple(bits), tuple(unprimed))

    def at_rate(self, way: Way, goal: float, slack: float) -> Priced:
        """At the slack whose mean bits per pixel are nearest to a goal: secants in logarithms of both, from a slack on."""
        tried: list[Priced] = []
        while True:
            tried.append(self.priced(way, slack))
            found = tried[-1]
            print(f"{way.name}, {way.levels} levels: slack {found.slack:.3f}, {found.rate():.5f} bits per pixel", file=sys.stderr)
            if len(tried) == ROUNDS or abs(found.rate() / goal - 1) < NEAR:
                return min(tried, key=lambda one: abs(math.log(one.rate() / goal)))
            slack *= math.exp(max(-1.0, min(1.0, math.log(goal / found.rate()) / _slope(tried))))


def _slope(tried: Sequence[Priced]) -> float:
    """Of log bits over log slack, through the last two; a usual one where they don't show it."""
    if len(tried) < 2 or tried[-1].slack == tried[-2].slack:
        return SLOPE
    found = math.log(tried[-1].rate() / tried[-2].rate()) / math.log(tried[-1].slack / tried[-2].slack)
    return found if found < SLOPE / 4 else SLOPE


def compared(comparison: Comparison, judge: Callable[[Film, Tensor], dict[str, Any]]) -> list[Row]:
    """All ways at the bits of the model's one and two levels, then latents that were not quantized."""
    net, films = comparison.net, comparison.judged
    own, size = comparison.own(), net.quantizer.key.codebooks[0].size
    assert isinstance(size, int)
    rows, extras = [], []

    def add(name: str, levels: str, priced: Priced | None, level: int, latents: Sequence[Tensor]) -> None:
        items = []
        for number, (film, drawn) in enumerate(zip(films, latents, strict=True)):
            error = (drawn - film.z).square().sum(1).mean((1, 2)).tolist()
            primed, unprimed = (priced.bits[number][level], priced.unprimed[number][level]) if priced else (None, None)
            items.append(Item(film.name, primed, unprimed, tuple(error), **judge(film, drawn)))
        rows.append(Row(name, levels, priced.slack if priced else None, tuple(items)))
        print(_line(rows[-1]), file=sys.stderr, flush=True)

    ways = {"residual, same place": Prediction(), "residual, moved": Prediction(net.config.motion, net.config.stride)}
    for levels in range(1, len(films[0].own) + 1):
        add(OURS, str(levels), own, levels, [comparison.dequantized(film, levels) for film in films])
        for name, prediction in ways.items():
            goal, slack = own.rate(levels), comparison.slack
            way = comparison.fit(Way(name, levels, prediction), size, slack)
            slack = comparison.at_rate(way, goal, slack).slack
            way = comparison.fit(way, size, slack, 1)
            found = comparison.at_rate(way, goal, slack)
            for shown in range(levels, 0, -1):
                starts = [comparison.dequantized(film, shown)[0] for film in films]
                parts = zip(films, starts, found.coded, strict=True)
                decoded = [summed(start, film.motion, coded.entries[:shown], way.tables, prediction) for film, start, coded in parts]
                if shown == levels:
                    add(name, str(levels), found, shown, decoded)
                else:  # first levels of a loop of more drift: what a truncated file would give
                    extras.append((name, f"{shown} of {levels}", found, shown, decoded))
    for extra in extras:
        add(*extra)
    add("latents as they are", "", None, 0, [film.z for film in films])
    return rows


def _rates(stages: Sequence[float], film: Film) -> tuple[float, ...]:
    """Bits per pixel up to each stage."""
    return tuple((np.cumsum(stages) / film.pixels).tolist())


class Judge:
    """Keys drawn by a model's decoder against the pictures."""

    def __init__(self, net: VideoCausalNet) -> None:
        self.net = net
        self.metrics = {"psnr": resolve("psnr"), "lpips": resolve("lpips-alex")}
        self.difference = resolve("temporal-difference")

    def __call__(self, film: Film, latents: Tensor) -> dict[str, Any]:
        drawn = to_eight_bits(self.net.decode_keys(latents.transpose(0, 1)[None])[0])
        drawn = drawn[:, : film.pictures.shape[1], : film.pictures.shape[2]]
        pairs = list(zip(film.pictures, drawn, strict=True))
        scores = {name: tuple(metric(Image(a), Image(b)).value for a, b in pairs) for name, metric in self.metrics.items()}
        difference = self.difference(Video(list(film.pictures), Fraction(1)), Video(list(drawn), Fraction(1))).value
        return {**scores, "difference": difference}


def read(net: VideoCausalNet, files: Sequence[Path], frames: int) -> list[Film]:
    """The whole groups among the first frames of each film that can be read and has two keys."""
    films, progress = [], Progress("films", len(files))
    group = net.config.group
    for number, path in enumerate(files, 1):
        try:
            pixels = read_frames(path, frames)
        except SignalError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        pixels = pixels[: 1 + (len(pixels) - 1) // group * group]
        if len(pixels) > 1:
            films.append(film_of(net, path.stem, pixels))
        progress(number)
    if not films:
        raise UsageError(f"no film of {group + 1} frames or more among {len(files)} files; name others")
    return films


def film_of(net: VideoCausalNet, name: str, frames: np.ndarray) -> Film:
    """A film of 1 + k groups of frames, uint8 (1 + k * group, H, W, 3)."""
    group = net.config.group
    pictures = to_network(list(frames), net.config.stride)
    keys, between = pictures[::group], pictures[1:].unflatten(0, (-1, group))[:, :-1]
    z = net.encode(keys)
    moved = torch.cat([net.search(keys[n : n + 1], between[n : n + 1], keys[n + 1 : n + 2]) for n in range(len(between))])
    own = net.quantizer.settle(z, None, net.config.slack)
    return Film(name, z, torch.cat([torch.zeros_like(moved[:1]), moved]), own, frames[::group], frames[..., 0].size)


def table(rows: Sequence[Row]) -> str:
    """Markdown: means over clips, over keys, and at the second and the last key; then LPIPS and PSNR clip by clip."""
    head = (
        "| way | levels | slack | bits/pixel | unprimed | latent error | PSNR, dB | LPIPS | difference | second to last key: PSNR | LPIPS |"
    )
    clips = [item.clip for item in rows[0].items]
    by_clip = [f"| {row.way} | {row.levels} | {' | '.join(_of_clip(item) for item in row.items)} |" for row in rows]
    return "\n".join(
        [
            head,
            "|" + "---|" * 11,
            *map(_line, rows),
            "",
            f"| way | levels | {' | '.join(clips)} |",
            "|" + "---|" * (2 + len(clips)),
            *by_clip,
        ]
    )


def _of_clip(item: Item) -> str:
    return f"{_or_none(item.bits_per_pixel, '.4f')}: {mean(item.psnr):.2f}, {mean(item.lpips):.4f}"


def _or_none(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


def _line(row: Row) -> str:
    items = row.items
    psnr, lpips = ([mean([getattr(item, name)[key] for item in items]) for key in (1, -1)] for name in ("psnr", "lpips"))
    cells = [
        *(row.way, row.levels, _or_none(row.slack, ".2f")),
        _or_none(None if row.slack is None else mean([item.bits_per_pixel or 0 for item in items]), ".4f"),
        _or_none(None if row.slack is None else mean([item.unprimed or 0 for item in items]), ".4f"),
        f"{mean([mean(item.error) for item in items]):.2f}",
        f"{mean([mean(item.psnr) for item in items]):.2f}",
        f"{mean([mean(item.lpips) for item in items]):.4f}",
        f"{mean([item.difference for item in items]):.2f}",
        f"{psnr[0]:.2f} to {psnr[1]:.2f}",
        f"{lpips[0]:.4f} to {lpips[1]:.4f}",
    ]
    return f"| {' | '.join(cells)} |"


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def spread(files: Sequence[Path], limit: int) -> list[Path]:
    """At most `limit` of the files, evenly over the list; all for 0."""
    count = min(limit or len(files), len(files))
    return [files[n * len(files) // count] for n in range(count)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("train", type=Path, metavar="CLIPS_TRAIN", help="folder of clips that tables and priors are fitted on")
    parser.add_argument("eval", type=Path, metavar="CLIPS_EVAL", help="folder of clips that are judged")
    parser.add_argument("--limit", type=int, default=0, help="at most so many clips of each folder, evenly over it; 0: all")
    parser.add_argument("--leave-out", action="append", default=[], help="part of a file's name; may be given again")
    parser.add_argument("--frames", type=int, default=33, help="of each clip its first so many; the keys among them are judged")
    parser.add_argument("--model", default="video-causal-16", help="whose encoder, decoder and tables are used")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="as JSON, key by key")
    given = parser.parse_args(arguments)
    torch.manual_seed(given.seed)
    try:
        tokenizer = zoo.load(given.model)
        if not isinstance(tokenizer, VideoCausal):
            raise UsageError(f"{given.model} is no model of films with keys; use video-causal-16")
        net = tokenizer.net
        with torch.inference_mode():
            learnt, judged = (
                read(
                    net,
                    spread([file for file in list_films(folder) if not any(part in file.name for part in given.leave_out)], given.limit),
                    given.frames,
                )
                for folder in (given.train, given.eval)
            )
            rows = compared(Comparison(net, learnt, judged), Judge(net))
    except SmaltiError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps([asdict(row) for row in rows], indent=1) if given.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
