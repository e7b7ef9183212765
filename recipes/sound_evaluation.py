"""What a model of sound costs and keeps on a list of sounds: rates of real files, metrics, tasks, and how its codebooks are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from smalti.codecs.bitstream import parse
from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.images import write_image
from smalti.codecs.neural import NeuralCodec
from smalti.metrics.registry import resolve_task
from smalti.metrics.tokens import picture as picture_of_use
from smalti.metrics.tokens import use_of
from smalti.recipes.sounds import judges_of, payload_bytes, scores_of, text_of
from smalti.tokenizers.contracts import Metric, Score, Target, Task
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Audio, Signal
from smalti.tokenizers.tokens import Tokens


@dataclass
class _Rate:
    """Sums over sounds for one target. scores: by metric, one for each sound, None where it could not be scored."""

    target: Target
    stages: list[int] = field(default_factory=list)
    bytes: int = 0
    payload: int = 0
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    heard: list[Signal] = field(default_factory=list)


def evaluate(
    codec: NeuralCodec,
    files: Sequence[Path],
    metrics: Sequence[str] = (),
    step: Callable[[int], Any] = lambda n: None,
    device: str = "cpu",
    tasks: Sequence[str] = (),
    texts: Mapping[str, str] | None = None,
    use_picture: Path | None = None,
    targets: Sequence[Target] = (),
) -> dict[str, Any]:
    """A plain dictionary. `rates`: per target, by default one per decodable prefix, mean stages, bytes of all files, kbps and payload_kbps
    (all bits over all seconds), scores (means over the sounds that a metric can score), `unscored` (how many it could not), and scores of
    tasks on the whole set. `metrics`, `tasks`: what each score means, and a task's ceiling. `codebooks`: per stage, on the tokens of all
    levels. `items`: per sound. `skipped`: what could not be read, or coded for a target; `left_out`: usual metrics that are not installed.

    `without_text`: how many sounds have none among texts, where those are given.

    metrics: further names in `metrics.registry` beside `sounds.METRICS`; all score at a sound's own rate. texts: what is said, see
    `sounds.text_of`; where they are given, tasks score the sounds that have one. With tasks, those sounds stay in memory. Raises
    SignalError where no sound can be read, UsageError where no sound has a text.
    """
    if use_picture and use_picture.suffix.lower() != ".png":
        raise UsageError(f"{use_picture}: the picture of codebook use is a PNG; name it so")
    judges, left_out = judges_of(metrics, device)
    spoken = {path: text_of(texts, path) for path in files} if texts is not None else {}
    if tasks and texts is not None and not any(text is not None for text in spoken.values()):
        raise UsageError(f"none of {len(files)} sounds has a text among the transcripts; names are those of files or ends of their paths")
    _tasks(tasks, device, [""] if texts is not None else None)  # what is missing is said now, not when all is encoded
    meanings: dict[str, dict[str, Any]] = {}
    items: list[dict[str, Any]] = []
    encoded: list[Tokens] = []
    payload_bits: list[float] = []
    skipped: list[str] = []
    originals: list[Signal] = []
    said: list[str] = []
    rates: list[_Rate] = []
    for path in files:
        try:
            sound = read_audio(path)
            (tokens,) = codec.encode([sound])
            rates = rates or [_Rate(target) for target in targets or [Target(stages=cut) for cut in tokens.layout.cuts]]
            written = [codec.pack(tokens, target=rate.target) for rate in rates]
        except SignalError as error:
            skipped.append(str(error))
        except UsageError as error:  # a rate or a size that the model does not take, or too short for a target
            skipped.append(f"{path}: {error}")
        else:
            text = spoken.get(path)
            keep = bool(tasks) and (texts is None or text is not None)
            rows = [_add(rate, codec, data, sound, judges, meanings, keep) for rate, data in zip(rates, written, strict=True)]
            items.append({"file": str(path), "seconds": sound.seconds, "rates": rows})
            originals += [sound] if keep else []
            said += [text] if text is not None else []
            encoded.append(tokens)
            payload_bits = [a + b for a, b in zip(payload_bits or [0.0] * len(tokens.arrays), codec.prior.price(tokens), strict=True)]
        step(1)
    if not items:
        raise SignalError(f"no sound to evaluate on among {len(files)} files" + (f"; {skipped[0]}" if skipped else ""))
    seconds = math.fsum(item["seconds"] for item in items)
    found = [_row(rate, len(items), seconds) for rate in rates]
    ceilings: dict[str, dict[str, Any]] = {}
    for name, task in _tasks(tasks, device, said if texts is not None else None).items():
        ceiling = task.ceiling(originals)
        ceilings[name] = {**_meaning(ceiling), "ceiling": ceiling.value}
        for row, rate in zip(found, rates, strict=True):
            row["tasks"][name] = task(originals, rate.heard).value
    if use_picture:
        write_image(picture_of_use(encoded), use_picture)
    return {
        "model": codec.name,
        "sounds": len(items),
        "seconds": seconds,
        "without_text": len(items) - len(said) if texts is not None else 0,
        "metrics": meanings,
        "tasks": ceilings,
        "rates": found,
        "codebooks": _books(encoded, payload_bits),
        "items": items,
        "skipped": skipped,
        "left_out": left_out,
    }


def _tasks(names: Sequence[str], device: str, said: Sequence[str] | None) -> dict[str, Task]:
    return {name: resolve_task(name, device, texts=said) for name in names}


def _add(
    rate: _Rate,
    codec: NeuralCodec,
    data: bytes,
    sound: Audio,
    judges: Mapping[str, Metric],
    meanings: dict[str, dict[str, Any]],
    keep: bool,
) -> dict[str, Any]:
    """Add one sound, coded for a target, to the sums, and return its own row."""
    decoded = codec.decompress(data)
    scores = scores_of(judges, sound, decoded)
    for name, score in scores.items():
        if score is not None:
            meanings.setdefault(name, _meaning(score))
        rate.scores.setdefault(name, []).append(score.value if score is not None else None)
    stages, payload = parse(data).stages(), payload_bytes(codec, data)
    rate.stages.append(stages)
    rate.bytes += len(data)
    rate.payload += payload
    rate.heard += [decoded] if keep else []
    return {
        "stages": stages,
        "bytes": len(data),
        "payload_bytes": payload,
        "kbps": 8 * len(data) / sound.seconds / 1000,
        "scores": {name: score.value if score is not None else None for name, score in scores.items()},
    }


def _row(rate: _Rate, sounds: int, seconds: float) -> dict[str, Any]:
    scored = {name: [value for value in values if value is not None] for name, values in rate.scores.items()}
    return {
        "stages": rate.stages[0] if len(set(rate.stages)) == 1 else math.fsum(rate.stages) / sounds,
        "bytes": rate.bytes,
        "kbps": 8 * rate.bytes / seconds / 1000,
        "payload_kbps": 8 * rate.payload / seconds / 1000,
        "scores": {name: math.fsum(values) / len(values) if values else math.nan for name, values in scored.items()},
        "unscored": {name: sounds - len(values) for name, values in scored.items() if len(values) < sounds},
        "tasks": {},
    }


def _meaning(score: Score) -> dict[str, Any]:
    return {"unit": score.unit, "better": score.better, "convention": score.convention}


def _books(tokens: Sequence[Tokens], payload_bits: Sequence[float]) -> list[dict[str, Any]]:
    names = [stage.name for stage in tokens[0].layout.stages]
    stages = zip(names, use_of(tokens), payload_bits, strict=True)
    return [{"stage": name, **asdict(use), "coded_bits": bits / max(1, use.tokens)} for name, use, bits in stages]
