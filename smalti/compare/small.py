"""Small signals of each kind, always the same: what codecs and metrics make of them tells whether they are still what they were."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from smalti.tokenizers.signals import Audio, Image, Shape, Signal, Video


def pair(kind: str) -> tuple[Signal, Signal]:
    """Two signals of a kind, the second a little worse."""
    rng = np.random.default_rng(0)
    if kind == "image":
        return Image(_picture(rng, 0)), Image(_picture(rng, 6))
    if kind == "video":
        sides = [tuple(_picture(rng, noise) for _ in range(2)) for noise in (0, 6)]
        return Video(sides[0], Fraction(25)), Video(sides[1], Fraction(25))
    if kind == "audio":
        time = np.arange(16000) / 16000
        wave = 0.3 * np.sin(2 * np.pi * 220 * time) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))
        return tuple(Audio((wave + s * rng.normal(0, 1, 16000))[None].astype(np.float32), 16000) for s in (0.001, 0.01))  # type: ignore
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int64)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float64)
    return Shape(corners, faces), Shape(corners * 1.02, faces)


def _picture(rng: np.random.Generator, noise: float) -> np.ndarray:
    """uint8 (176, 176, 3): slopes and waves, with noise."""
    y, x = np.mgrid[:176, :176]
    waves = 128 + 60 * np.sin(x / 9.0) * np.cos(y / 13.0)
    planes = np.stack([waves, 255 * x / 175, 255 * y / 175], -1)
    return np.clip(np.rint(planes + rng.normal(0, 1, planes.shape) * noise), 0, 255).astype(np.uint8)
