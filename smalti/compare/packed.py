"""Tokens of our models packed by ordinary compressors: what our entropy coder must beat at exactly equal distortion.

`MODEL+zlib`, `MODEL+bz2`, `MODEL+lzma`, `MODEL+zstd`, `MODEL+brotli`, and `MODEL+raw` for no compressor at all: the very tokens that the
model's own file of so many stages holds, as numbers of 16 or 32 bits or at their fixed widths in bits, whichever ends up shorter, at the
compressor's highest level. `tokens-zlib` and so on take one model of each kind, `MODELS`. Pictures, sounds and films.

File: six bytes that name the weights, number of stages (a byte), the signal's size (LEB128 each), a byte for the form, the packed tokens,
CRC-32 of all before.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti import api
from smalti.codecs.bitstream.wire import Cursor, uvarint
from smalti.codecs.neural import NeuralCodec, fingerprint_bytes
from smalti.media import modality_of_kind
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Codec, Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Array, Audio, Image, Signal, Video
from smalti.tokenizers.tokens import Layout, Tokens

MOST_TOKENS = 1 << 26
MODELS = {"image": "image-grid-16", "audio": "audio-residual-16k", "video": "video-causal-16"}  # where none is named
SIZES = {
    "image": ("height", "width"),
    "audio": ("samples", "rate", "channels"),
    "video": ("frames", "height", "width", "rate_num", "rate_den"),
}
METHODS = ("raw", "zlib", "bz2", "lzma", "zstd", "brotli")
WHOLE, BITS = 0, 1  # forms
_LZMA = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME}]


@dataclass(frozen=True)
class Compressor:
    """pack: bytes to bytes. unpack: (bytes, length at most) to bytes, which raises one of `errors`."""

    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes, int], bytes]
    errors: tuple[type[Exception], ...]


class PackedTokens:
    """`contracts.Codec` of a model's tokens; its targets are stages, as many as the model has without one."""

    family = "lossless"

    def __init__(self, method: str, model: str | None = None) -> None:
        self.method = method
        self.compressor = compressor(method)
        if model is not None and modality_of_kind(zoo.find(model).kind) not in SIZES:
            raise UsageError(
                f"tokens of {model} are not packed: their number is told by the signal; name a model of pictures, sounds or films"
            )
        self.model = model
        self.name = f"{model}+{method}" if model else f"tokens-{method}"
        self._codecs: dict[str, NeuralCodec] = {}

    @property
    def version(self) -> str:
        """The compressor's."""
        return version(self.method)

    @property
    def ladder(self) -> tuple[tuple[str, Target], ...]:
        """Settings where no model is named: all stages. Those of a model are `ours.ladder`'s."""
        return (("all stages", Target()),)

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file of so many stages; UsageError for other targets that it does not meet."""
        kind = (
            "image" if isinstance(signal, Image) else "audio" if isinstance(signal, Audio) else "video" if isinstance(signal, Video) else ""
        )
        if not kind:
            raise SignalError(f"{self.name} takes pictures, sounds and films, found {type(signal).__name__}")
        if target.bits_per_pixel is not None or target.kbps is not None or target.quality is not None:
            raise UsageError(f"{self.name} aims at stages alone; give stages")
        by = self._codec(self.model or MODELS[kind])
        (tokens,) = by.encode([signal], Target(stages=target.stages))
        tokens = tokens.prefix(target.stages) if target.stages is not None else tokens
        data = self._file(tokens, by)
        if target.bytes is not None and len(data) > target.bytes:
            raise UsageError(f"the smallest file of this signal has {len(data)} bytes, the target allows {target.bytes}")
        return data

    def decompress(self, data: bytes) -> Signal:
        """The signal of a file; raises BitstreamError for damage, ModelError for a file of another model."""
        if len(data) < 12 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise BitstreamError(f"no whole file of {self.name} (its checksum differs); get the file again")
        by, names = self._written_by(data[:6])
        cursor = Cursor(data[:-4], f"file of {self.name}", 6)
        stages = cursor.byte()
        layout = self._layout(by, tuple((name, cursor.uvarint(2**32 - 1)) for name in names), stages)
        form = cursor.byte()
        arrays = _unpacked(self.compressor, cursor.take(cursor.left), layout, form, self.name)
        return by.tokenizer.decode([Tokens(layout, arrays)])[0]

    def payload_bytes(self, data: bytes) -> int:
        """Bytes of the packed tokens of a file."""
        cursor = Cursor(data[:-4], f"file of {self.name}", 7)
        for _ in self._written_by(data[:6])[1]:
            cursor.uvarint(2**32 - 1)
        return cursor.left - 1

    def _file(self, tokens: Tokens, by: NeuralCodec) -> bytes:
        forms = [self.compressor.pack(packed) for packed in (_whole(tokens), _bits(tokens))]
        form = WHOLE if len(forms[WHOLE]) < len(forms[BITS]) else BITS
        size = b"".join(uvarint(value) for _, value in tokens.layout.signal)
        data = fingerprint_bytes(by.tokenizer) + bytes([len(tokens.arrays)]) + size + bytes([form]) + forms[form]
        return data + zlib.crc32(data).to_bytes(4, "little")

    def _layout(self, by: NeuralCodec, signal: tuple[tuple[str, int], ...], stages: int) -> Layout:
        try:
            whole = by.tokenizer.layout(signal)
            layout = whole.prefix(stages) if stages != len(whole.stages) else whole
        except (UsageError, SignalError, ValueError) as error:
            raise BitstreamError(f"file of {self.name}: a size that the model does not have ({error})") from None
        if sum(stage.count for stage in layout.stages) > MOST_TOKENS:
            raise BitstreamError(f"file of {self.name}: more than {MOST_TOKENS} tokens, expected so many at most")
        return layout

    def _codec(self, model: str) -> NeuralCodec:
        if model not in self._codecs:
            self._codecs[model] = api.codec(model, "cpu")
        return self._codecs[model]

    def _written_by(self, start: bytes) -> tuple[NeuralCodec, tuple[str, ...]]:
        """The model of a fingerprint, and the names of its signals' sizes."""
        known = [self.model] if self.model else list(MODELS.values())
        for model in known:
            if fingerprint_bytes(self._codec(model).tokenizer) == start:
                return self._codec(model), SIZES[modality_of_kind(zoo.find(model).kind)]
        raise ModelError(f"file of {self.name}: written with model {start.hex()}, expected {' or '.join(known)}; name the model")


