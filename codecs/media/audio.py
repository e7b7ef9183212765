"""Sound files in and out, by soundfile (libsndfile): exact lengths, samples as float32.

Read: WAV, FLAC, OGG (Vorbis, Opus), MP3 and AIFF, recognised by their content, and the soundtracks of films, see `soundtrack.py`.
Written: WAV and FLAC of 16 bits, by suffix; 16 bits are what all players read, and their noise lies 98 dB down. Both go in blocks: memory
holds the samples once, and no file whole that has a name.

Integers become floats by their own scale: 8, 16, 24 and 32 bits fill [-1, 1). Float files may go beyond; they are clipped, as a
converter would. Numbers that are none (NaN, infinity) are refused: there is no telling what they should have been.
"""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

import numpy as np

from smalti.codecs.media import soundtrack
from smalti.codecs.media.files import AUDIO_SUFFIXES, MAX_FILE_BYTES, open_file, read_source, reason, write_atomically
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import MAX_ALL_SAMPLES, MAX_CHANNELS, MAX_SAMPLES, Audio

READ_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "MPEG", "AIFF")
KNOWN = "WAV, FLAC, OGG, MP3 or AIFF"
_WRITERS = {".wav": "WAV", ".flac": "FLAC"}
_LAYER_3 = {bytes([byte]) for byte in (0xFA, 0xFB, 0xF2, 0xF3, 0xE2, 0xE3)}  # of MPEG 1, 2 and 2.5, with checksums and without
WRITTEN_SUFFIXES = tuple(_WRITERS)
BLOCK = 2**18  # samples per channel that are converted at a time


def read_audio(source: str | os.PathLike[str] | bytes | BinaryIO, name: str = "") -> Audio:
    """The sound of a file: float32 (channels, time) in [-1, 1], at the file's own rate.

    source: a path, the bytes of a file, or an open binary file. name: what errors call it. SignalError where it is missing, no sound,
    damaged, empty, or longer than 2^29 samples per channel or 2^30 over all; the length is checked before anything is decoded.
    """
    if isinstance(source, (str, os.PathLike)):
        name = name or str(source)
        with open_file(source) as file:
            if file.seekable() and file.read(1):
                file.seek(0)
                return _read(file, name)
            source = file.read(MAX_FILE_BYTES + 1)  # a pipe, or nothing
    data, name = read_source(source, name, "sound")
    return _read(io.BytesIO(data), name)


def _read(file: BinaryIO, name: str) -> Audio:
    start = file.read(12)
    file.seek(0)
    if form := soundtrack.container(start):
        return soundtrack.read(file, form, name)
    return _decoded(file, name)


def looks_like_sound(source: str | os.PathLike[str] | bytes) -> bool:
    """Whether a file's name ends as sound files do, or it begins as those do; films are none."""
    if not isinstance(source, bytes):
        return os.path.splitext(source)[1].lower() in AUDIO_SUFFIXES or looks_like_sound(_start_of(source))
    boxed = source[:4] in (b"RIFF", b"RF64", b"FORM") and source[8:12] in (b"WAVE", b"AIFF", b"AIFC")
    marked = source[:4] in (b"fLaC", b"OggS") or source[:3] == b"ID3" or source[4:11] == b"ftypM4A"
    return boxed or marked or (source[:1] == b"\xff" and source[1:2] in _LAYER_3)


def _start_of(path: str | os.PathLike[str]) -> bytes:
    """The first bytes of a file; none where it can't be read, which is said by whoever reads it, and of a pipe, which gives them once."""
    if not os.path.isfile(path):
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(12)
    except (OSError, ValueError):
        return b""


def write_audio(audio: Audio, destination: str | os.PathLike[str]) -> None:
    """Write a WAV or FLAC file of 16 bits, by suffix, all or nothing; UsageError where that is impossible."""
    suffix = os.path.splitext(destination)[1]
    write_atomically(destination, lambda file: encode_into(file, audio, suffix, str(destination)))


def encode_audio(audio: Audio, suffix: str, name: str = "sound") -> bytes:
    """The bytes that `write_audio` writes for this suffix (".wav", ".flac"); values beyond [-1, 1] are clipped."""
    buffer = io.BytesIO()
    encode_into(buffer, audio, suffix, name)
    return buffer.getvalue()


def encode_into(file: BinaryIO, audio: Audio, suffix: str, name: str = "sound") -> None:
    """The same into an open file that can seek."""
    import soundfile

    if suffix.lower() not in _WRITERS:
        raise UsageError(f"{name}: unknown suffix {suffix!r} for a sound, expected one of {', '.join(_WRITERS)}; change the name")
    form, (channels, count) = _WRITERS[suffix.lower()], audio.samples.shape
    try:
        with soundfile.SoundFile(file, "w", audio.rate, channels, "PCM_16", format=form) as out:
            for start in range(0, count, BLOCK):
                steps = np.rint(audio.samples[:, start : start + BLOCK].T * np.float32(32768))
                out.write(np.clip(steps, -32768, 32767).astype(np.int16))
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        what = f"{channels} channels at {audio.rate} Hz"
        raise UsageError(f"{name}: {form} cannot hold {what} ({reason(error)}); write .wav instead") from None


def _decoded(source: BinaryIO, name: str) -> Audio:
    """Within the limits."""
    import soundfile

    try:
        with soundfile.SoundFile(source) as file:
            _check_size(file, name)
            samples = np.empty((file.channels, file.frames), np.float32)
            found, rate, form = 0, file.samplerate, file.format
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                if found + len(block) > samples.shape[1]:
                    raise SignalError(f"{name}: damaged (more than its {samples.shape[1]} samples); get it again")
                samples[:, found : found + len(block)] = soundtrack.finite(block, name).T
                found += len(block)
    except soundfile.LibsndfileError as error:
        what = getattr(error, "error_string", "") or reason(error)
        raise SignalError(f"{name}: no sound that can be read ({what.rstrip('.')}), expected {KNOWN}; convert it first") from None
    if found != samples.shape[1]:
        raise SignalError(
            f"{name}: damaged or cut short ({found} of {samples.shape[1]} samples), expected a whole {form} file; get it again"
        )
    return Audio(samples, rate)


def _check_size(file: Any, name: str) -> None:
    if file.format not in READ_FORMATS:
        raise SignalError(f"{name}: a {file.format} file, expected {KNOWN}; convert it first")
    if file.channels > MAX_CHANNELS:
        raise SignalError(f"{name}: {file.channels} channels, expected {MAX_CHANNELS} at most; mix it down first")
    if not file.frames:
        raise SignalError(f"{name}: no samples, expected at least one; get the file again")
    if file.frames > MAX_SAMPLES or file.frames * file.channels > MAX_ALL_SAMPLES:
        raise SignalError(
            f"{name}: {file.frames} samples in {file.channels} channels, expected {MAX_SAMPLES} in each, {MAX_ALL_SAMPLES} in all at most; "
            "split it first"
        )
