"""Opus (RFC 6716) by libopus through PyAV, as a rival at low rates: variable rate, complexity 10, frames of 20 ms.

`opus` has libopus's application voip, made for speech; it filters rumble away, which moves the phases of low tones, so that differences of
waveforms say little. `opus-audio` has its application audio, made for anything, music before all. Files of both are read by both.

Quality is the rate in kbps that libopus is asked for; it spends less on pauses. Below 9 kbps or so it codes speech in narrow band, 4 kHz.
The file is our own head, the encoder's delay, and the packets, each behind its length in the one or two bytes of RFC 6716, section 3.2.1:
.4 kbps where Ogg has about .85, so what Opus loses by in tables it does not lose by its container. `payload_bytes` counts packets alone.
libopus works at 8, 12, 16, 24 and 48 kHz; other rates are resampled to 48 kHz.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from smalti.codecs.bitstream.wire import Cursor, uvarint
from smalti.codecs.classical.search import best_quality
from smalti.codecs.classical.sound_head import Head, read_head, resampled, room_of, sound_of
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.signals import Array, Audio, Signal

LETTER = b"O"
RATES = (8000, 12000, 16000, 24000, 48000)
QUALITIES = range(6, 129)
FULL_RATE = 48000  # at which every Opus stream is decoded
FRAME_MS = 20
CHANNELS = 2
MAX_DELAY = FULL_RATE // 10
LONGEST_PACKET = 1275
APPLICATIONS = {"voip": "opus", "audio": "opus-audio"}  # and the codecs' names
OPTIONS = {"vbr": "on", "compression_level": "10", "frame_duration": str(FRAME_MS)}


class Opus:
    """`contracts.Codec` of sounds in one or two channels. application: "voip" or "audio"."""

    def __init__(self, application: str = "voip") -> None:
        if application not in APPLICATIONS:
            raise UsageError(f"the applications of Opus are {', '.join(APPLICATIONS)}, found {application!r}")
        self.application = application
        self.name = APPLICATIONS[application]

    @property
    def version(self) -> str:
        """FFmpeg's, which has the encoder; it does not tell which libopus it was built with."""
        av = _av()
        return f"libopus in libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}, PyAV {av.__version__}"

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file at that quality, or at the highest that fits; at 128 kbps without a target. Raises UsageError where nothing fits."""
        sound = sound_of(signal, self.name, CHANNELS)
        room = room_of(target, sound, self.name)
        if room is not None:
            return self._within(sound, room)
        quality = QUALITIES[-1] if target.quality is None else target.quality
        if not QUALITIES[0] <= quality <= QUALITIES[-1]:
            raise UsageError(f"{self.name}: quality (kbps asked for) {quality}, expected {QUALITIES[0]} to {QUALITIES[-1]}")
        return _encode(sound, quality, self.application)

    def decompress(self, data: bytes) -> Signal:
        """The sound of exactly the size that went in; raises BitstreamError for damage and for other files."""
        head, cursor = read_head(data, LETTER, self.name, CHANNELS)
        delay, packets = _packets(head, cursor, self.name)
        decoded = _decode(packets, head.channels, self.name)
        length = head.at(FULL_RATE)
        if decoded.shape[1] < delay + length:
            raise BitstreamError(f"file of {self.name}: {decoded.shape[1]} samples decode, expected {delay + length}")
        samples = resampled(decoded[:, delay : delay + length], FULL_RATE, head.rate, head.samples)
        return Audio(np.clip(np.ascontiguousarray(samples), -1, 1), head.rate)

    def payload_bytes(self, data: bytes) -> int:
        """Bytes of the packets of a file."""
        head, cursor = read_head(data, LETTER, self.name, CHANNELS)
        return sum(map(len, _packets(head, cursor, self.name)[1]))

    def _within(self, sound: Audio, room: float) -> bytes:
        files: dict[int, bytes] = {}

        def size(quality: int) -> int:
            files[quality] = files.get(quality) or _encode(sound, quality, self.application)
            return len(files[quality])

        return files[best_quality(size, QUALITIES, room)]


def opus_audio() -> Opus:
    """For sounds of any kind."""
    return Opus("audio")


def _encode(sound: Audio, quality: float, application: str) -> bytes:
    """The whole file."""
    av = _av()
    channels, samples = sound.samples.shape
    head = Head(samples, sound.rate, channels)
    rate = sound.rate if sound.rate in RATES else FULL_RATE
    layout = "mono" if channels == 1 else "stereo"
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, layout, "s16"
    encoder.bit_rate, encoder.options = round(quality * 1000), {**OPTIONS, "application": application}
    encoder.open()
    delay = struct.unpack_from("<H", encoder.extradata, 10)[0]  # in samples at 48 kHz: OpusHead's pre-skip
    wave = resampled(sound.samples, sound.rate, rate, head.at(rate))
    frame = rate * FRAME_MS // 1000
    whole = np.pad(wave, ((0, 0), (0, _frames(head, delay) * frame - wave.shape[1])))
    steps = np.rint(np.clip(whole, -1, 1) * 32767).astype(np.int16)
    packets: list[bytes] = []
    for start in range(0, steps.shape[1], frame):
        piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(steps[:, start : start + frame].T).reshape(1, -1), "s16", layout)
        piece.sample_rate, piece.pts = rate, start
        packets += map(bytes, encoder.encode(piece))
    del packets[_frames(head, delay) :]
    body = b"".join(_length(len(packet)) + packet for packet in packets)
    return head.pack(LETTER) + uvarint(delay) + body


def _decode(packets: list[bytes], channels: int, name: str) -> Array:
    """float32 (channels, T) at 48 kHz, the encoder's delay at its start."""
    av = _av()
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = FULL_RATE, "mono" if channels == 1 else "stereo"
    decoder.extradata = b"OpusHead" + struct.pack("<BBHIhB", 1, channels, 0, FULL_RATE, 0, 0)
    pieces: list[Array] = []
    try:
        for packet in packets:
            pieces += [frame.to_ndarray() for frame in decoder.decode(av.Packet(packet))]
        pieces += [frame.to_ndarray() for frame in decoder.decode(None)]
    except (av.FFmpegError, ValueError) as error:
        raise BitstreamError(f"file of {name}: a packet does not decode ({' '.join(str(error).split())}); get the file again") from None
    steps = np.concatenate(pieces, 1).reshape(-1, channels).T
    return steps.astype(np.float32) / np.float32(32768)


def _packets(head: Head, cursor: Cursor, name: str) -> tuple[int, list[bytes]]:
    """The encoder's delay in samples at 48 kHz, and all packets."""
    delay = cursor.uvarint(MAX_DELAY)
    packets = []
    for _ in range(_frames(head, delay)):
        first = cursor.byte()
        length = first if first < 252 else first + 4 * cursor.byte()
        if not 0 < length <= LONGEST_PACKET:
            raise BitstreamError(f"file of {name}: a packet of {length} bytes, expected 1 to {LONGEST_PACKET}")
        packets.append(cursor.take(length))
    cursor.close()
    return delay, packets


def _frames(head: Head, delay: int) -> int:
    """How many bring back all samples."""
    return -(-(head.at(FULL_RATE) + delay) // (FULL_RATE * FRAME_MS // 1000))


def _length(length: int) -> bytes:
    """RFC 6716, section 3.2.1."""
    if length < 252:
        return bytes([length])
    first = 252 + length % 4
    return bytes([first, (length - first) // 4])


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise ModelError("Opus needs the package av: pip install 'smalti[audio-codecs]'") from None
    return av
