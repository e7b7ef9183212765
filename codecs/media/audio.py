"""Sound files in and out, by soundfile (libsndfile): exact lengths, samples as float32.

Read: WAV, FLAC, OGG (Vorbis, Opus), MP3 and AIFF, recognised by their content. Written: WAV and FLAC of 16 bits, by suffix; 16 bits are
what all players read, and their noise lies 98 dB down.

Integers become floats by their own scale: 8, 16, 24 and 32 bits fill [-1, 1). Float files may go beyond; they are clipped, as a
converter would. Numbers that are none (NaN, infinity) are refused: there is no telling what they should have been.
"""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

import numpy as np

from smalti.codecs.media.files import AUDIO_SUFFIXES, read_source, reason, write_atomically
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import MAX_CHANNELS, MAX_SAMPLES, Array, Audio

READ_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "MPEG", "AIFF")
_WRITERS = {".wav": "WAV", ".flac": "FLAC"}
WRITTEN_SUFFIXES = tuple(_WRITERS)


def read_audio(source: str | os.PathLike[str] | bytes | BinaryIO, name: str = "") -> Audio:
    """The sound of a file: float32 (channels, time) in [-1, 1], at the file's own rate.

    source: a path, the bytes of a file, or an open binary file. name: what errors call it. SignalError where it is missing, no sound,
    damaged, empty, or longer than 2^29 samples over all channels; the length is checked before anything is decoded.
    """
    data, name = read_source(source, name, "sound")
    samples, rate = _decoded(data, name)
    if not np.isfinite(samples).all():
        raise SignalError(f"{name}: holds samples that are no numbers (NaN or infinity), expected finite ones; repair or convert it first")
    return Audio(np.clip(samples, -1, 1, out=samples), rate)


def looks_like_sound(source: str | os.PathLike[str] | bytes) -> bool:
    """Whether a file's name ends as sound files do, or its bytes begin as those do."""
    if isinstance(source, bytes):
        boxed = source[:4] in (b"RIFF", b"RF64", b"FORM") and source[8:12] in (b"WAVE", b"AIFF", b"AIFC")
        return boxed or source[:4] in (b"fLaC", b"OggS") or source[:3] == b"ID3" or source[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
    return os.path.splitext(source)[1].lower() in AUDIO_SUFFIXES


def write_audio(audio: Audio, destination: str | os.PathLike[str]) -> None:
    """Write a WAV or FLAC file of 16 bits, by suffix, all or nothing; UsageError where that is impossible."""
    write_atomically(destination, encode_audio(audio, os.path.splitext(destination)[1], str(destination)))


def encode_audio(audio: Audio, suffix: str, name: str = "sound") -> bytes:
    """The bytes that `write_audio` writes for this suffix (".wav", ".flac"); values beyond [-1, 1] are clipped."""
    import soundfile

    if suffix.lower() not in _WRITERS:
        raise UsageError(f"{name}: unknown suffix {suffix!r} for a sound, expected one of {', '.join(_WRITERS)}; change the name")
    form = _WRITERS[suffix.lower()]
    steps = np.clip(np.rint(audio.samples.T * np.float32(32768)), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    try:
        soundfile.write(buffer, steps, audio.rate, format=form, subtype="PCM_16")
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        what = f"{audio.samples.shape[0]} channels at {audio.rate} Hz"
        raise UsageError(f"{name}: {form} cannot hold {what} ({reason(error)}); write .wav instead") from None
    return buffer.getvalue()


def _decoded(data: bytes, name: str) -> tuple[Array, int]:
    """(float32 (channels, time), rate) within the limits."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check_size(file, name)
            samples = file.read(dtype="float32", always_2d=True)
            found, rate, form = len(samples), file.samplerate, file.format
            expected = file.frames
    except soundfile.LibsndfileError as error:
        known = "WAV, FLAC, OGG, MP3 or AIFF"
        what = getattr(error, "error_string", "") or reason(error)
        raise SignalError(f"{name}: no sound that can be read ({what.rstrip('.')}), expected {known}; convert it first") from None
    if found != expected:
        raise SignalError(f"{name}: damaged or cut short ({found} of {expected} samples), expected a whole {form} file; get it again")
    return np.ascontiguousarray(samples.T), rate


def _check_size(file: Any, name: str) -> None:
    if file.format not in READ_FORMATS:
        raise SignalError(f"{name}: a {file.format} file, expected WAV, FLAC, OGG, MP3 or AIFF; convert it first")
    if file.channels > MAX_CHANNELS:
        raise SignalError(f"{name}: {file.channels} channels, expected {MAX_CHANNELS} at most; mix it down first")
    if not file.frames:
        raise SignalError(f"{name}: no samples, expected at least one; get the file again")
    if file.frames * file.channels > MAX_SAMPLES:
        raise SignalError(
            f"{name}: {file.frames} samples in {file.channels} channels, expected {MAX_SAMPLES} in all at most; split it first"
        )
