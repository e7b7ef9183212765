"""What recipes that measure sound share: the usual metrics, texts of what is said, coded bytes of a file, scores of one sound."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from smalti.codecs.bitstream import report
from smalti.codecs.classical.lyra import Lyra
from smalti.codecs.classical.opus import Opus
from smalti.codecs.media.files import read_bytes
from smalti.metrics.registry import resolve
from smalti.tokenizers.contracts import Codec, Metric, Score
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Signal

METRICS = ("mel-distance", "mel-distance-4k", "stoi", "pesq-wb", "si-sdr")
TITLES = {"mel-distance": "mel", "mel-distance-4k": "mel < 4 kHz", "stoi": "STOI", "pesq-wb": "PESQ-wb", "si-sdr": "SI-SDR, dB"}


def judges_of(names: Sequence[str] = (), device: str = "cpu") -> tuple[dict[str, Metric], dict[str, str]]:
    """The usual metrics that are at hand and those of these names, which must be, and why usual ones are not."""
    judges, left_out = {}, {}
    for name in dict.fromkeys((*METRICS, *names)):
        try:
            judges[name] = resolve(name, device)
        except ModelError as error:
            if name in names:
                raise
            left_out[name] = str(error)
    return judges, left_out


def payload_bytes(codec: Codec, data: bytes) -> int:
    """Of a file, the bytes that are coded sound."""
    if isinstance(codec, Opus | Lyra):
        return codec.payload_bytes(data)
    return sum(count for name, count in report.inspect(data).bytes if name == "payload")


def scores_of(judges: Mapping[str, Metric], reference: Signal, decoded: Signal) -> dict[str, Score | None]:
    """By metric; None where one cannot score this pair, as most cannot silence or a very short sound."""
    found: dict[str, Score | None] = {}
    for name, judge in judges.items():
        try:
            found[name] = judge(reference, decoded)
        except SignalError:
            found[name] = None
    return found


def read_texts(path: Path) -> dict[str, str]:
    """What is said, by the name of a file or the end of its path; UsageError where the file is no JSON object of texts."""
    try:
        found = json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise UsageError(f"{path}: no transcripts, expected a JSON object of texts by file name")
    return {PurePath(name).as_posix(): text for name, text in found.items()}


def text_of(texts: Mapping[str, str], file: Path) -> str | None:
    """What is said in a file: the text under the longest end of its path ("speech/a.flac" before "a.flac")."""
    parts = file.absolute().as_posix().split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((texts[end] for end in ends if end in texts), None)