def codec(name: str) -> Codec:
    """Of "MODEL+zlib"; UsageError for a compressor that nobody knows, ModelError for a model, or a package that is not installed."""
    model, _, method = name.rpartition("+")
    return PackedTokens(method, model or None)


def compressor(method: str) -> Compressor:
    """By name; UsageError where nobody knows it, ModelError where its package is missing."""
    if method == "raw":
        return Compressor(lambda data: data, lambda data, most: data[: most + 1], ())
    if method == "zlib":
        return Compressor(
            lambda data: zlib.compress(data, 9), lambda data, most: zlib.decompressobj().decompress(data, most + 1), (zlib.error,)
        )
    if method == "bz2":
        return Compressor(
            lambda data: bz2.compress(data, 9), lambda data, most: bz2.BZ2Decompressor().decompress(data, most + 1), (OSError,)
        )
    if method == "lzma":
        return Compressor(
            lambda data: lzma.compress(data, lzma.FORMAT_RAW, filters=_LZMA),
            lambda data, most: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA).decompress(data, most + 1),
            (lzma.LZMAError,),
        )
    if method not in ("zstd", "brotli"):
        raise UsageError(f"no compressor {method!r}; known: {', '.join(METHODS)}")
    library = _imagecodecs()
    if method == "zstd":
        return Compressor(
            lambda data: bytes(library.zstd_encode(data, level=22)),
            lambda data, most: bytes(library.zstd_decode(data, out=most + 1)),
            (library.ZstdError, ValueError),
        )
    return Compressor(
        lambda data: bytes(library.brotli_encode(data, level=11)),
        lambda data, most: bytes(library.brotli_decode(data, out=most + 1)),
        (library.BrotliError, ValueError),
    )


