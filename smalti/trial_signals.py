"""Signals as the conformance lists of `smalti.testing` see them: their size, how far two are apart, and worse versions of one."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from smalti.tokenizers.shape.pose import pose_from, pose_of
from smalti.tokenizers.signals import Audio, Image, Shape, Video
from smalti.tokenizers.tokens import Layout

CUBE = 0.15  # how far the box of a lossy shape may be off, in its longest side


def size_of(signal: Any) -> dict[str, int]:
    """What `Layout.signal` says of a signal at least."""
    if isinstance(signal, Image):
        return {"height": signal.height, "width": signal.width}
    if isinstance(signal, Audio):
        return {"samples": signal.samples.shape[1], "rate": signal.rate, "channels": signal.samples.shape[0]}
    if isinstance(signal, Video):  # whose frames pass more than once
        frames = list(signal.frames)
        assert isinstance(signal.timing, Fraction)
        rate = {"rate_num": signal.timing.numerator, "rate_den": signal.timing.denominator}
        return {"frames": len(frames), "height": frames[0].shape[0], "width": frames[0].shape[1], **rate}
    if isinstance(signal, Shape):
        return dict(pose_of(signal).signal)
    raise TypeError(f"no size known for {type(signal).__name__}")


def says_size(layout: Layout, signal: Any) -> bool:
    """Whether a layout says a signal's size: that and nothing else, but of a picture perhaps how many bytes it has; of a
    shape about its cube, and perhaps more."""
    if not isinstance(signal, Shape):
        said = {key: value for key, value in layout.size.items() if not (key == "bytes" and isinstance(signal, Image))}
        return said == size_of(signal)
    pose, own = pose_from(layout.signal), pose_of(signal)
    apart = np.abs(pose.centre - own.centre).max() + abs(pose.radius - own.radius)
    return bool(apart <= CUBE * 2 * own.radius)


def keeps_size(back: Any, signal: Any, layout: Layout | None = None, whole: bool = True) -> bool:
    """Whether what was decoded is as large as what went in: exactly; of a shape about the same box, or where not all stages are there
    (whole) anything within twice the cube, even nothing; and as many faces as the layout says, where it says so."""
    if not isinstance(signal, Shape):
        return size_of(back) == size_of(signal)
    faces = layout.size.get("faces") if layout is not None else None
    if faces is not None and (back.faces is None or len(back.faces) != faces):
        return False
    if not np.isfinite(back.vertices).all():
        return False
    pose = pose_of(signal)
    if not len(back.vertices) or not whole:
        return not whole and bool(np.abs(pose.inwards(back.vertices)).max(initial=0) <= 2)
    corners = [np.stack([shape.used.min(0), shape.used.max(0)]) for shape in (back, signal)]
    return bool(np.abs(corners[0] - corners[1]).max() <= CUBE * 2 * pose.radius)


def difference(a: Any, b: Any) -> float:
    """The largest, in what decoders may differ by: steps of 8 bits of a picture or a film, 1e-4 of full scale of a sound, 1e-4 of a
    shape's extent; infinite for shapes of other faces."""
    if isinstance(a, Audio):
        return float(np.abs(a.samples - b.samples).max()) / 1e-4
    if isinstance(a, Video):
        return max(float(np.abs(one.astype(np.int64) - other).max()) for one, other in zip(a.frames, b.frames, strict=True))
    if isinstance(a, Shape):
        if a.vertices.shape != b.vertices.shape or not _same_faces(a, b):
            return math.inf
        if not len(a.vertices):
            return 0.0
        return float(np.abs(a.vertices - b.vertices).max() / np.ptp(a.vertices, axis=0).max()) / 1e-4
    if isinstance(a, Video):
        return float(max(np.abs(x.astype(np.int64) - y).max() for x, y in zip(a.frames, b.frames, strict=True)))
    return float(np.abs(a.pixels.astype(np.int64) - b.pixels.astype(np.int64)).max())


def _same_faces(a: Shape, b: Shape) -> bool:
    return a.faces is b.faces if a.faces is None or b.faces is None else np.array_equal(a.faces, b.faces)


def blended(signal: Any, share: float) -> Any:
    """The signal mixed with its inverse, of a sound the same played backwards, of a shape itself in waves, of a film every
    other frame: 0 leaves it, 1 inverts it."""
    if isinstance(signal, Audio):
        return Audio((signal.samples * (1 - share) + signal.samples[:, ::-1] * share).astype(np.float32), signal.rate)
    if isinstance(signal, Shape):
        side = np.ptp(signal.vertices, axis=0).max()
        waves = np.sin(7 * signal.vertices[:, [1, 2, 0]] / side + [0, 1, 2]) + np.sin(13 * signal.vertices[:, [2, 0, 1]] / side)
        return Shape(signal.vertices + 0.1 * share * side * waves, signal.faces)
    if isinstance(signal, Video):
        frames = [blended(Image(frame), share).pixels if i % 2 else frame for i, frame in enumerate(signal.frames)]
        return Video(frames, signal.timing, signal.aspect)
    top = np.iinfo(signal.pixels.dtype).max
    return Image((signal.pixels * (1 - share) + (top - signal.pixels) * share).astype(signal.pixels.dtype))


def widened(signal: Any) -> Any:
    """One sample or column more; of a shape nothing, the worst that there is."""
    if isinstance(signal, Audio):
        return Audio(np.pad(signal.samples, ((0, 0), (0, 1))), signal.rate)
    if isinstance(signal, Shape):
        return Shape(np.zeros((0, 3)), None if signal.faces is None else np.zeros((0, 3), np.int64))
    if isinstance(signal, Video):
        return Video([np.pad(frame, ((0, 0), (0, 1), (0, 0))) for frame in signal.frames], signal.timing, signal.aspect)
    return Image(np.pad(signal.pixels, ((0, 0), (0, 1), (0, 0))))
