"""What a model costs and keeps on a list of pictures: rates of real files, metrics, tasks, and how its codebooks are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smalti.codecs.bitstream import parse
from smalti.codecs.media.images import read_image, write_image
from smalti.codecs.neural import NeuralCodec
from smalti.metrics.registry import resolve, resolve_task
from smalti.metrics.tokens import picture as picture_of_use
from smalti.metrics.tokens import use_of
from smalti.tokenizers.contracts import Metric, Score, Target, Task
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens


@dataclass
class _Seen:
    """The pictures of an evaluation and, per rate, what came back: a task scores the whole set at once."""

    names: list[str] = field(default_factory=list)
    originals: list[Image] = field(default_factory=list)
    decoded: list[list[Image]] = field(default_factory=list)

    def add(self, name: str, original: Image, decoded: Sequence[Image]) -> None:
        self.names.append(name)
        self.originals.append(original)
        self.decoded = self.decoded or [[] for _ in decoded]
        for rate, picture in zip(self.decoded, decoded, strict=True):
            rate.append(picture)


def evaluate(
    codec: NeuralCodec,
    files: Sequence[Path],
    metrics: Sequence[str] = ("psnr",),
    batch: int = 8,
    step: Callable[[int], Any] = lambda n: None,
    device: str = "cpu",
    tasks: Sequence[str] = (),
    labels: Mapping[str, int] | None = None,
    use_picture: Path | None = None,
    targets: Sequence[Target] = (),
) -> dict[str, Any]:
    """A plain dictionary. `rates`: per target, by default one per decodable prefix, means of stages, bytes, bits per pixel and scores, and
    scores of tasks on the whole set. `metrics`, `tasks`: what each score means, and a task's ceiling. `codebooks`: per stage. `items`: per
    picture. `skipped`: what could not be read.

    targets: what files to make, as `smalti tokenize` would; codebooks are counted on the tokens of the last one.
    use_picture: file for `metrics.tokens.picture`.
    metrics, tasks: names in `metrics.registry`; their networks run on `device`. labels: class numbers by file name, for a task that wants
    them. Means are over pictures: bits per pixel of each file first, then their mean. With tasks, all pictures stay in memory. Raises
    SignalError where no picture can be read or one does not suit a metric, UsageError where a label is missing.
    """
    if use_picture and use_picture.suffix.lower() != ".png":
        raise UsageError(f"{use_picture}: the picture of codebook use is a PNG; name it so")
    judges = {name: resolve(name, device) for name in metrics}
    _resolve_tasks(tasks, device, labels, [str(path) for path in files])  # what is missing is said now, not when all is encoded
    seen = _Seen()
    meanings: dict[str, dict[str, Any]] = {}
    items: list[dict[str, Any]] = []
    encoded: list[Tokens] = []
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
        chosen = targets or _prefixes(codec)
        for name, picture, encoded_for in zip(names, pictures, _encoded(codec, pictures, chosen), strict=True):
            tokens = encoded_for[-1]
            try:
                measured = [_rate(codec, picture, *pair, judges, meanings) for pair in zip(encoded_for, chosen, strict=True)]
            except SignalError as error:
                raise SignalError(f"{name}: {error}") from None
            items.append({"file": name, "rates": [rate.row for rate in measured]})
            if tasks:
                seen.add(name, picture, [rate.decoded for rate in measured])
            encoded.append(tokens)
            payload_bits = [a + b for a, b in zip(payload_bits or [0.0] * len(tokens.arrays), codec.prior.price(tokens), strict=True)]
        step(len(files[start : start + batch]))
    if not items:
        raise SignalError(f"no picture to evaluate on among {len(files)} files" + (f"; {skipped[0]}" if skipped else ""))
    rates = [_mean([item["rates"][i] for item in items]) for i in range(len(items[0]["rates"]))]
    ceilings: dict[str, dict[str, Any]] = {}
    for name, task in _resolve_tasks(tasks, device, labels, seen.names).items():
        ceiling = task.ceiling(seen.originals)
        ceilings[name] = {**_meaning(ceiling), "ceiling": ceiling.value}
        for rate, decoded in zip(rates, seen.decoded, strict=True):
            rate["tasks"][name] = task(seen.originals, decoded).value
    if use_picture:
        write_image(picture_of_use(encoded), use_picture)
    return {
        "model": codec.name,
        "pictures": len(items),
        "metrics": meanings,
        "tasks": ceilings,
        "rates": rates,
        "codebooks": _books(encoded, payload_bits),
        "items": items,
        "skipped": skipped,
    }


def _prefixes(codec: NeuralCodec) -> list[Target]:
    """Files of every number of stages that decodes."""
    return [Target(stages=cut) for cut in codec.tokenizer.layout((("height", 1), ("width", 1))).cuts]


def _encoded(codec: NeuralCodec, pictures: Sequence[Image], targets: Sequence[Target]) -> list[list[Tokens]]:
    """For each picture its tokens for every target, as they are packed."""
    by_target = [codec.encode(pictures, target) for target in targets] if pictures else []
    return [list(tokens) for tokens in zip(*by_target, strict=True)]


def _resolve_tasks(tasks: Sequence[str], device: str, labels: Mapping[str, int] | None, files: Sequence[str]) -> dict[str, Task]:
    """The tasks by name, for these files in this order."""
    numbers: list[int] | None = None
    if labels is not None:
        unnamed = [file for file in files if Path(file).name not in labels]
        if unnamed:
            raise UsageError(f"{unnamed[0]}: no label for a file of this name; add it to the labels, or leave the picture out")
        numbers = [labels[Path(file).name] for file in files]
    return {name: resolve_task(name, device, numbers) for name in tasks}


@dataclass(frozen=True)
class _Rate:
    """row: the numbers of one picture at one rate. decoded: what came back."""

    row: dict[str, Any]
    decoded: Image


def _rate(
    codec: NeuralCodec, picture: Image, tokens: Tokens, target: Target, judges: dict[str, Metric], meanings: dict[str, dict[str, Any]]
) -> _Rate:
    data = codec.pack(tokens, picture.notes, target)
    decoded = codec.decompress(data)
    assert isinstance(decoded, Image)
    scores = {name: judge(picture, decoded) for name, judge in judges.items()}
    for name, score in scores.items():
        meanings.setdefault(name, _meaning(score))
    row = {
        "stages": parse(data).stages(),
        "bytes": len(data),
        "bits_per_pixel": 8 * len(data) / (picture.height * picture.width),
        "scores": {name: score.value for name, score in scores.items()},
    }
    return _Rate(row, decoded)


def _meaning(score: Score) -> dict[str, Any]:
    return {"unit": score.unit, "better": score.better, "convention": score.convention}


def _mean(rates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values)

    names, stages = rates[0]["scores"], {r["stages"] for r in rates}
    return {
        "stages": stages.pop() if len(stages) == 1 else mean([r["stages"] for r in rates]),
        "bytes": mean([r["bytes"] for r in rates]),
        "bits_per_pixel": mean([r["bits_per_pixel"] for r in rates]),
        "scores": {name: mean([r["scores"][name] for r in rates]) for name in names},
        "tasks": {},
    }


def _books(tokens: Sequence[Tokens], payload_bits: Sequence[float]) -> list[dict[str, Any]]:
    names = [stage.name for stage in tokens[0].layout.stages]
    stages = zip(names, use_of(tokens), payload_bits, strict=True)
    return [{"stage": name, **asdict(use), "coded_bits": bits / max(1, use.tokens)} for name, use, bits in stages]
