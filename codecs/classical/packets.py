"""MP3 by LAME and AAC (low complexity) by FFmpeg's own encoder, both through PyAV, as rivals of sounds in one or two channels.

Quality is the rate in kbps that the encoder is asked for: of MP3 one of its rates, which are constant, of AAC any from 8 to 256. Neither
sounds well at few bits for a high sampling rate, so sounds are resampled down where there are few, see `_Kind.rate`; what is lost of the
highs is counted like all else. The encoder's delay (1105 samples of LAME and its decoder, 1024 of AAC) is cut off again: decoded
sounds begin where the original does and have its length.

The file is our own head, a byte for the coded sampling rate, the delay, and the frames: of MP3 as they are, since they tell their length;
of AAC without ADTS heads, each behind its length in one or two bytes, and behind the two bytes of configuration. No tags, no container.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.codecs.bitstream.wire import Cursor, uvarint
from smalti.codecs.classical.search import best_quality
from smalti.codecs.classical.sound_head import Head, read_head, resampled, room_of, sound_of
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.signals import Array, Audio, Signal

CHANNELS = 2
MAX_DELAY = 8192
MAX_PACKET = 1 << 13
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MP3_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MP3_KBPS_HIGH = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # of MPEG-1: 32 kHz and more
MP3_KBPS_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC_CONFIGURATION = 2  # bytes


@dataclass(frozen=True)
class _Kind:
    """letter: of files. library, decoder: FFmpeg's names. rates: samples a second that are coded. qualities: kbps, ascending. caps:
    (kbps of a channel, samples a second at most) below which sounds are resampled. frame: samples of one at high and at low rates."""

    name: str
    letter: bytes
    library: str
    decoder: str
    rates: tuple[int, ...]
    qualities: Sequence[int]
    caps: tuple[tuple[int, int], ...]
    frame: tuple[int, int]

    def rate(self, sound: Audio, kbps: float) -> int:
        """Samples a second that are coded: the sound's own where they are among `rates`, else the next above, within `caps`."""
        own = next((rate for rate in self.rates if rate >= sound.rate), self.rates[-1])
        share = kbps / sound.samples.shape[0]
        return min([own, *(most for below, most in self.caps if share < below)])


MP3 = _Kind("mp3", b"3", "libmp3lame", "mp3float", MP3_RATES, MP3_KBPS, ((16, 8000), (24, 16000), (40, 24000), (48, 32000)), (1152, 576))
AAC = _Kind("aac", b"A", "aac", "aac", AAC_RATES, range(8, 257), ((12, 16000), (20, 24000), (32, 32000)), (1024, 1024))


