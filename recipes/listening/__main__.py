"""Sounds to listen to, and how they were coded, as a page that works offline.

    python -m smalti.recipes.listening SOUNDS --model audio-residual-16k:6 --model audio-single-16k --rival opus:6 -o FOLDER

Models and rivals are named as in `smalti.recipes.audio_table`. FOLDER gets index.html, and beside it a WAV file and a spectrogram (PNG) of
each sound: the original, and what every setting makes of it, by rising rate, under the rate of that very file.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from smalti.codecs.media.audio import encode_audio
from smalti.codecs.media.files import write_atomically
from smalti.codecs.media.images import write_image
from smalti.recipes.audio_table import Setting, Sound, ours, read_sounds, rival
from smalti.recipes.listening.page import Item, Total, Version, page
from smalti.recipes.listening.spectrogram import loudest_of, spectrogram
from smalti.recipes.sounds import judges_of, scores_of
from smalti.tokenizers.contracts import Metric
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError
from smalti.tokenizers.signals import Audio, Signal

PAGE = "index.html"


def write_page(sounds: Sequence[Sound], settings: Sequence[Setting], judges: dict[str, Metric], folder: Path, quiet: bool = True) -> Path:
    """The page, written last; its path. SignalError without sounds."""
    if not sounds:
        raise SignalError("no sound to listen to; name files or a folder of them, and look at --only-rate")
    items, sizes = [], dict.fromkeys(range(len(settings)), 0)
    for number, sound in enumerate(sounds, 1):
        loudest = loudest_of(sound.audio)
        versions = [_version(folder, f"{number:03}-original", "original", sound.audio, loudest)]
        for k, setting in enumerate(settings):
            data = setting.codec.compress(sound.audio, setting.target)
            decoded = setting.codec.decompress(data)
            sizes[k] += len(data)
            scores = scores_of(judges, sound.audio, decoded)
            kbps = 8 * len(data) / sound.audio.seconds / 1000
            versions.append(_version(folder, f"{number:03}-{k + 1:02}", setting.label, decoded, loudest, kbps, scores))
        channels = len(sound.audio.samples)
        about = f"{sound.audio.seconds:.1f} s, {sound.audio.rate} Hz, {channels} channel{'s' if channels > 1 else ''}"
        items.append(Item(sound.name, about, versions))
        if not quiet:
            print(f"{number} of {len(sounds)}: {sound.name}", file=sys.stderr, flush=True)
    seconds = math.fsum(sound.audio.seconds for sound in sounds)
    totals = [
        Total(setting.label, 8 * sizes[k] / seconds / 1000, _means([item.versions[k + 1] for item in items]))
        for k, setting in enumerate(settings)
    ]
    order = sorted(range(len(settings)), key=lambda k: totals[k].kbps)
    sorted_items = [Item(item.name, item.about, [item.versions[0], *(item.versions[k + 1] for k in order)]) for item in items]
    found = [version for item in items for version in item.versions]
    better = {name: score.better for version in found for name, score in (version.scores or {}).items() if score}
    text = page(sorted_items, [totals[k] for k in order], {name: better[name] for name in judges if name in better})
    write_atomically(folder / PAGE, text.encode())
    return folder / PAGE


def _version(
    folder: Path, name: str, label: str, audio: Signal, loudest: float, kbps: float | None = None, scores: dict | None = None
) -> Version:
    if not isinstance(audio, Audio):
        raise UsageError(f"{label}: decodes to no sound; name codecs of sounds")
    write_atomically(folder / f"{name}.wav", encode_audio(audio, ".wav", name))
    write_image(spectrogram(audio, loudest), folder / f"{name}.png")
    return Version(label, f"{name}.wav", f"{name}.png", kbps, scores)


def _means(versions: Sequence[Version]) -> dict[str, float]:
    names = versions[0].scores or {}
    scored = {name: [s.value for v in versions if (s := (v.scores or {})[name]) is not None] for name in names}
    return {name: math.fsum(values) / len(values) for name, values in scored.items() if values}


def _prepared(folder: Path, force: bool) -> Path:
    """The folder, made where it is missing; UsageError where something else may lie in it."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: a file, expected a folder to write the page into; choose another with -o")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UsageError(f"{folder}: not empty; --force writes into it all the same, -o names another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror}); choose another with -o") from None
    return folder


def main() -> int:
    """Run and print; 2 where it is refused."""
    parser = argparse.ArgumentParser(prog="python -m smalti.recipes.listening", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", nargs="+", type=Path, help="sound files, or folders of them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the page")
    parser.add_argument("--only-rate", type=int, help="take only files of this rate, in Hz")
    parser.add_argument("--model", action="append", default=[], help="a model of ours, or MODEL:STAGES; may be given again")
    parser.add_argument("--rival", action="append", default=[], help="CODEC:QUALITY, as opus:6 or lyra:1; may be given again")
    parser.add_argument("--metric", action="append", default=[], help="a further metric of the registry; may be given again")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    arguments = parser.parse_args()
    try:
        import torch

        torch.set_num_threads(1)
        settings = [rival(text) for text in arguments.rival]
        settings += [setting for text in arguments.model for setting in ours(text)]
        if not settings:
            raise UsageError("a page needs a model or a rival; see --help")
        judges, left_out = judges_of(arguments.metric)
        sounds = read_sounds(arguments.data, arguments.only_rate)
        place = write_page(sounds, settings, judges, _prepared(arguments.out, arguments.force), arguments.quiet)
        for line in left_out.values():
            print(f"listening: {line}", file=sys.stderr)
        print(place)
    except SmaltiError as error:
        print(f"listening: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
