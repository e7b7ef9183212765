"""Whether a command deals with pictures, sounds, films or shapes, and what it says of one of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.cli.files import PIPE
from smalti.tokenizers.errors import SignalError, SmaltiError, UsageError

if TYPE_CHECKING:
    from smalti.media import AnySignal
    from smalti.tokenizers.contracts import Tokenizer
    from smalti.tokenizers.tokens import Tokens

_WORDS = {"image": "a picture", "audio": "a sound", "video": "a film", "shape": "a shape"}
NAMES = {"image": "pictures", "audio": "sounds", "video": "films", "shape": "shapes"}
ENDINGS = {"image": ".png", "audio": ".wav", "video": ".mkv", "shape": ".ply"}  # of results that nobody named


@dataclass(frozen=True)
class Noted:
    """A signal with what people should know of it: what its file had beyond it, and what was done; `lost`: those of them that one sees."""

    signal: AnySignal
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def modality(model: str | None, sources: Sequence[str]) -> str:
    """ "image", "audio", "video" or "shape": what a model takes, or where none is named what the sources are.

    UsageError for sounds, whose model must be named, and for pictures, films and shapes in one; ModelError for a model that is not there.
    """
    from smalti.media import modality_of_kind
    from smalti.tokenizers import zoo

    if model is None:
        return _of_sources(sources)
    return modality_of_kind(zoo.find(model).kind)


def _of_sources(sources: Sequence[str]) -> str:
    from smalti.codecs.media.files import AUDIO_SUFFIXES

    sounds = [source for source in sources if Path(source).suffix.lower() in AUDIO_SUFFIXES]
    if sounds:
        raise UsageError(f"{sounds[0]}: a sound, and the default model is one of pictures; name a model of sound with -m")
    found = {_of_source(source): source for source in sources}
    if len(found) > 1:
        (one, a), (other, b) = sorted(found.items(), key=lambda item: list(NAMES).index(item[0]))[:2]
        names = {"image": "a picture", "video": "a film", "shape": "a shape"}
        raise UsageError(f"{a} and {b}: {names[one]} and {names[other]}; name a model with -m, or give them one at a time")
    return next(iter(found), "image")


def _of_source(source: str) -> str:
    """ "shape" or "video" for a file that is one, and for a folder that holds some and no picture."""
    from smalti.codecs.media.files import list_films, list_images, list_shapes
    from smalti.codecs.media.shapes import format_of, looks_like_shape
    from smalti.codecs.media.video import looks_like_video

    if source == PIPE:
        start = _start_of_pipe()
        return "shape" if format_of(start) else "video" if looks_like_video(start[:12]) else "image"
    try:
        if Path(source).is_dir():
            if list_images(source):
                return "image"
            return "shape" if list_shapes(source) else "video" if list_films(source) else "image"
        return "video" if looks_like_video(source) else "shape" if looks_like_shape(source) else "image"
    except SmaltiError:  # said when it is read
        return "image"


def _start_of_pipe() -> bytes:
    """What standard input begins with, left there."""
    pipe = sys.stdin.buffer
    if hasattr(pipe, "peek"):
        return bytes(pipe.peek(1))
    if not pipe.seekable():
        return b""
    start = pipe.read(2**16)
    pipe.seek(-len(start), 1)
    return start


def suffixes(modality: str) -> tuple[str, ...]:
    """The endings that count inside a folder."""
    from smalti.codecs.media.files import AUDIO_SUFFIXES, FILM_SUFFIXES, IMAGE_SUFFIXES, SHAPE_SUFFIXES

    films = (*FILM_SUFFIXES, ".gif")  # which are pictures where no model of films is named
    return {"image": IMAGE_SUFFIXES, "audio": (*AUDIO_SUFFIXES, *FILM_SUFFIXES), "video": films, "shape": SHAPE_SUFFIXES}[modality]


def written(modality: str | None) -> tuple[str, ...]:
    """The endings of files that results can be; None: of any."""
    from smalti.codecs.media.files import SHAPE_SUFFIXES

    known = {
        "image": (".png", ".jpg", ".jpeg", ".webp"), "audio": (".wav", ".flac"), "video": (".mkv", ".mp4", ".gif"), "shape": SHAPE_SUFFIXES,
    }  # fmt: skip
    return known[modality] if modality else tuple(ending for endings in known.values() for ending in endings)


def held_by(file: str, model: str | None) -> str | None:
    """The modality of a token file, by what it says, or, of an array, by its model; None where that is not to be seen yet."""
    from smalti.cli import arrays
    from smalti.codecs.bitstream import parse
    from smalti.codecs.media.files import read_bytes
    from smalti.codecs.neural import modality_of

    if file == PIPE:
        return None
    try:
        data = read_bytes(file)
        kind = arrays.kind(data)
        if kind == "smt":
            return known(parse(data, strict=False).streams[0].modality)
        return modality_of(arrays.from_json(data)[0]) if kind == "json" else modality(model, ())
    except SmaltiError:  # said when it is decoded
        return None


def known(modality: str) -> str | None:
    """A modality that this release writes files of, None for another."""
    return modality if modality in NAMES else None


def read_noted(modality: str, source: str, tokenizer: Tokenizer, sound: bool = False) -> Noted:
    """What a file holds, as the model takes it; refused by name where the model takes no such size. source: a path, or "-".
    sound: whether a film's is wanted."""
    from smalti import api
    from smalti.cli.files import name_of, read
    from smalti.codecs import notes
    from smalti.codecs.media import audio, images, shapes, surface, video
    from smalti.tokenizers.audio.sounds import size_of_sound
    from smalti.tokenizers.video.films import video_of

    name = name_of(source)
    other = _other_kind(modality, source)
    if modality == "video" and other == "image":  # which is a film of one frame
        return replace(still := read_noted("image", source, tokenizer), signal=video_of(still.signal, tokenizer.name))
    if other:
        raise SignalError(
            f"{name}: {_WORDS[other]}, and {tokenizer.name} takes {NAMES[modality]}; leave -m out, or name a model of {NAMES[other]}"
        )
    if modality == "shape":
        found = shapes.read_noted(source if source != PIPE else read(PIPE), name)
        return Noted(found.shape, (*found.notes, *surface.describe(found.shape)))
    if modality == "audio":
        heard = audio.read_audio(source if source != PIPE else read(PIPE), name)
        api.with_name(name, lambda: tokenizer.layout(size_of_sound(heard).signal))
        return Noted(heard)
    if modality == "video":
        film = video.read_noted(source if source != PIPE else read(PIPE), name, sound)
        return Noted(film.video, (*film.notes, *film.lost), film.lost)
    picture = images.read_image(read(source), name)
    visible = (notes.ALPHA, notes.LATER_FRAMES, notes.DEPTH)
    return Noted(picture, picture.notes, tuple(note for note in picture.notes if note in visible))