class PacketCodec:
    """`contracts.Codec` of sounds in one or two channels."""

    def __init__(self, kind: _Kind) -> None:
        self.kind = kind
        self.name = kind.name

    @property
    def version(self) -> str:
        """FFmpeg's, which has the encoder; it does not tell which LAME it was built with."""
        av = _av()
        return f"{self.kind.library} in libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}, PyAV {av.__version__}"

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file at that quality, or at the highest that fits; at the highest without a target. Raises UsageError where nothing fits."""
        sound = sound_of(signal, self.name, CHANNELS)
        room, kbps = room_of(target, sound, self.name), self.kind.qualities
        if room is not None:
            files: dict[int, bytes] = {}

            def size(place: int) -> int:
                files[place] = files.get(place) or self._encode(sound, kbps[place])
                return len(files[place])

            return files[best_quality(size, range(len(kbps)), room)]
        quality = kbps[-1] if target.quality is None else target.quality
        known = kbps[0] <= quality <= kbps[-1] if isinstance(kbps, range) else quality in kbps
        if not known:
            expected = f"{kbps[0]} to {kbps[-1]}" if isinstance(kbps, range) else f"one of {', '.join(map(str, kbps))}"
            raise UsageError(f"{self.name}: quality (kbps asked for) {quality:g}, expected {expected}")
        return self._encode(sound, quality)

    def decompress(self, data: bytes) -> Signal:
        """The sound of exactly the size that went in; raises BitstreamError for damage and for other files."""
        head, rate, delay, configuration, packets = self._read(data)
        decoded = self._decode(packets, head.channels, rate, configuration)
        length = head.at(rate)
        if decoded.shape[0] != head.channels or decoded.shape[1] < delay + length:
            raise BitstreamError(f"file of {self.name}: {decoded.shape} samples decode, expected {(head.channels, delay + length)}")
        samples = resampled(decoded[:, delay : delay + length], rate, head.rate, head.samples)
        return Audio(np.clip(np.ascontiguousarray(samples), -1, 1), head.rate)

    def payload_bytes(self, data: bytes) -> int:
        """Bytes of the frames of a file."""
        return sum(map(len, self._read(data)[-1]))

    def _encode(self, sound: Audio, kbps: float) -> bytes:
        av = _av()
        channels, samples = sound.samples.shape
        head, rate = Head(samples, sound.rate, channels), self.kind.rate(sound, kbps)
        if self.kind is MP3:  # a rate that MP3 does not have at this sampling rate is the next that it has
            allowed = MP3_KBPS_HIGH if rate >= 32000 else MP3_KBPS_LOW if rate > 12000 else MP3_KBPS_LOW[:8]
            kbps = next((known for known in allowed if known >= kbps), allowed[-1])
        encoder = av.CodecContext.create(self.kind.library, "w")
        encoder.sample_rate, encoder.layout, encoder.format = rate, "mono" if channels == 1 else "stereo", "fltp"
        encoder.bit_rate = round(kbps * 1000)
        encoder.open()
        frame = encoder.frame_size
        wave = resampled(sound.samples, sound.rate, rate, head.at(rate))
        whole = np.clip(np.pad(wave, ((0, 0), (0, -wave.shape[1] % frame))), -1, 1)
        packets: list[Any] = []
        for start in range(0, whole.shape[1], frame):
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole[:, start : start + frame]), "fltp", encoder.layout.name)
            piece.sample_rate, piece.pts = rate, start
            packets += encoder.encode(piece)
        packets += encoder.encode(None)
        delay = -packets[0].pts
        needed = -(-(head.at(rate) + delay) // frame) + (self.kind is MP3)  # MP3's last frames are made whole by the next one's bytes
        frames = [bytes(packet) for packet in packets][:needed]
        begin = head.pack(self.kind.letter) + bytes([self.kind.rates.index(rate)]) + uvarint(delay) + uvarint(len(frames))
        if self.kind is MP3:
            return begin + b"".join(frames)
        return begin + bytes(encoder.extradata)[:AAC_CONFIGURATION] + b"".join(uvarint(len(frame)) + frame for frame in frames)

    def _read(self, data: bytes) -> tuple[Head, int, int, bytes, list[bytes]]:
        """Head, coded samples a second, delay in these, AAC's configuration, and all frames."""
        head, cursor = read_head(data, self.kind.letter, self.name, CHANNELS)
        place = cursor.byte()
        if place >= len(self.kind.rates):
            raise BitstreamError(f"file of {self.name}: sampling rate number {place}, expected less than {len(self.kind.rates)}")
        rate = self.kind.rates[place]
        delay = cursor.uvarint(MAX_DELAY)
        most = -(-(head.at(rate) + delay) // self.kind.frame[1]) + 2
        count = cursor.uvarint(most)
        configuration = b"" if self.kind is MP3 else cursor.take(AAC_CONFIGURATION)
        packets = [cursor.take(self._length(cursor)) for _ in range(count)]
        cursor.close()
        if not packets:
            raise BitstreamError(f"file of {self.name}: no frames, expected some")
        return head, rate, delay, configuration, packets

    def _length(self, cursor: Cursor) -> int:
        """Bytes of the frame that comes next."""
        if self.kind is not MP3:
            return cursor.uvarint(MAX_PACKET)
        head = int.from_bytes(cursor.take(4), "big")
        cursor.place -= 4
        version, rate, place, padding = head >> 19 & 3, head >> 10 & 3, head >> 12 & 15, head >> 9 & 1
        if head >> 21 != 0x7FF or version == 1 or head >> 17 & 3 != 1 or rate == 3 or not 0 < place < 15:
            raise BitstreamError(f"file of {self.name}: no frame of MPEG layer 3 at byte {cursor.place}; get the file again")
        high = version == 3
        kbps = (MP3_KBPS_HIGH if high else MP3_KBPS_LOW)[place - 1]
        hertz = (44100, 48000, 32000)[rate] >> (0 if high else 1 if version == 2 else 2)
        return (144 if high else 72) * 1000 * kbps // hertz + padding

    def _decode(self, packets: list[bytes], channels: int, rate: int, configuration: bytes) -> Array:
        """float32 (channels, T), the delay at its start."""
        av = _av()
        decoder = av.CodecContext.create(self.kind.decoder, "r")
        decoder.sample_rate, decoder.layout = rate, "mono" if channels == 1 else "stereo"
        if configuration:
            decoder.extradata = configuration
        pieces: list[Array] = []
        try:
            for packet in packets:
                pieces += [frame.to_ndarray() for frame in decoder.decode(av.Packet(packet)) if frame.sample_rate == rate]
            pieces += [frame.to_ndarray() for frame in decoder.decode(None)]
            return np.concatenate(pieces, 1)
        except (av.FFmpegError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BitstreamError(f"file of {self.name}: a frame does not decode ({reason}); get the file again") from None


def mp3() -> PacketCodec:
    """MPEG layer 3."""
    return PacketCodec(MP3)


def aac() -> PacketCodec:
    """AAC, low complexity."""
    return PacketCodec(AAC)


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise ModelError("MP3 and AAC need the package av: pip install 'smalti[audio-codecs]'") from None
    return av
