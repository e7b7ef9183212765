"""The four signals that Smalti tokenizes, as frozen values over NumPy arrays.

A signal knows nothing of files; `smalti.codecs.media` reads and writes those. Constructors check dtype and shape, so that every
later step may rely on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from smalti.tokenizers.errors import SignalError

Array = np.ndarray
MAX_SIDE = 65535
MAX_PIXELS = 2**28  # of a picture, whether it is read from a file or made from tokens
MAX_SAMPLES = 2**29  # of a channel of a sound, likewise: three hours at 48 kHz
MAX_ALL_SAMPLES = 2**30  # of all its channels: three hours in stereo
MAX_CHANNELS = 8
MAX_FACES = 2**23  # of a mesh, likewise
MAX_POINTS = 2**24  # of a point cloud, and vertices of a mesh


@dataclass(frozen=True, eq=False)
class Image:
    """A picture as it is displayed.

    pixels: uint8 or uint16, shape (H, W, 3), RGB in the sRGB transfer function; orientation is already applied.
    notes: what the source had that these pixels no longer carry, by the names in `codecs.notes`.
    """

    pixels: Array
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or 0 in self.pixels.shape:
            raise SignalError(f"an image has pixels of shape (H, W, 3) with H, W >= 1, found {self.pixels.shape}")
        if self.pixels.dtype not in (np.uint8, np.uint16):
            raise SignalError(f"an image has uint8 or uint16 pixels, found {self.pixels.dtype}")

    @property
    def eight_bits(self) -> Array:
        """The pixels as uint8, rounded where they have 16 bits."""
        if self.pixels.dtype == np.uint8:
            return self.pixels
        return ((self.pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound: float32 samples in [-1, 1], shape (channels, time), at `rate` samples per second."""

    samples: Array
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or 0 in self.samples.shape:
            raise SignalError(f"audio has samples of shape (channels, time), none of them 0, found {self.samples.shape}")
        if self.samples.dtype != np.float32:
            raise SignalError(f"audio has float32 samples, found {self.samples.dtype}")
        if self.rate <= 0:
            raise SignalError(f"audio has a positive sample rate, found {self.rate}")

    @property
    def seconds(self) -> float:
        return self.samples.shape[1] / self.rate


@dataclass(frozen=True, eq=False)
class Video:
    """Moving pictures.

    frames: an iterable of uint8 arrays (H, W, 3), all of one size; it may be a generator, read once.
    timing: frames per second as a fraction, or one timestamp in seconds per frame.
    aspect: width over height of one sample (pixel).
    """

    frames: Iterable[Array] = field(repr=False)
    timing: Fraction | tuple[Fraction, ...]
    aspect: Fraction = Fraction(1)
    audio: Audio | None = None


@dataclass(frozen=True, eq=False)
class Shape:
    """A triangle mesh, or a point cloud where `faces` is None.

    vertices: float64 (V, 3) in the source's own units. faces: int64 (F, 3) indices into the vertices.
    """

    vertices: Array
    faces: Array | None = None

    def __post_init__(self) -> None:
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3 or self.vertices.dtype != np.float64:
            raise SignalError(f"a shape has float64 vertices (V, 3), found {self.vertices.dtype} {self.vertices.shape}")
        if self.faces is None:
            return
        if self.faces.ndim != 2 or self.faces.shape[1] != 3 or self.faces.dtype != np.int64:
            raise SignalError(f"a shape has int64 faces (F, 3), found {self.faces.dtype} {self.faces.shape}")
        if self.faces.size and (self.faces.min() < 0 or self.faces.max() >= len(self.vertices)):
            raise SignalError(f"a face names a vertex outside 0..{len(self.vertices) - 1}")

    @property
    def used(self) -> Array:
        """The vertices that count: those that faces name, or all where there are no faces. (U, 3)."""
        return self.vertices if self.faces is None or not len(self.faces) else self.vertices[np.unique(self.faces)]


Signal = Image | Audio | Video | Shape
