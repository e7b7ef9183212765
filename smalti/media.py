"""What a file holds, a picture, a sound, a film or a shape, and which model takes it where none is named."""

from __future__ import annotations

import os

from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Audio, Image, Shape, Video

AnySignal = Image | Audio | Video | Shape
PathOrBytes = str | os.PathLike[str] | bytes
# of sounds the model is always named
DEFAULT_MODELS = {"image": "image-grid-16", "audio": "image-grid-16", "video": "video-causal-16", "shape": "shape"}
_SUBJECTS = {"audio": "audio", "video": "video", "shape": "shape", "mesh": "shape"}  # by the first word of a tokenizer's kind


def modality_of_kind(kind: str) -> str:
    """ "image", "audio", "video" or "shape": what a kind of tokenizer takes."""
    return _SUBJECTS.get(kind.partition("-")[0], "image")


def modality_of(source: AnySignal | PathOrBytes) -> str:
    """ "image", "audio", "video" or "shape", by a file's name or first bytes; what nobody knows is a picture, which says why it is none."""
    from smalti.codecs.media.audio import looks_like_sound
    from smalti.codecs.media.shapes import looks_like_shape
    from smalti.codecs.media.video import looks_like_video

    if isinstance(source, AnySignal):
        return {Image: "image", Audio: "audio", Video: "video", Shape: "shape"}[type(source)]
    if not isinstance(source, str | os.PathLike | bytes):
        raise UsageError(
            "a signal is a smalti.Image, smalti.Audio, smalti.Video or smalti.Shape, or a path or the bytes of a file of one; "
            f"found {type(source).__name__}"
        )
    if looks_like_sound(source):
        return "audio"
    return "video" if looks_like_video(source) else "shape" if looks_like_shape(source) else "image"


def default_model(source: AnySignal | PathOrBytes) -> str:
    """The name of the model for a signal where none is named."""
    return DEFAULT_MODELS[modality_of(source)]


def read(source: PathOrBytes) -> AnySignal:
    """As `smalti.read`."""
    return _read_as(modality_of(source), source)


def read_for(kind: str, source: PathOrBytes) -> AnySignal:
    """What a tokenizer of that kind takes of a file: of a film, one of sound takes the soundtrack; a picture is a film of one frame."""
    modality = modality_of_kind(kind)
    if modality == "image" or not isinstance(source, str | os.PathLike | bytes):
        return read(source)
    if modality == "video" and is_still(source):
        from smalti.tokenizers.video.films import video_of

        return video_of(_read_as("image", source), kind)
    return _read_as(modality, source)


def is_still(source: PathOrBytes) -> bool:
    """Whether a file holds a picture that is no film to anybody: a GIF is one to who wants films."""
    from smalti.codecs.media.files import IMAGE_SUFFIXES

    if isinstance(source, bytes):
        return modality_of(source) == "image" and source[:3] != b"GIF"
    return os.path.splitext(os.fspath(source))[1].lower() in set(IMAGE_SUFFIXES) - {".gif"} and modality_of(source) == "image"


def _read_as(modality: str, source: PathOrBytes) -> AnySignal:
    if modality == "audio":
        from smalti.codecs.media.audio import read_audio

        return read_audio(source)
    if modality == "video":
        from smalti.codecs.media.video import read_video

        return read_video(source)
    if modality == "shape":
        from smalti.codecs.media.shapes import read_shape

        return read_shape(source)
    from smalti.codecs.media.images import read_image

    return read_image(source)
