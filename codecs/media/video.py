"""Films in and out, by PyAV (FFmpeg), which is an extra: MP4, MOV, Matroska, WebM, Y4M and GIF.

A reader walks over the packets of a file first, without decoding, to know how many frames there are and when each is shown; frames are
decoded when they are asked for. They come upright, as uint8 RGB in the file's own transfer function; by the file's matrix, BT.601 where it
names none. More than 8 bits are reduced, what is transparent lies on white. The first track of pictures and the first of sound count.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, BinaryIO

from smalti.codecs.media import soundtrack
from smalti.codecs.media.files import FILM_SUFFIXES, read_source, write_atomically
from smalti.codecs.media.video_files.containers import ASPECT_TAG, MAX_FRAME_PIXELS, Source, form_of, source_of
from smalti.codecs.media.video_files.frames import FilmFrames, Turn, first_frame, is_transparent, pixels_of, turn_of
from smalti.codecs.media.video_files.timing import MAX_SECONDS, timing_of
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import MAX_SIDE, Array, Audio, Video

LEAST_MISSING = 0.02  # seconds by which a whole file may end before the time that it names: it is rounded, and has gaps
MAX_FRAMES = 2**22  # 38 hours at 30 a second; of each its time is held


@dataclass(frozen=True)
class Reading:
    """notes: what the file had beyond the film, a line each. lost: what is wrong with it, as far as that is known before its frames are
    read; see `problems_of` for the rest."""

    video: Video
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def read_video(source: str | os.PathLike[str] | bytes | BinaryIO, name: str = "", sound: bool = True) -> Video:
    """A film whose `frames` (a `FilmFrames`) are decoded as they are gone through, as often as one likes; its sound is read at once.

    source: a path, the bytes of a file, or an open binary file. name: what errors call it. sound: whether the soundtrack is wanted.
    SignalError where it is missing, no film, so damaged that no frame decodes, or larger than sides of 65535, 2^26 pixels a frame or 2^22
    frames, which is checked before anything is decoded. What is broken further on does not raise: see `problems_of`.
    """
    return read_noted(source, name, sound).video


def read_noted(source: str | os.PathLike[str] | bytes | BinaryIO, name: str = "", sound: bool = True) -> Reading:
    """The same with what was dropped, and what is wrong."""
    if isinstance(source, (str, os.PathLike)):
        film = source_of(source, name or str(source))
    else:
        data, name = read_source(source, name, "video")
        film = source_of(data, name)
    track = _surveyed(film)
    frame = first_frame(film)
    if frame is None:
        raise SignalError(
            f"{film.name}: none of its {len(track.places)} frames can be decoded ({track.codec}); get it again, or convert it"
        )
    turn, pixels = turn_of(frame), pixels_of(frame)
    height, width = turn.of(pixels).shape[:2]
    aspect = 1 / track.aspect if turn.swap else track.aspect
    timing = timing_of(track.places, track.tick, track.rates, slack=0 if film.form == "gif" else 1)
    audio, lost = _sound(film, track.places[0] * track.tick) if sound and track.sounds else (None, ())
    video = Video(FilmFrames(film, track.places, turn, (height, width)), timing, aspect, audio)
    silent = () if sound or not track.sounds else ("its sound is left out: no model of sound was named (--audio-model)",)
    return Reading(video, (*_notes(frame, turn), *track.notes, *silent), (*track.lost, *lost))


def problems_of(video: Video) -> tuple[str, ...]:
    """What was wrong with the frames of a film that was read from a file, a line each; whole once all frames have passed."""
    return tuple(video.frames.problems) if isinstance(video.frames, FilmFrames) else ()


def take(video: Video, count: int, start: int = 0) -> Video:
    """Frames [start, start + count) of a film, without its sound; they pass once."""
    timing = video.timing
    if not isinstance(timing, Fraction):
        timing = tuple(time - timing[start] for time in timing[start : start + count])
    frames: Iterable[Array] = itertools.islice(video.frames, start, start + count)
    return replace(video, frames=frames, timing=timing, audio=None)


def looks_like_video(source: str | os.PathLike[str] | bytes) -> bool:
    """Whether a file's name ends as films do, or it begins as they do; a GIF is a picture, unless a model of films is named."""
    if not isinstance(source, bytes):
        if os.path.splitext(source)[1].lower() in FILM_SUFFIXES:
            return True
        if not os.path.isfile(source):
            return False
        try:
            with open(source, "rb") as file:
                source = file.read(12)
        except (OSError, ValueError):
            return False
    return form_of(source[:12]) not in ("", "gif")


def write_video(video: Video, destination: str | os.PathLike[str]) -> int:
    """Write a film by the destination's ending; returns the number of frames.

    .mkv: FFV1 and PCM, lossless. .mp4: H.264 by x264 at crf 12 and AAC, for people. .gif: 256 colours a frame, neither sound nor aspect.
    A folder, or a name that ends in "/": numbered PNG files, sound.wav, and timing.json. All or nothing but for folders. UsageError where
    that is impossible.
    """
    from smalti.codecs.media.video_files import writing

    if os.path.isdir(destination) or str(destination).endswith(("/", os.sep)):
        return writing.write_folder(video, destination)
    written: list[int] = []
    suffix = os.path.splitext(destination)[1]
    write_atomically(destination, lambda file: written.append(writing.encode_into(file, video, suffix, str(destination))))
    return written[0]


