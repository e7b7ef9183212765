"""Sound models beside Opus and Lyra: rates of real files, distances, and speed, on the same sounds.

    python -m smalti.recipes.audio_table SPEECH --only-rate 16000 --model audio-residual-16k --rival opus:6 --rival lyra:1

Each model is measured at every decodable number of stages (of many, at doubled lengths), or at the number behind its colon; each rival at
the quality behind its own: for Opus the kbps that it is asked for, for Lyra 1, 2 or 3. kbps are all bytes of all files over all seconds;
payload leaves out what is not coded sound (a rival's head and lengths of packets, our headers). Scores are means over files, at each
file's own rate; what a metric cannot score is left out and counted. Speed is seconds of sound per second of processor time, on one
thread. With --transcripts (JSON, file name -> text) the word error rate is Whisper's, beside that of the originals.

Markdown goes to standard output. SI-SDR flatters none: Opus shifts phases (its filter against rumble, on purpose), and so do networks.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from smalti.codecs.bitstream import report
from smalti.codecs.classical.lyra import Lyra
from smalti.codecs.classical.opus import Opus
from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.files import list_sounds, write_atomically
from smalti.codecs.registry import resolve as resolve_codec
from smalti.metrics.machine.recognition import word_error_rate
from smalti.metrics.registry import resolve as resolve_metric
from smalti.recipes import models
from smalti.recipes.training.sheet import shown_cuts
from smalti.tokenizers.contracts import Codec, Metric, Target
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError
from smalti.tokenizers.signals import Audio

METRICS = ("mel-distance", "mel-distance-4k", "stoi", "pesq-wb", "si-sdr")
TITLES = {"mel-distance": "mel", "mel-distance-4k": "mel < 4 kHz", "stoi": "STOI", "pesq-wb": "PESQ-wb", "si-sdr": "SI-SDR, dB"}
SIZE = (("samples", 1), ("rate", 16000), ("channels", 1))


@dataclass(frozen=True)
class Sound:
    """text: what is said in it, where that is known."""

    name: str
    audio: Audio
    text: str | None = None


@dataclass(frozen=True)
class Setting:
    """A codec at one of its rates. codec: ours, or a rival."""

    label: str
    codec: Codec
    target: Target


@dataclass(frozen=True)
class Row:
    """What a setting made of all sounds. unscored: by metric, how many sounds it could not score; word_error_rate: over those with a
    text. encode_speed, decode_speed: seconds of sound per second of processor time."""

    codec: str
    files: int
    seconds: float
    kbps: float
    payload_kbps: float
    scores: dict[str, float]
    unscored: dict[str, int]
    encode_speed: float
    decode_speed: float
    word_error_rate: float | None = None


@dataclass
class _Tally:
    """Sums so far."""

    bytes: int = 0
    payload: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    scores: dict[str, list[float]] = field(default_factory=dict)
    heard: list[Audio] = field(default_factory=list)


def measure(
    sounds: Sequence[Sound], settings: Sequence[Setting], metrics: Sequence[str] = METRICS, words: bool = False, quiet: bool = True
) -> list[Row]:
    """A row per setting, by rate; words: also word error rates, and a first row of the originals. Raises SignalError without sounds."""
    if not sounds:
        raise SignalError("no sound to measure on; name files or a folder of them, and look at --only-rate")
    judges = {name: resolve_metric(name) for name in metrics}
    seconds = sum(sound.audio.seconds for sound in sounds)
    spoken = [sound for sound in sounds if sound.text is not None]
    recognition = word_error_rate([sound.text or "" for sound in spoken]) if words else None
    originals = [sound.audio for sound in spoken]
    rows = []
    for setting in settings:
        started = time.monotonic()
        tally = _Tally()
        for sound in sounds:
            _add(tally, setting, sound, judges, keep=words and sound.text is not None)
        errors = recognition(originals, tally.heard).value if recognition else None
        rows.append(_row(setting.label, tally, len(sounds), seconds, errors))
        if not quiet:
            print(f"{setting.label}: {len(sounds)} sounds, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    rows.sort(key=lambda row: row.kbps)
    if recognition:
        ceiling = recognition.ceiling(originals).value
        rows.insert(0, Row("originals", len(sounds), seconds, math.nan, math.nan, {}, {}, math.nan, math.nan, ceiling))
    return rows


def _add(tally: _Tally, setting: Setting, sound: Sound, judges: Mapping[str, Metric], keep: bool) -> None:
    before = time.process_time()
    data = setting.codec.compress(sound.audio, setting.target)
    written = time.process_time()
    decoded = setting.codec.decompress(data)
    read = time.process_time()
    assert isinstance(decoded, Audio)
    tally.bytes += len(data)
    tally.payload += payload_bytes(setting.codec, data)
    tally.encode_seconds += written - before
    tally.decode_seconds += read - written
    for name, judge in judges.items():
        found = tally.scores.setdefault(name, [])
        try:
            found.append(judge(sound.audio, decoded).value)
        except SignalError:  # silence, or too short; counted
            found.append(math.nan)
    if keep:
        tally.heard.append(decoded)


def _row(label: str, tally: _Tally, files: int, seconds: float, errors: float | None) -> Row:
    scored = {name: [value for value in values if not math.isnan(value)] for name, values in tally.scores.items()}
    return Row(
        label,
        files,
        seconds,
        8 * tally.bytes / seconds / 1000,
        8 * tally.payload / seconds / 1000,
        {name: math.fsum(values) / len(values) if values else math.nan for name, values in scored.items()},
        {name: files - len(values) for name, values in scored.items() if len(values) < files},
        seconds / tally.encode_seconds if tally.encode_seconds else math.inf,
        seconds / tally.decode_seconds if tally.decode_seconds else math.inf,
        errors,
    )


def payload_bytes(codec: Codec, data: bytes) -> int:
    """Of a file, the bytes that are coded sound."""
    if isinstance(codec, Opus | Lyra):
        return codec.payload_bytes(data)
    return sum(count for name, count in report.inspect(data).bytes if name == "payload")


def ours(text: str) -> list[Setting]:
    """A model at its numbers of stages, or, as in "audio-residual-16k:6", at one; UsageError, ModelError."""
    base, _, number = text.rpartition(":")
    name, stages = (base, number) if base and number.isdecimal() else (text, "")
    codec = models.codec(name)
    known = codec.tokenizer.layout(SIZE).cuts  # UsageError of a model of pictures
    cuts = [int(stages)] if stages else shown_cuts(known)
    if cuts[0] not in known:
        raise UsageError(f"{text!r}: the model decodes {', '.join(map(str, known))} stages, found {stages}")
    return [Setting(f"{codec.name}, {cut} stage{'s' if cut > 1 else ''}", codec, Target(stages=cut)) for cut in cuts]


def rival(text: str) -> Setting:
    """A rival's setting, such as "opus:6"; UsageError where it is none."""
    name, _, quality = text.partition(":")
    try:
        target = Target(quality=float(quality))
    except ValueError:
        raise UsageError(f"no setting {text!r}; write CODEC:QUALITY, as in opus:6 or lyra:1") from None
    codec = resolve_codec(name)
    if not isinstance(codec, Opus | Lyra):
        raise UsageError(f"{name!r} is no codec of sounds; the rivals are opus and lyra")
    label = f"Opus, {float(quality):g} kbps asked" if isinstance(codec, Opus) else f"Lyra v2, quality {float(quality):g}"
    return Setting(label, codec, target)


