"""Spectra that metrics and losses of sound look at: short-time magnitudes, and their sums over mel bands.

Mel bands are Slaney's (linear below 1 kHz, each triangle of unit area), the convention of librosa, which DAC's (arXiv 2306.06546) distances
are made with; the number of bands grows with the window, so that no triangle falls between two bins.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MEL_WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
STFT_WINDOWS = (2048, 512)
COMPRESSED_WINDOWS = (512, 1024, 2048)
LOUDNESS = 0.3  # power of a magnitude, between that of Zwicker's loudness (.46) and a logarithm
LOUDNESS_FLOOR = 1e-3
FLOOR = 1e-5  # below which logarithms see silence
_LINEAR_HERTZ = 200 / 3  # of a mel below 1 kHz
_LOG_STEP = np.log(6.4) / 27  # from there on


def magnitudes(wave: Tensor, window: int) -> Tensor:
    """(B, T) -> (B, window / 2 + 1, frames): a Hann window each quarter of it, silence beyond the ends."""
    padded = F.pad(wave, (window // 2, window // 2))
    return torch.stft(padded, window, window // 4, window=_hann(window, wave.device), center=False, return_complex=True).abs()


def mels(wave: Tensor, window: int, rate: int) -> Tensor:
    """(B, T) -> (B, bands, frames), window * 5 / 32 bands up to half the rate."""
    return mel_bank(rate, window).to(wave.device) @ magnitudes(wave, window)


def log10(spectrum: Tensor) -> Tensor:
    """Logarithms from the floor on."""
    return spectrum.clamp(min=FLOOR).log10()


def mel_distance(wave: Tensor, other: Tensor, rate: int, windows: tuple[int, ...] = MEL_WINDOWS) -> Tensor:
    """Mean difference of log10 mel spectra, summed over windows; waves (B, T)."""
    parts = [F.l1_loss(log10(mels(wave, window, rate)), log10(mels(other, window, rate))) for window in windows]
    return torch.stack(parts).sum()


def stft_distance(wave: Tensor, other: Tensor) -> Tensor:
    """Mean difference of magnitudes and of log10 powers, summed over the two windows; waves (B, T)."""
    parts = []
    for window in STFT_WINDOWS:
        a, b = magnitudes(wave, window), magnitudes(other, window)
        parts += [F.l1_loss(a, b), 2 * F.l1_loss(log10(a), log10(b))]
    return torch.stack(parts).sum()


def compressed_distance(wave: Tensor, other: Tensor) -> Tensor:
    """Mean difference of magnitudes to the power of .3, summed over three windows that resolve harmonics; waves (B, T)."""
    parts = []
    for window in COMPRESSED_WINDOWS:
        a, b = ((magnitudes(part, window) + LOUDNESS_FLOOR).pow(LOUDNESS) for part in (wave, other))
        parts.append(F.l1_loss(a, b))
    return torch.stack(parts).sum()


def mel_bank(rate: int, window: int) -> Tensor:
    """float32 (bands, bins): window * 5 / 32 of Slaney's triangles."""
    return triangles(rate, window, window * 5 // 32)


@functools.lru_cache(maxsize=64)
def triangles(rate: int, window: int, bands: int) -> Tensor:
    """float32 (bands, bins): Slaney's triangles from 0 to half the rate."""
    bins = np.linspace(0, rate / 2, window // 2 + 1)
    edges = _hertz(np.linspace(0, _mel(rate / 2), bands + 2))
    up = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    found = np.maximum(0, np.minimum(up, down)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    with torch.inference_mode(False):  # what is kept serves training too, whoever asked first
        return torch.from_numpy(found.astype(np.float32))


@functools.lru_cache(maxsize=64)
def _hann(window: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.hann_window(window, device=device)


def _mel(hertz: float) -> float:
    return hertz / _LINEAR_HERTZ if hertz < 1000 else 15 + float(np.log(hertz / 1000)) / _LOG_STEP


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * _LINEAR_HERTZ, 1000 * np.exp(_LOG_STEP * (mel - 15)))
