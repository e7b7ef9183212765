"""What kind of thing a shape is, by a probe on descriptors of its surface.

Descriptors, of 2048 points drawn evenly by area: D2, the distribution of distances of pairs (Osada et al., "Shape distributions", 2002), in
64 bins of the largest distance; and how the points spread over 6 x 6 x 6 cells of a cube around the middle of the box, its side the longest
of the box's. D2 does not change as a shape turns, the cells do: they hold because models of a collection stand upright. Both as roots of
shares. A shape that decoded to nothing has a descriptor of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.metrics.machine.answers import Answers
from smalti.metrics.machine.probes import ProbeTask
from smalti.metrics.surfaces import drawn, surface
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Array, Shape, Signal

POINTS = 2048
BINS = 64
CELLS = 6
SEED = 7


def descriptor(shape: Signal) -> Array:
    """float64 (64 + 216,); SignalError for other signals, and for vertices that are not finite."""
    if not isinstance(shape, Shape):
        raise SignalError(f"shapes are classified here, found {type(shape).__name__}")
    if not np.isfinite(shape.vertices).all():
        raise SignalError("a shape with vertices that are not finite; remove them first")
    found = np.zeros(BINS + CELLS**3)
    if not len(shape.used) or (shape.faces is not None and not len(shape.faces)) or not np.ptp(shape.used, axis=0).max() > 0:
        return found
    points = drawn(surface(shape, shape), SEED, POINTS).points  # within [-1/2, 1/2], about the middle of the box
    pairs = np.random.default_rng(SEED).permutation(len(points))
    distances = np.linalg.norm(points - points[pairs], axis=1)
    bins = np.minimum((distances / max(distances.max(), 1e-12) * BINS).astype(int), BINS - 1)
    found[:BINS] = np.sqrt(np.bincount(bins, minlength=BINS) / len(points))
    places = np.clip(((points + 0.5) * CELLS).astype(int), 0, CELLS - 1) @ [CELLS**2, CELLS, 1]
    found[BINS:] = np.sqrt(np.bincount(places, minlength=CELLS**3) / len(points))
    return found


def classes(labels: Sequence[int], groups: Sequence[str] | None = None, from_decoded: bool = False) -> ProbeTask:
    """labels: the class of each shape."""
    described = Answers(descriptor)
    about = f"D2 in {BINS} bins and {CELLS}^3 cells of {POINTS} points"
    features = lambda shapes: np.stack([described(shape) for shape in shapes])  # noqa: E731
    return ProbeTask("shape-classes", features, labels, groups, from_decoded, about=about)


def classes_from_decoded(labels: Sequence[int], groups: Sequence[str] | None = None) -> ProbeTask:
    """The same by the second protocol."""
    return classes(labels, groups, True)
