"""Frames of a waveform <-> its spectrum, with "same" padding: T frames of `hop` samples are T spectra, each of which sees four frames.

Inverse as in Vocos (arXiv 2306.00814): windowed frames are added up and divided by the sum of squared windows that reach a sample.
`torch.istft` can't do it, for at the ends that sum falls below what it accepts. With a periodic Hann window of four hops the sum is 1.5
inside.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OVERLAP = 4
QUIETEST = 1e-4  # magnitude below which a network hears silence
LOUDEST = 100.0  # magnitude that a network may draw, as in Vocos
QUIET_START = -3.0  # log magnitude that an untrained network draws: exp(0) would be a roar


def spectra(wave: Tensor, window: Tensor, hop: int) -> Tensor:
    """(B, 1, (T - 1) * hop + N), window (N,) -> complex (B, N / 2 + 1, T), windows each a hop apart."""
    return torch.fft.rfft(wave[:, 0].unfold(-1, len(window), hop) * window).transpose(1, 2)


def heard(spectrum: Tensor) -> Tensor:
    """What a network hears of a complex spectrum (B, bins, T): log magnitudes, then phases as points of the circle, (B, 3 bins, T)."""
    size = spectrum.abs()
    turned = torch.view_as_real(spectrum / (size + QUIETEST)).movedim(-1, 1).flatten(1, 2)
    return torch.cat([torch.log(size + QUIETEST), turned], 1)


def drawn(numbers: Tensor) -> Tensor:
    """The complex spectrum (B, bins, T) of a network's (B, 2 bins, T), log magnitudes and phases, as in Vocos: loudness is a sum there."""
    loudness, phase = numbers.chunk(2, 1)
    return torch.polar(torch.exp(loudness).clamp(max=LOUDEST), phase)


def quiet_start(last: nn.Conv1d, loudness: float = QUIET_START) -> None:
    """Set the bias of the layer whose output is `drawn`."""
    with torch.no_grad():
        last.bias[: last.out_channels // 2] = loudness  # type: ignore[index]


class Spectrum(nn.Module):
    """hop: samples per frame, even. Holds nothing but the window."""

    window: Tensor

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop, self.size = hop, OVERLAP * hop
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)

    @property
    def bins(self) -> int:
        return self.size // 2 + 1

    def forward(self, wave: Tensor) -> Tensor:
        """(B, 1, T * hop) -> complex (B, bins, T); the edges are repeated beyond the ends."""
        side = (self.size - self.hop) // 2
        return spectra(F.pad(wave, (side, side), mode="replicate"), self.window, self.hop)

    def inverse(self, spectrum: Tensor, ends: Tensor | None = None) -> Tensor:
        """complex (B, bins, T) -> (B, 1, T * hop). ends: int64 (B,), how many of the T count for each; None for all."""
        frames = torch.fft.irfft(spectrum.transpose(1, 2), self.size) * self.window
        count = frames.shape[1]
        weights = self.window.square().expand(1, count, -1)
        if ends is not None:
            there = (torch.arange(count, device=ends.device) < ends[:, None])[..., None]  # (B, T, 1)
            frames, weights = frames * there, weights * there
        total, envelope = self._added(frames), self._added(weights)
        return (total / envelope.clamp(min=1e-8))[:, None]

    def _added(self, frames: Tensor) -> Tensor:
        """Overlapping frames (B, T, size) -> (B, T * hop)."""
        side, count = (self.size - self.hop) // 2, frames.shape[1]
        length = self.size + (count - 1) * self.hop
        added = F.fold(frames.transpose(1, 2), (1, length), (1, self.size), stride=(1, self.hop))[:, 0, 0]
        return added[:, side : side + count * self.hop]
