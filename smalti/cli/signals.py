"""Whether a command deals with pictures or with sounds, and what it says of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.cli.files import PIPE
from smalti.tokenizers.errors import SmaltiError, UsageError

if TYPE_CHECKING:
    from smalti.tokenizers.signals import Audio, Image


def hears(model: str | None, sources: Sequence[str]) -> bool:
    """Whether a model is one of sound; UsageError where none is named and the sources are sounds."""
    from smalti.codecs.media.files import AUDIO_SUFFIXES
    from smalti.tokenizers import zoo

    if model is None:
        sounds = [source for source in sources if Path(source).suffix.lower() in AUDIO_SUFFIXES]
        if sounds:
            raise UsageError(f"{sounds[0]}: a sound, and the default model is one of pictures; name a model of sound with -m")
        return False
    try:
        return zoo.find(model).kind.startswith("audio")
    except SmaltiError:  # said when it is loaded
        return False


def suffixes(sound: bool) -> tuple[str, ...]:
    """The endings that count inside a folder."""
    from smalti.codecs.media.files import AUDIO_SUFFIXES, IMAGE_SUFFIXES

    return AUDIO_SUFFIXES if sound else IMAGE_SUFFIXES


def holds_sound(files: Sequence[str]) -> bool:
    """Whether the first token file that can be looked into holds sound; a pipe can't be."""
    from smalti.cli import arrays
    from smalti.codecs.bitstream import parse
    from smalti.codecs.media.files import list_files, read_bytes

    for file in files:
        if file == PIPE:
            continue
        try:
            inside = list_files(file, (".smt", ".json"))[:1] if Path(file).is_dir() else [Path(file)]
            for path in inside:
                data = read_bytes(path)
                if arrays.kind(data) == "smt":
                    return parse(data).streams[0].modality == "audio"
                return arrays.kind(data) == "json" and "samples" in arrays.from_json(data)[0].layout.size
        except SmaltiError:  # said when it is decoded
            continue
    return False


def size_of(signal: Image | Audio) -> dict[str, Any]:
    """A signal's size, as results name it."""
    from smalti.tokenizers.signals import Audio

    if isinstance(signal, Audio):
        return {"samples": signal.samples.shape[1], "rate": signal.rate, "channels": signal.samples.shape[0], "seconds": signal.seconds}
    return {"height": signal.height, "width": signal.width}


def rate_of(signal: Image | Audio, size: int) -> dict[str, float]:
    """What a file of so many bytes costs."""
    from smalti.tokenizers.signals import Audio

    if isinstance(signal, Audio):
        return {"kbps": 8 * size / signal.seconds / 1000}
    return {"bits_per_pixel": 8 * size / (signal.height * signal.width)}
