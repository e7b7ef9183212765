"""What a model of shapes costs and keeps on a list of them: bytes of whole files, metrics, and how its codebooks are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smalti.codecs.bitstream import parse
from smalti.codecs.media.shapes import read_shape
from smalti.codecs.neural import NeuralCodec
from smalti.metrics.registry import resolve
from smalti.metrics.tokens import use_of
from smalti.tokenizers.contracts import Metric, Score, Target
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Shape
from smalti.tokenizers.tokens import Tokens

METRICS = ("f-score-1", "f-score-2", "chamfer", "normal-consistency", "volume-iou", "surface-iou", "d1-psnr")


def evaluate(
    codec: NeuralCodec,
    files: Sequence[Path],
    metrics: Sequence[str] = METRICS,
    step: Callable[[int], Any] = lambda n: None,
    device: str = "cpu",
    targets: Sequence[Target] = (),
) -> dict[str, Any]:
    """A plain dictionary. `rates`: per target, by default one per decodable prefix of the first shape's tokens, means over shapes of
    stages, bytes, faces and scores. `unscored`: how many a metric could not score, which are left out of its mean: a cloud has no normals,
    a plane no inside; what decoded to nothing is scored. `metrics`: what each score means. `codebooks`: per stage whose vocabulary is the
    same in all shapes that have it, on the tokens of the last target. `items`: per shape. `skipped`: what could not be read, or coded for
    a target.

    metrics: names in `metrics.registry`. targets: bytes or stages. Raises SignalError where no shape can be read, UsageError for an
    unknown metric.
    """
    judges = {name: resolve(name, device) for name in metrics}
    meanings: dict[str, dict[str, Any]] = {}
    items: list[dict[str, Any]] = []
    encoded: list[Tokens] = []
    skipped: list[str] = []
    chosen = list(targets)
    for path in files:
        try:
            shape = read_shape(path)
            found = _files(codec, shape, chosen)
        except SignalError as error:
            skipped.append(str(error) if str(error).startswith(f"{path}: ") else f"{path}: {error}")
        except UsageError as error:  # too small a target
            skipped.append(f"{path}: {error}")
        else:
            chosen = chosen or [Target(stages=cut) for cut in found[-1][0].layout.cuts]
            rows = [_row(codec, data, shape, judges, meanings) for _, data in found]
            items.append({"file": str(path), "vertices": len(shape.vertices), "faces": _faces(shape), "rates": rows})
            encoded.append(found[-1][0])
        step(1)
    if not items:
        raise SignalError(f"no shape to evaluate on among {len(files)} files" + (f"; {skipped[0]}" if skipped else ""))
    return {
        "model": codec.name,
        "shapes": len(items),
        "metrics": meanings,
        "tasks": {},
        "rates": [_mean([item["rates"][i] for item in items]) for i in range(len(chosen))],
        "codebooks": _books(codec, encoded),
        "items": items,
        "skipped": skipped,
    }


def _files(codec: NeuralCodec, shape: Shape, targets: Sequence[Target]) -> list[tuple[Tokens, bytes]]:
    """(what a file holds, the file) for each target, or for every decodable prefix of all stages."""
    if not targets:
        (whole,) = codec.encode([shape])
        return [(whole.prefix(cut), codec.pack(whole, target=Target(stages=cut))) for cut in whole.layout.cuts]
    return [(tokens, codec.pack(tokens, target=target)) for target in targets for tokens in codec.encode([shape], target)]


def _faces(shape: Shape) -> int:
    return 0 if shape.faces is None else len(shape.faces)


def _row(
    codec: NeuralCodec, data: bytes, shape: Shape, judges: Mapping[str, Metric], meanings: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    decoded = codec.decompress(data)
    assert isinstance(decoded, Shape)
    scores = {name: _score(judge, shape, decoded) for name, judge in judges.items()}
    for name, score in scores.items():
        if score is not None:
            meanings.setdefault(name, {"unit": score.unit, "better": score.better, "convention": score.convention})
    return {
        "stages": parse(data).stages(),
        "bytes": len(data),
        "faces": _faces(decoded),
        "scores": {name: score.value if score is not None else None for name, score in scores.items()},
    }


def _score(judge: Metric, reference: Shape, decoded: Shape) -> Score | None:
    try:
        return judge(reference, decoded)
    except SignalError:
        return None


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values) if values else math.nan

    stages = {row["stages"] for row in rows}
    names = rows[0]["scores"]
    scored = {name: [row["scores"][name] for row in rows if row["scores"][name] is not None] for name in names}
    return {
        "stages": stages.pop() if len(stages) == 1 else mean([row["stages"] for row in rows]),
        "bytes": mean([row["bytes"] for row in rows]),
        "faces": mean([row["faces"] for row in rows]),
        "scores": {name: mean(values) for name, values in scored.items()},
        "unscored": {name: len(rows) - len(values) for name, values in scored.items() if len(values) < len(rows)},
        "tasks": {},
    }


def _books(codec: NeuralCodec, encoded: Sequence[Tokens]) -> list[dict[str, Any]]:
    """By the names of all stages, since a tokenizer may say shapes in several ways."""
    found = []
    for names in dict.fromkeys(tuple(stage.name for stage in tokens.layout.stages) for tokens in encoded):
        alike = [tokens for tokens in encoded if tuple(stage.name for stage in tokens.layout.stages) == names]
        priced = [codec.prior.price(tokens) for tokens in alike]
        for k, (name, use) in enumerate(zip(names, use_of(alike), strict=True)):
            if len({tokens.layout.stages[k].vocab for tokens in alike}) == 1:
                coded = math.fsum(bits[k] for bits in priced) / max(1, use.tokens)
                found.append({"stage": name, "shapes": len(alike), **asdict(use), "coded_bits": coded})
    return found
