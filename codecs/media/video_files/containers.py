"""Opening a film: only by the few of FFmpeg's readers that hold films, and never anything that a file names.

A container is recognised by its first bytes and handed to PyAV as an open file, so that no playlist, no address and no other file is
followed.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from smalti.codecs.media import soundtrack
from smalti.codecs.media.files import open_file, reason
from smalti.tokenizers.errors import SignalError

KNOWN = "MP4, MOV, Matroska, WebM, Y4M or GIF"
MAX_FRAME_PIXELS = 2**26  # 8192 x 8192: a decoder holds some twenty frames
ASPECT_TAG = "SAMPLE_ASPECT"  # in Matroska of our own
_NAMES = {"mov": "MP4 or MOV", "matroska": "Matroska or WebM", "yuv4mpegpipe": "Y4M", "gif": "GIF"}


@dataclass(frozen=True)
class Source:
    """A film that can be opened again and again. place: a path or the bytes. form: FFmpeg's name of the container."""

    place: str | bytes
    form: str
    name: str

    @property
    def kind(self) -> str:
        """The container, for people."""
        return _NAMES[self.form]

    @contextlib.contextmanager
    def file(self) -> Iterator[BinaryIO]:
        """The open file, for `with`."""
        if isinstance(self.place, bytes):
            yield io.BytesIO(self.place)
            return
        with open_file(self.place) as file:
            yield file

    @contextlib.contextmanager
    def opened(self) -> Iterator[tuple[Any, Any, Any]]:
        """(av, the container, its first track of pictures), for `with`; SignalError where it cannot be opened or has no such track."""
        av = package(self.name)
        with contextlib.ExitStack() as held:
            file = held.enter_context(self.file())
            try:
                film = held.enter_context(av.open(file, format=self.form, metadata_errors="ignore"))
            except (av.FFmpegError, ValueError) as error:
                raise self.broken(error) from None
            tracks = [track for track in film.streams.video if track.codec_context is not None and not _is_cover(track)]
            if not tracks:
                raise SignalError(f"{self.name}: no track of pictures in there that can be read; name a film")
            tracks[0].codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # a track may turn out larger than it announces
            yield av, film, tracks[0]

    def broken(self, error: Exception) -> SignalError:
        """What to say of a file that does not open."""
        return SignalError(f"{self.name}: damaged or cut short ({said(error)}), expected a whole {self.kind} film; get it again")


def form_of(start: bytes) -> str:
    """FFmpeg's name of the container that begins with these 12 bytes; "" for none that holds films."""
    if start[:9] == b"YUV4MPEG2":
        return "yuv4mpegpipe"
    return "gif" if start[:4] == b"GIF8" else soundtrack.container(start) or ""


def source_of(place: str | os.PathLike[str] | bytes, name: str) -> Source:
    """SignalError where it begins as no film does."""
    if isinstance(place, bytes):
        start = place[:12]
    else:
        with open_file(place) as file:
            start = file.read(12)
    if not start:
        raise SignalError(f"{name}: empty (0 bytes), expected a video file; get the file again")
    if not (form := form_of(start)):
        raise SignalError(f"{name}: no film that can be read (begins {start[:8]!r}), expected {KNOWN}; convert it first")
    return Source(place if isinstance(place, bytes) else os.fspath(place), form, name)


def said(error: Exception) -> str:
    """What an error of FFmpeg says, without its number."""
    return str(getattr(error, "strerror", None) or reason(error))


def package(name: str) -> Any:
    """PyAV, which is an extra."""
    try:
        import av
    except ImportError:
        raise SignalError(f"{name}: films are read and written with the package av: pip install 'smalti[media]'") from None
    return av


def _is_cover(track: Any) -> bool:
    """Whether it is the picture on the sleeve."""
    return "attached_pic" in str(getattr(track.disposition, "name", "")).lower()
