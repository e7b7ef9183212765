"""Decoded signals into files: pictures, sounds, films and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.tokenizers.signals import Image, Video
    from smalti.tokenizers.tokens import Tokens

STILLS = (".png", ".jpg", ".jpeg", ".webp")  # of films of one frame


def write_signal(target: str, signal: Any, tokens: Tokens, frames: bool) -> dict[str, Any]:
    """Write a signal; returns its size."""
    from smalti.cli.files import PIPE, write
    from smalti.cli.signals import size_of
    from smalti.codecs.media.audio import encode_audio, encode_into
    from smalti.codecs.media.images import encode_image
    from smalti.codecs.media.shapes import POINTS, encode_shape
    from smalti.tokenizers.signals import Audio, Image, Shape, Video

    assert isinstance(signal, Image | Audio | Video | Shape)
    if isinstance(signal, Video):
        return _write_film(target, signal, tokens, frames)
    if isinstance(signal, Image):
        write(target, encode_image(signal, Path(target).suffix if target != PIPE else ".png", target))
    elif isinstance(signal, Shape):
        write(target, encode_shape(signal, Path(target).suffix if target != PIPE else ".ply", target))
        if Path(target).suffix.lower() == ".xyz" and signal.faces is not None and len(signal.faces):
            return {"vertices": POINTS, "faces": 0}
    elif target == PIPE:
        write(PIPE, encode_audio(signal, ".wav"))
    else:
        write(target, lambda file: encode_into(file, signal, Path(target).suffix, target))
    return size_of(signal)


def _write_film(target: str, film: Video, tokens: Tokens, frames: bool) -> dict[str, Any]:
    """Frames are decoded and written one by one."""
    import io

    from smalti.cli.files import PIPE, write
    from smalti.codecs.media.images import encode_image
    from smalti.codecs.media.video_files.timing import seconds
    from smalti.codecs.media.video_files.writing import encode_into, write_folder

    count: list[int] = []
    if frames:
        count.append(write_folder(film, target))
    elif target == PIPE:
        held = io.BytesIO()
        count.append(encode_into(held, film, ".mkv"))
        write(PIPE, held.getvalue())
    elif Path(target).suffix.lower() in STILLS:
        write(target, encode_image(_still(film, target, tokens.layout.size["frames"]), Path(target).suffix, target))
        count.append(1)
    else:
        write(target, lambda file: count.append(encode_into(file, film, Path(target).suffix, target)))
    size = tokens.layout.size
    return {"frames": count[0], "height": size["height"], "width": size["width"], "seconds": seconds(film.timing, count[0])}


def _still(film: Video, target: str, frames: int) -> Image:
    """The picture that a film of one frame is; UsageError for others."""
    from smalti.tokenizers.errors import UsageError
    from smalti.tokenizers.signals import Image

    if frames != 1:
        raise UsageError(f"{target}: a picture, and the film has {frames} frames; write it as .mkv, or with --frames into a folder")
    return Image(next(iter(film.frames)))
