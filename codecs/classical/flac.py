"""FLAC by libsndfile: the anchor without loss, at compression level 8.

Sounds of 16 bits, as most files have, are kept in 16, all others in 24, which is as exact as float32 near full scale: what comes back is
within 2^-24 of what went in. There is no quality to choose: a target of bytes is met or it is not.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile

from smalti.codecs.classical.sound_head import room_of, sound_of
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, SignalError, UsageError
from smalti.tokenizers.signals import MAX_ALL_SAMPLES, MAX_CHANNELS, MAX_SAMPLES, Audio, Signal

_MAGIC = b"fLaC"
MAX_RATE = 655350


class Flac:
    """`contracts.Codec` of sounds of 1 to 8 channels."""

    name = "flac"

    @property
    def version(self) -> str:
        """libsndfile's, which has libFLAC in it, and soundfile's."""
        return f"libsndfile {soundfile.__libsndfile_version__.removeprefix('libsndfile-')}, soundfile {soundfile.__version__}"

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file; UsageError where the target has no room for it, or names a quality."""
        sound = sound_of(signal, self.name)
        if target.quality is not None:
            raise UsageError(f"{self.name} knows no quality (found {target.quality:g}): it loses nothing")
        if sound.rate > MAX_RATE:
            raise SignalError(f"{self.name} takes {MAX_RATE} Hz at most, found {sound.rate}; convert the sound first")
        steps = sound.samples.astype(np.float64) * 2**15
        short = bool((steps == np.rint(steps)).all())
        whole = np.clip(np.rint(steps if short else steps * 2**8), -(2 ** (15 if short else 23)), 2 ** (15 if short else 23) - 1)
        # soundfile takes samples of 24 bits at the top of 32
        integers = whole.astype(np.int16) if short else whole.astype(np.int32) << 8
        buffer = io.BytesIO()
        subtype = "PCM_16" if short else "PCM_24"
        try:
            soundfile.write(buffer, integers.T, sound.rate, subtype, format="FLAC", compression_level=1.0)
        except (soundfile.SoundFileError, ValueError) as error:
            raise SignalError(f"{self.name} cannot hold this sound ({error}); convert it first") from None
        data, room = buffer.getvalue(), room_of(target, sound, self.name)
        if room is not None and len(data) > room:
            raise UsageError(f"the smallest file of this signal has {len(data)} bytes, the target allows {int(room)}")
        return data

    def decompress(self, data: bytes) -> Signal:
        """The sound of a FLAC file within the limits of `signals`; raises BitstreamError for anything else."""
        if data[:4] != _MAGIC:
            raise BitstreamError(f"no FLAC file (begins {data[:4]!r}); decode it with the codec that wrote it")
        try:
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                length, channels = file.frames, file.channels
                if not (0 < length <= MAX_SAMPLES and channels <= MAX_CHANNELS and length * channels <= MAX_ALL_SAMPLES):
                    raise BitstreamError(f"FLAC file: {length} samples in {channels} channels, expected {MAX_ALL_SAMPLES} in all at most")
                samples, rate = file.read(dtype="float32", always_2d=True), file.samplerate
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            raise BitstreamError(f"FLAC file: damaged or cut short ({error}), expected a whole one; get the file again") from None
        if samples.shape != (length, channels):
            raise BitstreamError(f"FLAC file: {len(samples)} of {length} samples decode, expected all; get the file again")
        return Audio(np.ascontiguousarray(samples.T), rate)

    def payload_bytes(self, data: bytes) -> int:
        """Bytes of the frames of a file: what follows its blocks of metadata."""
        place, last = 4, False
        while not last and place + 4 <= len(data):
            last = bool(data[place] & 0x80)
            place += 4 + int.from_bytes(data[place + 1 : place + 4], "big")
        return max(len(data) - place, 0)
