"""H.264 by x264, HEVC by x265, VP9 by libvpx and AV1 by SVT-AV1 through PyAV, as rivals: slow presets, constant quality, one group of
pictures a clip.

- `x264`: preset veryslow. - `x265`: preset slow; slower ones take four to ten times as long. - `svt-av1`: preset 2 of 0 to 10.
- `vp9`: deadline good, cpu-used 1 of 0 to 5, 25 frames looked ahead at, hidden frames, one pass; constant quality needs its rate set to 0.

What is counted is the elementary stream with its parameter sets and nothing that does not help to decode it: no container, no SEI units
(x264 and x265 write their options there, 700 bytes and 2.4 kB), no temporal delimiters of AV1 (2 bytes a frame); VP9's packets, which do
not tell where they end, stand behind their lengths, one to three bytes a frame. Before it stands our head: letter, CRC-32, factor and cut,
rate, some 12 bytes. Sound is not coded.

NAME/2 and NAME/4 see the film smaller, by Pillow's Lanczos filter both ways, like `downscaled.py` does with pictures. Chroma is 4:2:0, the
matrix BT.709. Quality is 64 - CRF; steps of .5, of SVT-AV1 and VP9 of 1. One thread, so that bytes repeat; on frames of some 80 pixels
they do not quite with x264 and x265 in PyAV 18.1's build (files vary by 1 %, without x264's assembly they do not). Frames of a clip are
held, as YUV.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image as Pil

from smalti.codecs.bitstream.wire import Cursor, uvarint
from smalti.codecs.classical.search import best_quality
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import MAX_SIDE, Array, Signal, Video

FACTORS = (1, 2, 4)
MAX_HELD_PIXELS = 2**30  # of a clip at the size that is coded: 1.5 GB
TOP = 64
_EXACT = 4 | 8192 | 262144  # bicubic, chroma at full size, exact rounding
_BT709 = 1


@dataclass(frozen=True)
class Encoder:
    """letter: of files. library: FFmpeg's name of the encoder; decoder: of what reads it. crfs: lowest and highest, tried in `steps`
    to one. side_units: types of the NAL units that are left out, by the bits of a unit's first byte; none for AV1 and VP9. lengths: whether
    packets stand behind theirs. no_rate: whether the encoder must be told that it has no
    rate to hold."""

    name: str
    letter: bytes
    library: str
    decoder: str
    crfs: tuple[int, int]
    steps: int
    options: dict[str, str] = field(hash=False)
    shift: int = 0
    mask: int = 0
    side_units: tuple[int, ...] = ()
    least_side: int = 16
    lengths: bool = False
    no_rate: bool = False


X264 = Encoder(
    "x264",
    b"4",
    "libx264",
    "h264",
    (10, 51),
    2,
    {"preset": "veryslow", "x264-params": "keyint=infinite:threads=1"},
    0,
    31,
    (6,),
)
X265 = Encoder(
    "x265", b"5", "libx265", "hevc", (10, 51), 2,
    {"preset": "slow", "x265-params": "info=0:keyint=-1:pools=1:frame-threads=1:log-level=none"}, 1, 63, (39, 40),
    least_side=64,  # in the build of PyAV 18.1 frames of 44 x 36 pixels corrupted the memory of the process
)  # fmt: skip
VP9 = Encoder(
    "vp9", b"9", "libvpx-vp9", "vp9", (10, 63), 1,
    {"deadline": "good", "cpu-used": "1", "auto-alt-ref": "1", "lag-in-frames": "25", "g": "9999"}, lengths=True, no_rate=True,
)  # fmt: skip
SVT_AV1 = Encoder("svt-av1", b"1", "libsvtav1", "libdav1d", (10, 63), 1, {"preset": "2", "svtav1-params": "keyint=-1:lp=1"})


class VideoCodec:
    """`contracts.Codec` of films at 1/factor of each side; its targets count all bytes and the pixels of the full frames."""

    def __init__(self, encoder: Encoder, factor: int = 1) -> None:
        if factor not in FACTORS:
            raise UsageError(f"films are shrunk by {' or '.join(map(str, FACTORS[1:]))}, found {factor}")
        self.encoder = encoder
        self.factor = factor
        self.name = encoder.name if factor == 1 else f"{encoder.name}/{factor}"

    @property
    def version(self) -> str:
        """FFmpeg's, which has the encoder; it does not tell the encoder's own."""
        av = _av()
        return f"{self.encoder.library} in libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}, PyAV {av.__version__}"

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file at that quality, or at the highest that fits; at quality 54 without a target. UsageError where nothing fits."""
        if not isinstance(signal, Video):
            raise SignalError(f"{self.name} takes films, found {type(signal).__name__}")
        clip = self._clip(signal)
        low, high = self.encoder.crfs
        if (room := _room(target, clip, self.name)) is None:
            crf = float(low) if target.quality is None else TOP - target.quality
            if not low <= crf <= high:
                raise UsageError(f"{self.name}: quality {target.quality}, expected {TOP - high} to {TOP - low}")
            return self._encode(clip, crf)
        files: dict[int, bytes] = {}

        def size(quality: int) -> int:
            if quality not in files:
                files[quality] = self._encode(clip, high - quality / self.encoder.steps)
            return len(files[quality])

        return files[best_quality(size, range((high - low) * self.encoder.steps + 1), room)]

    def decompress(self, data: bytes) -> Signal:
        """The film, of exactly the size and number of frames that went in; raises BitstreamError for damage and for other files."""
        head, stream = self._read_head(data)
        frames = [self._enlarged(frame, head) for frame in _decode(stream, self.encoder, head.frames, self.name)]
        if len(frames) != head.frames:
            raise BitstreamError(f"file of {self.name}: {len(frames)} frames decode, expected {head.frames}; get the file again")
        return Video(frames, head.rate)

    def payload_bytes(self, data: bytes) -> int:
        """Bytes of the elementary stream of a file."""
        return len(self._read_head(data)[1])

    def _clip(self, film: Video) -> _Clip:
        av = _av()
        pictures: list[Any] = []
        height = width = held = 0
        for pixels in film.frames:
            if not pictures:
                height, width = pixels.shape[:2]
            if pixels.shape != (height, width, 3) or pixels.dtype != np.uint8:
                raise SignalError(f"{self.name}: frames of one size, uint8 (H, W, 3), are taken, found {pixels.dtype} {pixels.shape}")
            edge = ((0, self._missing(height)), (0, self._missing(width)), (0, 0))
            whole = np.pad(pixels, edge, mode="edge")
            size = whole.shape[1] // self.factor, whole.shape[0] // self.factor
            if (held := held + size[0] * size[1]) > MAX_HELD_PIXELS:
                raise SignalError(f"{self.name}: more than {MAX_HELD_PIXELS} pixels in all, expected so many at most; cut the clip")
            small = np.array(Pil.fromarray(whole).resize(size, Pil.Resampling.LANCZOS)) if self.factor > 1 else whole
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(small), format="rgb24")
            pictures.append(frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=1, interpolation=_EXACT, threads=1))
        if not pictures:
            raise SignalError(f"{self.name}: a film without frames, expected at least one")
        rate = film.timing if isinstance(film.timing, Fraction) else Fraction(25)  # times of frames are not coded: they cost all alike
        return _Clip(pictures, height, width, rate)

    def _encode(self, clip: _Clip, crf: float) -> bytes:
        av, encoder = _av(), self.encoder
        context = av.CodecContext.create(encoder.library, "w")
        context.width, context.height, context.pix_fmt = clip.pictures[0].width, clip.pictures[0].height, "yuv420p"
        context.time_base, context.framerate, context.thread_count = 1 / clip.rate, clip.rate, 1
        context.colorspace, context.color_range = _BT709, 1
        context.options = {**encoder.options, "crf": f"{crf:g}"}
        if encoder.no_rate:
            context.bit_rate = 0
        packets: list[bytes] = []
        if encoder is SVT_AV1:
            os.environ.setdefault("SVT_LOG", "1")  # errors alone: it writes to standard error past everybody
        try:
            for i, picture in enumerate(clip.pictures):
                picture.pts, picture.time_base = i, context.time_base
                picture.pict_type = 0  # or the type that the last try gave it is forced
                packets += map(bytes, context.encode(picture))
            packets += map(bytes, context.encode(None))
        except (av.FFmpegError, ValueError) as error:
            what = f"{context.width} x {context.height} pixels"
            raise UsageError(f"{self.name} cannot code frames of {what} at crf {crf:g} ({error})") from None
        stream = b"".join(_stripped(packet, encoder) for packet in packets)
        head = bytes([self.factor.bit_length() - 1]) + b"".join(
            map(uvarint, (clip.height, clip.width, len(clip.pictures), clip.rate.numerator, clip.rate.denominator))
        )
        return encoder.letter + struct.pack("<I", zlib.crc32(head + stream)) + head + stream

    def _read_head(self, data: bytes) -> tuple[_Head, bytes]:
        if data[:1] != self.encoder.letter or len(data) < 6 or data[5] != self.factor.bit_length() - 1:
            raise BitstreamError(f"no file of {self.name} (begins {data[:6]!r}); decode it with the codec that wrote it")
        if struct.unpack_from("<I", data, 1)[0] != zlib.crc32(data[5:]):
            raise BitstreamError(f"file of {self.name}: damaged (its checksum differs), expected a whole one; get it again")
        cursor = Cursor(data, f"file of {self.name}", 6)
        height, width, frames = (cursor.uvarint(most) for most in (MAX_SIDE, MAX_SIDE, 2**24))
        top, bottom = cursor.uvarint(2**32 - 1), cursor.uvarint(2**32 - 1)
        if 0 in (height, width, frames, top, bottom) or height * width * frames > MAX_HELD_PIXELS * self.factor**2 * 2:
            raise BitstreamError(f"file of {self.name}: {frames} frames of {width} x {height} pixels at {top}/{bottom}, expected fewer")
        return _Head(height, width, frames, Fraction(top, bottom)), data[cursor.place :]

    def _missing(self, side: int) -> int:
        """How much a side is extended, to an even one of what is coded, of at least what the encoder takes."""
        multiple = 2 * self.factor
        return max(-(-side // multiple) * multiple, self.encoder.least_side * self.factor) - side

    def _enlarged(self, pixels: Array, head: _Head) -> Array:
        expected = tuple((side + self._missing(side)) // self.factor for side in (head.height, head.width))
        if pixels.shape[:2] != expected:
            raise BitstreamError(f"file of {self.name}: frames of {pixels.shape[:2]} decode, expected {expected}")
        if self.factor > 1:
            size = pixels.shape[1] * self.factor, pixels.shape[0] * self.factor
            pixels = np.array(Pil.fromarray(pixels).resize(size, Pil.Resampling.LANCZOS))
        return np.ascontiguousarray(pixels[: head.height, : head.width])


@dataclass(frozen=True)
class _Clip:
    """pictures: in YUV, at the size that is coded. height, width: of the frames that must come back."""

    pictures: Sequence[Any]
    height: int
    width: int
    rate: Fraction


@dataclass(frozen=True)
class _Head:
    height: int
    width: int
    frames: int
    rate: Fraction


def x264(factor: int = 1) -> VideoCodec:
    """H.264."""
    return VideoCodec(X264, factor)


def x265(factor: int = 1) -> VideoCodec:
    """HEVC."""
    return VideoCodec(X265, factor)


def vp9(factor: int = 1) -> VideoCodec:
    """VP9."""
    return VideoCodec(VP9, factor)


def svt_av1(factor: int = 1) -> VideoCodec:
    """AV1."""
    return VideoCodec(SVT_AV1, factor)


def _room(target: Target, clip: _Clip, name: str) -> float | None:
    """Bytes that a target allows, None where it sets no size."""
    if target.stages is not None:
        raise UsageError(f"{name} knows no stages; give bytes, bits per pixel, kbps or quality")
    if target.bits_per_pixel is not None:
        return target.bits_per_pixel * clip.height * clip.width * len(clip.pictures) / 8
    if target.kbps is not None:
        return target.kbps * 1000 / 8 * float(len(clip.pictures) / clip.rate)
    return target.bytes


def _stripped(packet: bytes, encoder: Encoder) -> bytes:
    """A packet without what decoders do not need."""
    if encoder.lengths:
        return uvarint(len(packet)) + packet
    if not encoder.side_units:
        return packet.removeprefix(b"\x12\x00")
    return b"".join(unit for unit, kind in _units(packet, encoder) if kind not in encoder.side_units)


def _packets(stream: bytes, name: str) -> Iterator[bytes]:
    """Those that stand behind their lengths."""
    cursor = Cursor(stream, f"file of {name}")
    while cursor.left:
        yield cursor.take(cursor.uvarint(len(stream)))


def _units(packet: bytes, encoder: Encoder) -> Iterator[tuple[bytes, int]]:
    """(NAL unit with the start code before it, its type) of a packet in the form of Annex B."""
    starts: list[int] = []
    place = packet.find(b"\0\0\1")
    while place >= 0:
        starts.append(place)
        place = packet.find(b"\0\0\1", place + 3)
    begins = [place - (place > 0 and packet[place - 1] == 0) for place in starts]  # the fourth byte of a long start code goes with it
    for begin, start, end in zip(begins, starts, [*begins[1:], len(packet)], strict=True):
        yield packet[begin:end], packet[start + 3] >> encoder.shift & encoder.mask


def _decode(stream: bytes, encoder: Encoder, count: int, name: str) -> Iterator[Array]:
    """uint8 RGB (H, W, 3) of `count` frames and one more at most."""
    av = _av()
    context = av.CodecContext.create(encoder.decoder, "r")
    context.thread_count = 1
    found = 0
    try:
        if encoder.lengths:
            packets = [av.Packet(packet) for packet in _packets(stream, name)]
        else:
            packets = [av.Packet(stream)] if not encoder.side_units else [*context.parse(stream), *context.parse(b"")]
        for packet in (*packets, None):
            for frame in context.decode(packet):
                if (found := found + 1) > count + 1:
                    return
                yield frame.reformat(format="rgb24", src_colorspace=_BT709, src_color_range=1, interpolation=_EXACT, threads=1).to_ndarray()
    except (av.FFmpegError, ValueError) as error:
        raise BitstreamError(f"file of {name}: does not decode ({' '.join(str(error).split())}); get the file again") from None


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise ModelError("films need the package av: pip install 'smalti[media]'") from None
    return av
