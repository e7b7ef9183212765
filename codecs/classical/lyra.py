"""Lyra v2 (github.com/google/lyra, Apache-2.0), Google's speech codec for phones, by its published networks in TensorFlow Lite.

A SoundStream (arXiv 2107.03312) at 16 kHz, 50 frames a second, 16, 30 or 46 quantizers of 4 bits: 3.2, 6 and 9.2 kbps. Several channels
are coded one by one. The file is our own head, the number of quantizers, and each frame's codes, packed; packets have no length, as all
are equally long. Decoding twice gives the same samples.

The three networks (`soundstream_encoder.tflite`, `quantizer.tflite`, `lyragan.tflite` of that repository's `lyra/model_coeffs`) are not
ours to ship: they are found in $SMALTI_LYRA, else in ~/.cache/smalti/lyra, and checked by hash.
"""

from __future__ import annotations

import hashlib
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from smalti.codecs.classical.search import best_quality
from smalti.codecs.classical.sound_head import Head, read_head, resampled, room_of, sound_of
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.signals import MAX_CHANNELS, Array, Audio, Signal

LETTER = b"L"
RATE, FRAME = 16000, 320
QUANTIZERS = (16, 30, 46)
MOST = QUANTIZERS[-1]
QUALITIES = range(1, len(QUANTIZERS) + 1)
NETWORKS = {
    "soundstream_encoder.tflite": "237da0b16226fb0a68d49551c81bebf614e42142af72764448359f68581e88f1",
    "quantizer.tflite": "841ee05989687d32d1f616a8ad1419fc7eda37599d3c05c7cf5a0d60ccf8ac5c",
    "lyragan.tflite": "50e7839cda4f30599a3a34cfaddcd9c98449b049eee884e1a74295780448ad06",
}


class Lyra:
    """`contracts.Codec` of sounds. Quality 1, 2 and 3 are 3.2, 6 and 9.2 kbps per channel."""

    name = "lyra"

    @property
    def version(self) -> str:
        """The networks', which were published once, and of what runs them."""
        return f"Lyra v2 networks {NETWORKS['lyragan.tflite'][:12]}, ai-edge-litert {metadata.version('ai-edge-litert')}"

    def __init__(self) -> None:
        self.networks = [_checked(name, digest) for name, digest in NETWORKS.items()]
        self.interpreter = _interpreter()

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file at that quality, or at the highest that fits; at 9.2 kbps without a target. Raises UsageError where nothing fits."""
        sound = sound_of(signal, self.name)
        room = room_of(target, sound, self.name)
        head = Head(sound.samples.shape[1], sound.rate, sound.samples.shape[0])
        if room is not None:
            quality = best_quality(lambda quality: len(_start(head, quality)) + _size(head, QUANTIZERS[quality - 1]), QUALITIES, room)
        else:
            quality = round(QUALITIES[-1] if target.quality is None else target.quality)
        if quality not in QUALITIES:
            raise UsageError(f"{self.name}: quality {target.quality}, expected {QUALITIES[0]} to {QUALITIES[-1]}")
        wave = resampled(sound.samples, sound.rate, RATE, _frames(head) * FRAME)
        return _start(head, quality) + b"".join(self._encode(channel, QUANTIZERS[quality - 1]) for channel in wave)

    def decompress(self, data: bytes) -> Signal:
        """The sound of exactly the size that went in; raises BitstreamError for other files and for those of another length."""
        head, cursor = read_head(data, LETTER, self.name, MAX_CHANNELS)
        quality = cursor.byte()
        if quality not in QUALITIES:
            raise BitstreamError(f"file of {self.name}: quality {quality}, expected {QUALITIES[0]} to {QUALITIES[-1]}")
        quantizers = QUANTIZERS[quality - 1]
        body = cursor.take(_size(head, quantizers))
        cursor.close()
        codes = np.frombuffer(body, np.uint8).reshape(head.channels, _frames(head), quantizers // 2)
        wave = np.stack([self._decode(channel) for channel in codes])
        samples = resampled(wave[:, : head.at(RATE)], RATE, head.rate, head.samples)
        return Audio(np.clip(np.ascontiguousarray(samples), -1, 1), head.rate)

    def payload_bytes(self, data: bytes) -> int:
        """Bytes of the codes of a file."""
        _, cursor = read_head(data, LETTER, self.name, MAX_CHANNELS)
        return cursor.left - 1

    def _encode(self, wave: Array, quantizers: int) -> bytes:
        """float32 (frames * 320,) -> each frame's codes, two a byte. Networks remember earlier frames: they are fresh for each sound."""
        encoder, quantizer, _ = (self.interpreter(model_content=data, num_threads=1) for data in self.networks)
        features, quantize = encoder.get_signature_runner(), quantizer.get_signature_runner("encode")
        count = np.array(quantizers, np.int32)
        codes = np.empty((len(wave) // FRAME, quantizers), np.uint8)
        for place, frame in zip(codes, wave.reshape(-1, 1, FRAME), strict=True):
            place[:] = quantize(input_frames=features(input_audio=frame)["output_0"], num_quantizers=count)["output_0"].ravel()[:quantizers]
        return (codes[:, ::2] << 4 | codes[:, 1::2]).tobytes()

    def _decode(self, packed: Array) -> Array:
        """uint8 (frames, quantizers / 2) -> float32 (frames * 320,)."""
        _, quantizer, decoder = (self.interpreter(model_content=data, num_threads=1) for data in self.networks)
        lookup, speak = quantizer.get_signature_runner("decode"), decoder.get_signature_runner()
        indices = np.full((MOST, 1, 1), -1, np.int32)  # of quantizers that are not used: -1
        pieces = []
        for frame in packed:
            indices[: 2 * len(frame), 0, 0] = np.stack([frame >> 4, frame & 15], 1).ravel()
            pieces.append(speak(input_audio=lookup(encoding_indices=indices)["output_0"])["output_0"].ravel().copy())
        return np.concatenate(pieces)


def folder() -> Path:
    """Where the networks lie."""
    return Path(os.environ.get("SMALTI_LYRA") or Path.home() / ".cache" / "smalti" / "lyra")


def _start(head: Head, quality: int) -> bytes:
    return head.pack(LETTER) + bytes([quality])


def _frames(head: Head) -> int:
    return -(-head.at(RATE) // FRAME)


def _size(head: Head, quantizers: int) -> int:
    """Bytes of all codes."""
    return head.channels * _frames(head) * quantizers // 2


def _checked(name: str, digest: str) -> bytes:
    path = folder() / name
    try:
        data = path.read_bytes()
    except OSError:
        raise ModelError(f"{path}: not found; get it from google/lyra (lyra/model_coeffs), or set SMALTI_LYRA to its folder") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise ModelError(f"{path}: another network than Lyra 1.3's; get it from google/lyra (lyra/model_coeffs) again")
    return data


def _interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ModelError("Lyra needs the package ai-edge-litert: pip install 'smalti[audio-codecs]'") from None
    return Interpreter