def tokens_zlib() -> PackedTokens:
    """Of the usual model, as the five below."""
    return PackedTokens("zlib")


def tokens_bz2() -> PackedTokens:
    return PackedTokens("bz2")


def tokens_lzma() -> PackedTokens:
    return PackedTokens("lzma")


def tokens_zstd() -> PackedTokens:
    return PackedTokens("zstd")


def tokens_brotli() -> PackedTokens:
    return PackedTokens("brotli")


def tokens_raw() -> PackedTokens:
    return PackedTokens("raw")


def version(method: str) -> str:
    """Library and version of a compressor."""
    if method in ("zstd", "brotli"):
        library = _imagecodecs()
        return f"{getattr(library, f'{method}_version')()}, imagecodecs {library.__version__}"
    import platform

    return f"zlib {zlib.ZLIB_RUNTIME_VERSION}" if method == "zlib" else f"Python {platform.python_version()}"


def _imagecodecs() -> Any:
    try:
        import imagecodecs
    except ImportError:
        raise ModelError("zstd and Brotli need the package imagecodecs: pip install 'smalti[codecs]'") from None
    return imagecodecs


def _widths(layout: Layout) -> list[int]:
    return [max((stage.vocab - 1).bit_length(), 1) for stage in layout.stages]


def _whole(tokens: Tokens) -> bytes:
    """All stages in 16 bits, or 32 where a vocabulary needs them."""
    wide = "<u2" if max(_widths(tokens.layout)) <= 16 else "<u4"
    return b"".join(array.astype(wide).tobytes() for array in tokens.arrays)


def _bits(tokens: Tokens) -> bytes:
    """Each token in the bits that its vocabulary needs, highest first."""
    pieces = []
    for array, width in zip(tokens.arrays, _widths(tokens.layout), strict=True):
        shifts = np.arange(width - 1, -1, -1)
        pieces.append((array.ravel()[:, None] >> shifts & 1).astype(np.uint8).ravel())
    return np.packbits(np.concatenate(pieces)).tobytes()


def _unpacked(packer: Compressor, data: bytes, layout: Layout, form: int, name: str) -> tuple[Array, ...]:
    widths, counts = _widths(layout), [stage.count for stage in layout.stages]
    wide = 2 if max(widths) <= 16 else 4
    length = wide * sum(counts) if form == WHOLE else -(-sum(n * width for n, width in zip(counts, widths, strict=True)) // 8)
    try:
        found = packer.unpack(data, length)
    except packer.errors as error:
        raise BitstreamError(f"file of {name}: the packed tokens are damaged ({error}); get the file again") from None
    if form not in (WHOLE, BITS) or len(found) != length:
        raise BitstreamError(f"file of {name}: {len(found)} bytes of tokens in form {form}, expected {length} in form 0 or 1")
    arrays, place = [], 0
    ones = np.unpackbits(np.frombuffer(found, np.uint8)) if form == BITS else np.frombuffer(found, f"<u{wide}")
    for stage, count, width in zip(layout.stages, counts, widths, strict=True):
        used = count * width if form == BITS else count
        part = ones[place : place + used]
        place += used
        values = (
            part.reshape(count, width).astype(np.int64) @ (1 << np.arange(width - 1, -1, -1)) if form == BITS else part.astype(np.int64)
        )
        if count and values.max() >= stage.vocab:
            raise BitstreamError(f"file of {name}: a token of {stage.name} is {values.max()}, expected less than {stage.vocab}")
        arrays.append(values.astype(np.int32).reshape(stage.shape))
    return tuple(arrays)
