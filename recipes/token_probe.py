"""What tokens of a model say of classes without being decoded, beside what its decoded signals do.

    python -m smalti.recipes.token_probe MODEL FOLDER --labels labels.json [--kinds] [--group-by-folder] [--json]

For each decodable prefix: raw bits of the tokens (no entropy coding) per pixel or second, the accuracy of a linear probe on token
histograms, learned from whole tokens and from the same prefix, and the two protocols of the probe on decoded signals (`linear-probe` of
pictures, `spoken-digits` of sounds), each with its 95 % interval over items; and the ceiling, that probe on the originals. Labels are class
numbers by file name, or by the end of a path where names repeat, as a JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs.media.audio import read_audio
from smalti.codecs.media.files import list_images, list_sounds
from smalti.codecs.media.images import read_image
from smalti.metrics.machine.probes import ProbeTask, kind_table
from smalti.metrics.machine.token_probe import TokenProbe
from smalti.metrics.rate_distortion import Interval, bootstrap_mean
from smalti.metrics.registry import resolve_task
from smalti.recipes.training.sheet import shown_cuts
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.errors import SmaltiError, UsageError
from smalti.tokenizers.signals import Audio, Image, Signal

BATCH = 8
PROBES = {"image": "linear-probe", "audio": "spoken-digits"}


@dataclass(frozen=True)
class Row:
    """stages: of the prefix. rate: raw bits per pixel of pictures, per second of sounds. The rest: accuracies, of tokens learned from whole
    tokens and from the same prefix, and of decoded signals by the two protocols."""

    stages: int
    rate: float
    tokens_from_whole: Interval
    tokens_from_same: Interval
    decoded_from_originals: Interval
    originals_from_decoded: Interval


def measure(
    tokenizer: Tokenizer, signals: Sequence[Signal], labels: Sequence[int], groups: Sequence[str] | None, probe: str
) -> tuple[Interval, list[Row]]:
    """The ceiling, and one row per prefix; UsageError as in `probes.split`."""
    task, back = (resolve_task(probe + way, labels=labels, groups=groups) for way in ("", "-from-decoded"))
    assert isinstance(task, ProbeTask)
    assert isinstance(back, ProbeTask)
    reader = TokenProbe(labels, groups)
    encoded = [tokens for start in range(0, len(signals), BATCH) for tokens in tokenizer.encode(signals[start : start + BATCH])]
    units = sum(_units(signal) for signal in signals)
    rows = []
    for cut in shown_cuts(encoded[0].layout.cuts):
        prefixes = [tokens.prefix(cut) for tokens in encoded]
        decoded: list[Any] = []
        for start in range(0, len(prefixes), BATCH):
            decoded += tokenizer.decode(prefixes[start : start + BATCH])
        outcomes = (
            reader.per_item(prefixes, encoded),
            reader.per_item(prefixes),
            task.per_item(signals, decoded),
            back.per_item(signals, decoded),
        )
        rows.append(Row(cut, sum(tokens.uniform_bits for tokens in prefixes) / units, *map(_interval, outcomes)))
    return _interval(task.per_item(signals, signals)), rows


def _units(signal: Signal) -> float:
    """Pixels of a picture, seconds of a sound."""
    if isinstance(signal, Image):
        return signal.height * signal.width
    if isinstance(signal, Audio):
        return signal.seconds
    raise UsageError(f"tokens of pictures and sounds are read, found {type(signal).__name__}")


def _interval(outcomes: np.ndarray) -> Interval:
    return bootstrap_mean(outcomes[np.isfinite(outcomes)])


def labels_of(path: Path, table: Mapping[str, int]) -> int:
    """The entry of the longest end of a path; UsageError without one."""
    parts = path.absolute().as_posix().split("/")
    for start in range(len(parts)):
        if (end := "/".join(parts[start:])) in table:
            return int(table[end])
    raise UsageError(f"{path}: no label under this name; add it, or leave the file out")


def read_table(path: Path) -> dict[str, int]:
    """Class numbers by name; UsageError for another file."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not readable as JSON ({error}); give an object of class numbers by file name") from None
    if not isinstance(table, dict) or not all(type(value) is int and value >= 0 for value in table.values()):
        raise UsageError(f"{path}: no labels, expected an object of class numbers by file name")
    return table


def main() -> int:
    """Run and print; 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.token_probe", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("folder", type=Path, help="pictures or sounds, folders below included")
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--kinds", action="store_true", help="labels are ImageNet's: tell nine kinds of things apart")
    parser.add_argument("--group-by-folder", action="store_true", help="files of one folder (a speaker, say) stay on one side")
    parser.add_argument("--limit", type=int, default=0, help="so many files at most [default: all]")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        table = read_table(arguments.labels)
        tokenizer = zoo.load(arguments.model)
        pictures = list_images(arguments.folder)
        paths = pictures or list_sounds(arguments.folder)
        if not paths:
            raise UsageError(f"{arguments.folder}: no pictures and no sounds in there; name another folder")
        paths = paths[:: max(1, len(paths) // arguments.limit)][: arguments.limit] if arguments.limit > 0 else paths
        labels = [labels_of(path, table) for path in paths]
        if arguments.kinds:
            if max(labels) >= 1000:
                raise UsageError(f"{arguments.labels}: kinds are of ImageNet's classes 0..999, found {max(labels)}")
            labels = kind_table()[labels].tolist()
        groups = [path.parent.name for path in paths] if arguments.group_by_folder else None
        signals: list[Signal] = [read_image(path) if pictures else read_audio(path) for path in paths]
        probe = PROBES["image" if pictures else "audio"]
        ceiling, rows = measure(tokenizer, signals, labels, groups, probe)
    except SmaltiError as error:
        print(f"token_probe: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        said = {
            "model": tokenizer.name,
            "items": len(paths),
            "probe": probe,
            "ceiling": asdict(ceiling),
            "rows": [asdict(row) for row in rows],
        }
        print(json.dumps(said, indent=1))
        return 0
    print(f"ceiling, {probe} on originals: {_shown(ceiling)}")
    print("| stages | raw rate | tokens, from whole | tokens, from same | decoded | learned from decoded |\n|---|---|---|---|---|---|")
    for row in rows:
        accuracies = (row.tokens_from_whole, row.tokens_from_same, row.decoded_from_originals, row.originals_from_decoded)
        print(f"| {row.stages} | {row.rate:.4g} | {' | '.join(map(_shown, accuracies))} |")
    return 0


def _shown(interval: Interval) -> str:
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