@dataclass(frozen=True)
class _Track:
    """What a walk over the packets shows. places: of frames in ticks, ascending. rates: that the file names. sounds: tracks of
    them. lost: a line where the file is shorter than it says."""

    places: tuple[int, ...]
    tick: Fraction
    rates: tuple[Fraction | None, ...]
    aspect: Fraction
    codec: str
    sounds: int
    notes: tuple[str, ...]
    lost: tuple[str, ...]


def _surveyed(film: Source) -> _Track:
    with film.opened() as (av, container, track):
        context = track.codec_context
        _check_size(film, context.width, context.height)
        places: list[int] = []
        stored, end = 0, 0.0
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index != track.index or not packet.size:
                    continue
                stored += 1
                if not packet.is_discard and not _is_hidden(context.name, packet):
                    places.append(packet.pts if packet.pts is not None else len(places))
                    if len(places) > MAX_FRAMES:
                        raise SignalError(f"{film.name}: more than {MAX_FRAMES} frames, expected {MAX_FRAMES} at most; split it first")
        except (av.FFmpegError, ValueError):
            pass  # said by whoever reads the frames
        if not places:
            raise SignalError(f"{film.name}: no frames in it, expected at least one; get the file again")
        if (seconds := (max(places) - min(places)) * Fraction(track.time_base)) > MAX_SECONDS:
            raise SignalError(f"{film.name}: its frames lie over {int(seconds)} s, expected {MAX_SECONDS} at most; repair its times first")
        sounds = len([other for other in container.streams.audio if other.codec_context is not None])
        tracks = len(container.streams.video) - 1, max(0, sounds - 1), len(container.streams.subtitles)
        more = [
            f"{n} more {what}" for n, what in zip(tracks, ("tracks of pictures", "soundtracks", "tracks of subtitles"), strict=True) if n
        ]
        return _Track(
            tuple(sorted(places)),
            Fraction(track.time_base),
            tuple(Fraction(rate) if rate else None for rate in (track.average_rate, track.guessed_rate, track.base_rate)),
            _aspect(track.sample_aspect_ratio or container.metadata.get(ASPECT_TAG)),
            context.name,
            sounds,
            (f"dropped: {', '.join(more)}",) if more else (),
            _cut_short(film, stored, track.frames, end, (container.duration or 0) / av.time_base),
        )


def _cut_short(film: Source, stored: int, frames: int, end: float, seconds: float) -> tuple[str, ...]:
    """A line where a file holds less than it says: fewer frames, or in Matroska, which does not count them, a shorter time."""
    if stored < frames:
        return (f"cut short: {stored} of {frames} frames are there",)
    if film.form == "matroska" and seconds - end > LEAST_MISSING:
        return (f"cut short: {end:.2f} of {seconds:.2f} s are there",)
    return ()


def _aspect(told: Fraction | str | None) -> Fraction:
    """Width over height of a sample; 1 where the file says nothing that makes sense."""
    try:
        aspect = Fraction(told or 1)
    except (ValueError, ZeroDivisionError):
        return Fraction(1)
    return aspect if Fraction(1, 100) <= aspect <= 100 and max(aspect.numerator, aspect.denominator) < 2**31 else Fraction(1)


def _check_size(film: Source, width: int, height: int) -> None:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_FRAME_PIXELS):
        limit = f"sides of 1 to {MAX_SIDE} and {MAX_FRAME_PIXELS} pixels a frame at most"
        raise SignalError(f"{film.name}: frames of {width} x {height} pixels, expected {limit}; scale it first")


def _is_hidden(codec: str, packet: Any) -> bool:
    """Whether a packet of VP8 only helps others to be decoded; VP9 and AV1 put those into packets that are shown."""
    return bool(codec == "vp8" and not bytes(packet)[0] & 0x10)


def _notes(frame: Any, turn: Turn) -> tuple[str, ...]:
    found = []
    if turn.swap or turn.rows or turn.columns:
        found.append("rotation applied")
    if (bits := max(component.bits for component in frame.format.components)) > 8:
        found.append(f"{bits} bits reduced to 8")
    if frame.color_trc in (16, 18):
        found.append("high dynamic range shown as it is stored")
    if frame.interlaced_frame:
        found.append("interlaced, left so")
    if is_transparent(frame):
        found.append("transparency flattened on white")
    return tuple(found)


def _sound(film: Source, start: Fraction) -> tuple[Audio | None, tuple[str, ...]]:
    """The soundtrack from the time of the first picture; lines where it is damaged, or unreadable and the film goes on without it."""
    problems: list[str] = []
    try:
        with film.file() as file:
            return soundtrack.read(file, film.form, film.name, problems, start), tuple(problems)
    except SignalError as error:
        return None, (f"its sound is left out: {str(error).removeprefix(film.name + ': ')}",)
