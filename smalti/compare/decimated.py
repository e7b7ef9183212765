"""`decimate-draco`: meshes simplified until Draco's file of them has the size asked for, the strongest use of Draco at few bytes.

The search is that of `recipes.shape_table`: numbers of triangles, bits of coordinates, small parts dropped first, compression levels. Of
the files that fit, and nearly fill the size, the one whose surface lies nearest is taken, by the measure that our own model of shapes
chooses by too. A file is Draco's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from smalti.codecs.classical.draco import Draco
from smalti.recipes.shape_table.rivals import Offer, draco, measured
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Shape, Signal

FEWEST, RATIO = 12, 1.3  # triangles, and how they grow
BITS = (4, 5, 6, 7, 8, 9, 10, 11)
SHARES = (1.0, 0.9, 0.75, 0.5)  # of the surface
NEARLY = 0.6  # of the size: smaller files are looked at where there are none such
MOST_BYTES = 4096  # of a file that is searched for; larger ones are Draco's of all faces, with as many bits as fit


class DecimateDraco:
    """`contracts.Codec` of shapes; point clouds, and what has room for all faces, are plain Draco's."""

    name = "decimate-draco"

    def __init__(self) -> None:
        self.inner = Draco()
        self._kept: tuple[Signal, int, list[Offer]] | None = None

    @property
    def version(self) -> str:
        """Draco's, and that of what simplifies."""
        from importlib import metadata

        return f"{self.inner.version}, fast-simplification {metadata.version('fast-simplification')}"

    @property
    def ladder(self) -> tuple[tuple[str, Target], ...]:
        """Settings of a curve."""
        return tuple((f"{size} bytes", Target(bytes=size)) for size in (96, 128, 192, 384, 768, 1536))

    def compress(self, signal: Signal, target: Target = Target()) -> bytes:
        """The nearest file of at most so many bytes; all faces at 20 bits without a target. UsageError where nothing fits."""
        if not isinstance(signal, Shape):
            raise SignalError(f"{self.name} takes shapes, found {type(signal).__name__}")
        if target.bytes is None and target != Target():
            raise UsageError(f"{self.name} aims at bytes alone; give bytes")
        if target.bytes is None or signal.faces is None:
            return self.inner.compress(signal, target)
        if target.bytes > MOST_BYTES:
            return self._all_faces(signal, target.bytes)
        offers = self._offers(signal, max(target.bytes, 256))
        fitting = [offer for offer in offers if offer.bytes <= target.bytes]
        if not fitting:
            if not offers:
                raise UsageError(f"no file of this shape within {target.bytes} bytes was found; ask for more")
            smallest = min(offer.bytes for offer in offers)
            raise UsageError(f"the smallest file of this signal has {smallest} bytes, the target allows {target.bytes}")
        full = [offer for offer in fitting if offer.bytes >= NEARLY * target.bytes]
        return min(measured(signal, full or fitting), key=lambda item: (item[0], item[1].bytes))[1].data

    def decompress(self, data: bytes) -> Signal:
        """The mesh or the points of a file; BitstreamError for anything else."""
        return self.inner.decompress(data)

    def _all_faces(self, shape: Shape, room: int) -> bytes:
        try:
            return self.inner.compress(shape, Target(bytes=room))
        except UsageError:
            return self.compress(shape, Target(bytes=MOST_BYTES))

    def _offers(self, shape: Shape, largest: int) -> Sequence[Offer]:
        """Those of the last shape are kept: its files of several sizes cost one search."""
        if self._kept is None or self._kept[0] is not shape or self._kept[1] < largest:
            targets, count = [], float(FEWEST)
            while count < 1.5 * largest:  # a triangle takes more than two thirds of a byte
                targets.append(round(count))
                count *= RATIO
            offers = draco(shape, largest, targets, BITS, SHARES)
            self._kept = shape, largest, list(offers)
        return self._kept[2]
