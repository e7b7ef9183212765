"""What a model of films costs and keeps on a list of them: bits per pixel of whole files, metrics, and how its codebooks are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smalti.codecs.bitstream import parse
from smalti.codecs.media.video import problems_of, read_video
from smalti.codecs.neural import NeuralCodec, seconds_of
from smalti.metrics.registry import resolve
from smalti.metrics.tokens import use_of
from smalti.metrics.video import VideoMetric, measure
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Video
from smalti.tokenizers.tokens import Tokens

METRICS = ("video-psnr", "video-ssim", "temporal-difference")


def evaluate(
    codec: NeuralCodec,
    files: Sequence[Path],
    metrics: Sequence[str] = METRICS,
    step: Callable[[int], Any] = lambda n: None,
    device: str = "cpu",
    targets: Sequence[Target] = (),
) -> dict[str, Any]:
    """A plain dictionary. `rates`: per target, by default one per decodable prefix, means over films of stages, bytes, bits per pixel, kbps
    and scores. `metrics`: what each score means. `codebooks`: per stage, on the tokens of all levels. `items`: per film. `skipped`: what
    could not be read, coded for a target, or scored; films are without their sound, and of broken ones what could be read counts.

    metrics: names of films' in `metrics.registry`. Each file is decoded anew for every rate, so that memory holds a few frames alone.
    Raises SignalError where no film can be read, UsageError for an unknown metric.
    """
    judges: dict[str, VideoMetric] = {name: resolve(name, device) for name in metrics}  # type: ignore[misc]
    if strange := [name for name, judge in judges.items() if not hasattr(judge, "tally")]:
        raise UsageError(
            f"{strange[0]} is no metric of films; those are {', '.join(METRICS)} and others that begin with video- or temporal-"
        )
    meanings: dict[str, dict[str, Any]] = {}
    items: list[dict[str, Any]] = []
    encoded: list[Tokens] = []
    skipped: list[str] = []
    chosen = list(targets)
    for path in files:
        try:
            film = read_video(path, sound=False)
            (tokens,) = codec.encode([film])
            skipped += [f"{path}: {line}" for line in problems_of(film)]
            chosen = chosen or [Target(stages=cut) for cut in tokens.layout.cuts]
            rows = [_row(codec, codec.pack(tokens, (), target, film), tokens, film, judges, meanings) for target in chosen]
        except SignalError as error:
            skipped.append(str(error) if str(error).startswith(f"{path}: ") else f"{path}: {error}")
        except UsageError as error:  # too small a target
            skipped.append(f"{path}: {error}")
        else:
            items.append({"file": str(path), "frames": tokens.layout.size["frames"], "rates": rows})
            encoded.append(tokens)
        step(1)
    if not items:
        raise SignalError(f"no film to evaluate on among {len(files)} files" + (f"; {skipped[0]}" if skipped else ""))
    return {
        "model": codec.name,
        "films": len(items),
        "frames": sum(item["frames"] for item in items),
        "metrics": meanings,
        "tasks": {},
        "rates": [_mean([item["rates"][i] for item in items]) for i in range(len(chosen))],
        "codebooks": _books(codec, encoded),
        "items": items,
        "skipped": skipped,
    }


def _row(
    codec: NeuralCodec, data: bytes, tokens: Tokens, film: Video, judges: Mapping[str, VideoMetric], meanings: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    decoded, size = codec.decompress(data), tokens.layout.size
    scores = measure(judges, film, decoded)
    for name, score in scores.items():
        meanings.setdefault(name, {"unit": score.unit, "better": score.better, "convention": score.convention})
    return {
        "stages": parse(data).stages(),
        "bytes": len(data),
        "bits_per_pixel": 8 * len(data) / (size["frames"] * size["height"] * size["width"]),
        "kbps": 8 * len(data) / (seconds_of(tokens) or math.nan) / 1000,
        "scores": {name: score.value for name, score in scores.items()},
    }


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values)

    stages = {row["stages"] for row in rows}
    return {
        "stages": stages.pop() if len(stages) == 1 else mean([row["stages"] for row in rows]),
        **{name: mean([row[name] for row in rows]) for name in ("bytes", "bits_per_pixel", "kbps")},
        "scores": {name: mean([row["scores"][name] for row in rows]) for name in rows[0]["scores"]},
        "tasks": {},
    }


def _books(codec: NeuralCodec, encoded: Sequence[Tokens]) -> list[dict[str, Any]]:
    priced = [codec.prior.price(tokens) for tokens in encoded]
    found = []
    for k, use in enumerate(use_of(encoded)):
        coded = math.fsum(bits[k] for bits in priced) / max(1, use.tokens)
        found.append({"stage": encoded[0].layout.stages[k].name, **asdict(use), "coded_bits": coded})
    return found
