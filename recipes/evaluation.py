"""What a model costs and keeps on a list of pictures: rates of real files, metrics, and how its codebooks are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs.media.images import read_image
from smalti.codecs.neural import NeuralCodec
from smalti.metrics.registry import resolve
from smalti.tokenizers.contracts import Metric, Score
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens


def evaluate(
    codec: NeuralCodec,
    files: Sequence[Path],
    metrics: Sequence[str] = ("psnr",),
    batch: int = 8,
    step: Callable[[int], Any] = lambda n: None,
    device: str = "cpu",
) -> dict[str, Any]:
    """A plain dictionary: `rates` per decodable prefix with mean bytes, bits per pixel and scores; `metrics` with what each score means;
    `codebooks` per stage; `items` per picture; `skipped`.

    metrics: names in `metrics.registry`; their networks run on `device`. Means are over pictures: bits per pixel of each file first, then
    their mean. Raises SignalError where no picture can be read.
    """
    judges = {name: resolve(name, device) for name in metrics}
    meanings: dict[str, dict[str, str]] = {}
    items: list[dict[str, Any]] = []
    counts: list[np.ndarray] = []
    payload_bits: list[float] = []
    skipped = []
    for start in range(0, len(files), batch):
        pictures, names = [], []
        for path in files[start : start + batch]:
            try:
                pictures.append(read_image(path))
                names.append(str(path))
            except SignalError as error:
                skipped.append(str(error))
        for name, picture, tokens in zip(names, pictures, codec.tokenizer.encode(pictures), strict=True):
            items.append(
                {"file": name, "rates": [_rate(codec, picture, tokens.prefix(cut), judges, meanings) for cut in tokens.layout.cuts]}
            )
            _count(tokens, counts)
            payload_bits = [a + b for a, b in zip(payload_bits or [0.0] * len(tokens.arrays), codec.prior.price(tokens), strict=True)]
        step(len(files[start : start + batch]))
    if not items:
        raise SignalError(f"no picture to evaluate on among {len(files)} files" + (f"; {skipped[0]}" if skipped else ""))
    rates = [_mean([item["rates"][i] for item in items]) for i in range(len(items[0]["rates"]))]
    books = [_use(f"level {i}", count, bits) for i, (count, bits) in enumerate(zip(counts, payload_bits, strict=True))]
    return {
        "model": codec.name,
        "pictures": len(items),
        "metrics": meanings,
        "rates": rates,
        "codebooks": books,
        "items": items,
        "skipped": skipped,
    }


def _rate(
    codec: NeuralCodec, picture: Image, tokens: Tokens, judges: dict[str, Metric], meanings: dict[str, dict[str, str]]
) -> dict[str, Any]:
    data = codec.pack(tokens, picture.notes)
    decoded = codec.decompress(data)
    scores: dict[str, Score] = {name: judge(picture, decoded) for name, judge in judges.items()}
    for name, score in scores.items():
        meanings.setdefault(name, {"unit": score.unit, "better": score.better, "convention": score.convention})
    return {
        "stages": len(tokens.arrays),
        "bytes": len(data),
        "bits_per_pixel": 8 * len(data) / (picture.height * picture.width),
        "scores": {name: score.value for name, score in scores.items()},
    }


def _mean(rates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values)

    names = rates[0]["scores"]
    return {
        "stages": rates[0]["stages"],
        "bytes": mean([r["bytes"] for r in rates]),
        "bits_per_pixel": mean([r["bits_per_pixel"] for r in rates]),
        "scores": {name: mean([r["scores"][name] for r in rates]) for name in names},
    }


def _count(tokens: Tokens, counts: list[np.ndarray]) -> None:
    for i, (stage, array) in enumerate(zip(tokens.layout.stages, tokens.arrays, strict=True)):
        found = np.bincount(array.ravel(), minlength=stage.vocab)
        if i < len(counts):
            counts[i] += found
        else:
            counts.append(found)


def _use(name: str, counts: np.ndarray, bits: float) -> dict[str, Any]:
    p = counts[counts > 0] / counts.sum()
    entropy = max(0.0, float(-(p * np.log2(p)).sum()))  # not -0
    return {
        "stage": name,
        "size": len(counts),
        "used": int((counts > 0).sum()),
        "perplexity": 2**entropy,
        "entropy_bits": entropy,
        "coded_bits": bits / int(counts.sum()),
    }