def size_of(signal: AnySignal, tokens: Tokens | None = None) -> dict[str, Any]:
    """A signal's size, as results name it. tokens: of a film, whose frames pass once, they know it."""
    from smalti.tokenizers.signals import Audio, Shape, Video

    if isinstance(signal, Audio):
        return {"samples": signal.samples.shape[1], "rate": signal.rate, "channels": signal.samples.shape[0], "seconds": signal.seconds}
    if isinstance(signal, Shape):
        return {"vertices": len(signal.vertices), "faces": 0 if signal.faces is None else len(signal.faces)}
    if isinstance(signal, Video):
        assert tokens is not None
        size = tokens.layout.size
        seconds = size["frames"] * size["rate_den"] / size["rate_num"]
        return {"frames": size["frames"], "height": size["height"], "width": size["width"], "seconds": seconds}
    return {"height": signal.height, "width": signal.width}


def way_of(tokens: Tokens) -> dict[str, str]:
    """How a shape is said, by the names of its stages, in words; nothing of other signals."""
    if "scale" not in tokens.layout.size:
        return {}
    last = tokens.layout.stages[-1].name
    if last == "vertices":
        return {"way": f"a mesh of {tokens.layout.size['faces']} faces"}
    scales = sum(stage.name.startswith("scale") for stage in tokens.layout.stages)
    if scales:
        return {"way": f"{scales} scale{'' if scales == 1 else 's'}"}
    return {"way": last} if last == "primitives" else {}


def _other_kind(modality: str, source: str) -> str:
    """What a file is by its ending, where the model takes something else; "" where it does not, or is not known to."""
    ending = Path(source).suffix.lower()
    kinds = [kind for kind in NAMES if ending in suffixes(kind)]
    return "" if not kinds or modality in kinds else kinds[-1]  # a film is not just its soundtrack


def rate_of(size: dict[str, Any], count: int) -> dict[str, float]:
    """What a file of so many bytes costs, where that depends on the signal's size, as `size_of` names it."""
    rates = {}
    if "width" in size:
        rates["bits_per_pixel"] = 8 * count / (size["height"] * size["width"] * size.get("frames", 1))
    if "seconds" in size:
        rates["kbps"] = 8 * count / size["seconds"] / 1000
    return rates


def told(size: dict[str, Any]) -> str:
    """A decoded signal's size in words."""
    if "frames" in size:
        return f"{size['frames']} frames of {size['width']} x {size['height']}"
    if "width" in size:
        return f"{size['width']} x {size['height']}"
    if "rate" in size:
        return f"{size['samples']} samples at {size['rate']} Hz"
    return f"{size['vertices']} vertices, {size['faces']} faces" if size["faces"] else f"{size['vertices']} points"
