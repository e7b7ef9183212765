"""A short-time spectrum for streams: how a causal network hears a wave, and how it draws one. See `causal.py` for memories.

Frames of `hop` samples, windows of four of them (periodic Hann), each of which begins with its frame. So what is drawn waits for nothing:
each frame of samples is the sum of what the last four windows drew. What is heard does, for the three frames that a window reaches ahead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.tokenizers.nets.causal import Memory, first_frame
from smalti.tokenizers.nets.spectrum import OVERLAP, drawn, heard, quiet_start, spectra

SQUARES = 1.5  # what the squares of four windows add up to, everywhere


class AheadSpectrum(nn.Module):
    """(B, 1, T * hop + ahead) -> (B, 3 bins, T): log magnitudes, and phases as points of the circle."""

    window: Tensor

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop, self.size = hop, OVERLAP * hop
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)

    @property
    def bins(self) -> int:
        return self.size // 2 + 1

    @property
    def ahead(self) -> int:
        """Samples that must follow the last frame."""
        return self.size - self.hop

    def forward(self, wave: Tensor) -> Tensor:
        return heard(spectra(wave, self.window, self.hop))


class CausalWave(nn.Module):
    """(B, channels, T) -> (B, 1, T * hop): one linear layer, magnitudes and phases, and their windows added up."""

    window: Tensor

    def __init__(self, hop: int, channels: int) -> None:
        super().__init__()
        self.hop, self.size = hop, OVERLAP * hop
        self.register_buffer("window", torch.hann_window(self.size) / SQUARES, persistent=False)
        self.context = OVERLAP - 1
        self.draw = nn.Conv1d(channels, 2 * (self.size // 2 + 1), 1)
        quiet_start(self.draw)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # phases in bfloat16 are audible
            windows = torch.fft.irfft(drawn(self.draw(x.float())), self.size, 1) * self.window[:, None]  # (B, size, T)
            past = self.context
            joined = memory.join(self, windows, past) if memory is not None else torch.cat([first_frame(windows, past), windows], -1)
            quarters = joined.unflatten(1, (OVERLAP, self.hop))
            frames = [quarters[:, i, :, past - i : past - i + x.shape[-1]] for i in range(OVERLAP)]
            return torch.stack(frames).sum(0).transpose(1, 2).flatten(1)[:, None]
