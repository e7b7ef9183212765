"""Soundtracks: the sound of films and of sound in their containers (MP4, MOV, Matroska, WebM), by PyAV (FFmpeg), which is an extra.

The first track of sound counts, from its first sample to its last, at its own rate and in its own channels; what encoders put in front
of it to get going is taken off as the file says. Beside pictures it lies where its times say: silence in front of it and in its holes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

from smalti.codecs.media.files import reason
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import MAX_ALL_SAMPLES, MAX_CHANNELS, MAX_SAMPLES, Array, Audio

MOST_FILLING = 4096  # samples behind the end that an encoder's last frame may be filled up with; MP4 and MOV tell where the end is
LEAST_SHIFT = Fraction(1, 100)  # seconds that sound may lie beside its time: Matroska rounds to milliseconds, and nobody hears it
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")  # pictures in the container of MP4
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # that MP4 and MOV begin with


def container(start: bytes) -> str | None:
    """FFmpeg's name for what begins with these 12 bytes, where it may hold a soundtrack."""
    if start[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    return "mov" if start[4:8] in _ATOMS and start[8:12] not in _STILL_BRANDS else None


def read(file: BinaryIO, form: str, name: str, problems: list[str] | None = None, origin: Fraction | None = None) -> Audio:
    """The sound of an open file; SignalError where it has none, is damaged, too long, or PyAV is not installed.

    problems: where it is given, what is damaged is said in it and silent in the sound, instead of an error.
    origin: the time in seconds that the sound is to begin at, that of the first picture: what lies before is cut off, what is missing is
    silent. None: blocks are joined.
    """
    try:
        import av
    except ImportError:
        raise SignalError(f"{name}: soundtracks are read with the package av: pip install 'smalti[media]'") from None
    try:
        with av.open(file, format=form) as film:
            tracks = [track for track in film.streams.audio if track.codec_context is not None]
            if not tracks:
                raise SignalError(f"{name}: no track of sound in there that can be read; name a film with sound")
            rate = tracks[0].codec_context.sample_rate
            frames = film.decode(tracks[0]) if problems is None else _whole_frames(av, film, tracks[0], rate, problems)
            blocks = deque(_placed(_blocks(av, frames, rate, name), rate, origin, name))
            told = round(tracks[0].duration * tracks[0].time_base * rate) if form == "mov" and tracks[0].duration else None
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise SignalError(f"{name}: its sound cannot be read ({reason(error)}), expected a whole file; get it again") from None
    if not blocks:
        raise SignalError(f"{name}: no samples, expected at least one; get the file again")
    first, end = blocks[0][0], max(place + block.shape[1] for place, block in blocks)
    if told and 0 < end - first - told <= MOST_FILLING:
        end = first + told
    if end < 1:
        raise SignalError(f"{name}: its sound ends before the first picture; nothing of it is heard")
    samples = np.zeros((len(blocks[0][1]), end), np.float32)
    while blocks:
        place, block = blocks.popleft()
        block = block[:, max(0, -place) : max(0, end - place)]
        samples[:, max(0, place) : max(0, place) + block.shape[1]] = block
    return Audio(samples, rate)


def finite(samples: Array, name: str) -> Array:
    """The samples within [-1, 1]; SignalError for what is no number."""
    if not np.isfinite(samples).all():
        raise SignalError(f"{name}: holds samples that are no numbers (NaN or infinity), expected finite ones; repair or convert it first")
    return np.clip(samples, -1, 1, out=samples)


def _whole_frames(av: Any, film: Any, track: Any, rate: int, problems: list[str]) -> Iterator[Any]:
    """The frames that decode, with silence in the place of those that do not."""
    packets, lost, last = film.demux(track), 0, None
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except (av.FFmpegError, ValueError):
            problems.append("its sound breaks off")
            break
        try:
            decoded = packet.decode()
        except (av.FFmpegError, ValueError):
            lost += 1
            decoded = [_silence(av, last)] if last is not None else []
        last = decoded[-1] if decoded else last
        yield from decoded
    if lost:
        problems.append(f"{lost} packets of its sound did not decode; they are silent")


def _silence(av: Any, like: Any) -> Any:
    """A silent frame as long as another."""
    frame = av.AudioFrame(format=like.format.name, layout=like.layout.name, samples=like.samples)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate = like.sample_rate
    return frame


def _placed(blocks: Iterator[tuple[Fraction | None, Array]], rate: int, origin: Fraction | None, name: str) -> Iterator[tuple[int, Array]]:
    """Blocks with the places of their first samples, ascending and apart; before the origin they are negative.

    A block goes on from the one before, unless its time is further than LEAST_SHIFT from there; what overlaps is heard once.
    """
    slack, place, begun = LEAST_SHIFT * rate, 0, False
    for time, block in blocks:
        if origin is not None and time is not None:
            there = round((time - origin) * rate)
            if begun and there + slack < place:
                block = block[:, place - there :]
            elif abs(there - place) > slack:
                place = there
        begun = True
        if place + block.shape[1] > MAX_SAMPLES or max(1, place + block.shape[1]) * len(block) > MAX_ALL_SAMPLES:
            raise SignalError(f"{name}: more than {MAX_SAMPLES} samples in a channel or {MAX_ALL_SAMPLES} in all; split it first")
        if block.shape[1]:
            yield place, block
        place += block.shape[1]


def _blocks(av: Any, frames: Any, rate: int, name: str) -> Iterator[tuple[Fraction | None, Array]]:
    """Times in seconds, where the file has them, and float32 (channels, n), one after the other."""
    to_floats = av.AudioResampler(format="fltp")
    held = channels = 0
    for frame in frames:
        time = frame.pts * Fraction(frame.time_base) if frame.pts is not None and frame.time_base else None
        for part in to_floats.resample(frame):
            block = part.to_ndarray()
            channels = channels or len(block)
            held += block.shape[1]
            if part.sample_rate != rate or len(block) != channels:
                raise SignalError(f"{name}: its sound changes from {rate} Hz and {channels} channels on the way; convert it first")
            if channels > MAX_CHANNELS:
                raise SignalError(f"{name}: {channels} channels, expected {MAX_CHANNELS} at most; mix it down first")
            if held > MAX_SAMPLES or held * channels > MAX_ALL_SAMPLES:
                raise SignalError(f"{name}: more than {MAX_SAMPLES} samples in a channel or {MAX_ALL_SAMPLES} in all; split it first")
            yield time, finite(block, name)
            time = None