def markdown(rows: Sequence[Row], metrics: Sequence[str] = METRICS) -> str:
    """The table. (n left out): sounds that the metric could not score."""
    words = any(row.word_error_rate is not None for row in rows)
    names = [*(TITLES.get(name, name) for name in metrics), *(["word errors"] if words else [])]
    lines = [f"| codec | kbps | payload | {' | '.join(names)} | encode | decode |", "|---" * (5 + len(names)) + "|"]
    for row in rows:
        left_out = {name: f" ({count} left out)" for name, count in row.unscored.items()}
        cells = [f"{row.scores[name]:.3f}{left_out.get(name, '')}" if name in row.scores else "" for name in metrics]
        if words:
            cells.append("" if row.word_error_rate is None else f"{100 * row.word_error_rate:.1f} %")
        rate = ["", ""] if math.isnan(row.kbps) else [f"{row.kbps:.2f}", f"{row.payload_kbps:.2f}"]
        speed = ["" if math.isnan(value) else f"{value:.1f} x" for value in (row.encode_speed, row.decode_speed)]
        lines.append(f"| {' | '.join([row.codec, *rate, *cells, *speed])} |")
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> str:
    """The same as JSON; what is no number is null."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps([plain(asdict(row)) for row in rows], indent=1) + "\n"


def read_sounds(paths: Sequence[Path], only_rate: int | None = None, texts: Mapping[str, str] | None = None) -> list[Sound]:
    """Files, and folders of them; only_rate: those of this rate alone."""
    files = [path for item in paths for path in (list_sounds(item) if item.is_dir() else [item])]
    sounds = [Sound(path.name, read_audio(path), (texts or {}).get(path.name)) for path in files]
    return [sound for sound in sounds if only_rate in (None, sound.audio.rate)]


def _texts(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {Path(name).name: str(text) for name, text in found.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: no JSON of file names and texts ({error})") from None


def main() -> int:
    """Run and print; 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.audio_table", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", nargs="+", type=Path, help="sound files, or folders of them")
    parser.add_argument("--only-rate", type=int, help="take only files of this rate, in Hz")
    parser.add_argument("--model", action="append", default=[], help="a model of ours, or MODEL:STAGES; may be given again")
    parser.add_argument("--rival", action="append", default=[], help="CODEC:QUALITY, as opus:6 or lyra:1; may be given again")
    parser.add_argument(
        "--metric", action="append", default=[], help="a metric of the registry in place of the usual ones; may be given again"
    )
    parser.add_argument("--transcripts", type=Path, help="JSON of file names and texts: adds the word error rate, on files that have one")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    arguments = parser.parse_args()
    try:
        import torch

        torch.set_num_threads(1)
        settings = [rival(text) for text in arguments.rival]
        settings += [setting for text in arguments.model for setting in ours(text)]
        if not settings:
            raise UsageError("a table needs a model or a rival; see --help")
        texts = _texts(arguments.transcripts) if arguments.transcripts else None
        sounds = read_sounds(arguments.data, arguments.only_rate, texts)
        metrics = arguments.metric or METRICS
        rows = measure(sounds, settings, metrics, texts is not None, arguments.quiet)
        print(markdown(rows, metrics))
        if arguments.json:
            write_atomically(arguments.json, as_json(rows).encode())
    except SmaltiError as error:
        print(f"audio_table: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
