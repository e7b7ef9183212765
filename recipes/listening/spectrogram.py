"""Pictures of sound: time to the right, frequency upwards to half the rate, louder is brighter."""

from __future__ import annotations

import numpy as np
import PIL.Image
import torch

from smalti.metrics.spectra import magnitudes
from smalti.tokenizers.signals import Array, Audio, Image

WIDTH, HEIGHT = 640, 140
RANGE_DB = 80.0
WINDOW_SECONDS = 0.03
# dark to bright: legible beside both light and dark pages
COLOURS = ((4, 4, 20), (72, 20, 110), (170, 50, 120), (245, 130, 95), (252, 250, 190))


def spectrogram(audio: Audio, loudest: float | None = None) -> Image:
    """140 x 640 pixels of the mean of channels. loudest: the magnitude that is brightest, by default its own; see `loudest_of`."""
    found = _magnitudes(audio)
    top = max(loudest if loudest is not None else float(found.max()), 1e-6)
    decibels = 20 * np.log10(np.maximum(found / top, 1e-9))
    level = np.clip(1 + decibels / RANGE_DB, 0, 1).astype(np.float32)[::-1]
    sized = PIL.Image.fromarray(np.ascontiguousarray(level)).resize((WIDTH, HEIGHT), PIL.Image.Resampling.BOX)
    places = np.linspace(0, 1, len(COLOURS))
    pixels = np.stack([np.interp(np.asarray(sized), places, channel) for channel in np.transpose(COLOURS)], -1)
    return Image(np.rint(pixels).astype(np.uint8))


def loudest_of(audio: Audio) -> float:
    """What pictures that are to be compared share: the largest magnitude of one of them."""
    return float(_magnitudes(audio).max())


def _magnitudes(audio: Audio) -> Array:
    """(bins, frames); a window is the power of two nearest to 30 ms."""
    window = max(64, 2 ** round(np.log2(WINDOW_SECONDS * audio.rate)))
    with torch.inference_mode():
        return magnitudes(torch.from_numpy(audio.samples.mean(0, keepdims=True)), window)[0].numpy()
