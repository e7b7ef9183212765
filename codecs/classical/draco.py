"""Draco by DracoPy, as a rival for meshes: the shortest of the compression levels 7, 8 and 10.

Level 10 is not always the shortest, and DracoPy's default, 1, is 1.7 times as long (a sphere of 1280 faces at 11 bits: 2557 bytes, level 7
1515).
Quality is the bits of a coordinate, 1 to 20, over the longest side of the box; nothing is simplified, so a target of bytes is met by fewer
bits or not at all. Draco keeps the faces but for those without area in its own grid, gives vertices and faces an order of its own, and
splits vertices where a surface is no manifold. Point clouds are taken too. A file is Draco's own, with no checksum: damage that it does
not notice decodes to another shape.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np

from smalti.codecs.classical.search import best_quality
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Shape, Signal

LEVELS = (7, 8, 10)
QUALITIES = range(1, 21)
_MAGIC = b"DRACO"


class Draco:
    """`contracts.Codec` of shapes."""

    name = "draco"

    @property
    def version(self) -> str:
        """DracoPy's, which has Draco in it."""
        return f"DracoPy {metadata.version('DracoPy')}"

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The file with that many bits, or with the most that fit; with 20 without a target. UsageError where nothing fits, SignalError for
        what Draco does not hold."""
        if not isinstance(signal, Shape):
            raise SignalError(f"{self.name} takes shapes, found {type(signal).__name__}")
        if target.bits_per_pixel is not None or target.kbps is not None or target.stages is not None:
            raise UsageError(f"{self.name} knows no pixels, no time and no stages; give bytes, or quality (bits of a coordinate)")
        if target.bytes is not None:
            return self._within(signal, target.bytes)
        quality = QUALITIES[-1] if target.quality is None else target.quality
        if quality not in QUALITIES:
            raise UsageError(
                f"{self.name}: quality (bits of a coordinate) {quality}, expected a whole number of {QUALITIES[0]} to {QUALITIES[-1]}"
            )
        return _encode(signal, int(quality))

    def decompress(self, data: bytes) -> Signal:
        """The mesh or the points of a file; BitstreamError for anything else."""
        library = _library()
        if data[: len(_MAGIC)] != _MAGIC:
            raise BitstreamError(f"no Draco file (begins {data[:5]!r}); decode it with the codec that wrote it")
        try:
            found = library.decode(data)
            faces = getattr(found, "faces", None)
            return Shape(np.asarray(found.points, np.float64).reshape(-1, 3), None if faces is None else np.asarray(faces, np.int64))
        except (library.FileTypeException, SignalError, ValueError, OverflowError, MemoryError, RuntimeError) as error:
            raise BitstreamError(f"damaged Draco file: {error}") from None

    def _within(self, shape: Shape, room: int) -> bytes:
        files: dict[int, bytes] = {}

        def size(quality: int) -> int:
            if quality not in files:
                files[quality] = _encode(shape, quality)
            return len(files[quality])

        return files[best_quality(size, QUALITIES, room)]


def _encode(shape: Shape, bits: int) -> bytes:
    library = _library()
    if not len(shape.vertices) or not np.isfinite(shape.vertices).all() or (shape.faces is not None and not len(shape.faces)):
        raise SignalError("Draco takes shapes of finite vertices, with faces unless they are point clouds")
    faces = None if shape.faces is None else shape.faces.astype(np.uint32)
    try:
        return min(
            (library.encode(shape.vertices, faces, quantization_bits=bits, compression_level=level) for level in LEVELS),
            key=len,
        )
    except library.EncodingFailedException as error:
        raise SignalError(f"Draco does not hold this shape ({error}): all of its faces may be without area") from None


def _library() -> Any:
    try:
        import DracoPy
    except ImportError as error:
        raise ModelError(f"Draco needs DracoPy ({error}): pip install 'smalti[codecs]'") from None
    return DracoPy
