"""A short-time spectrum for streams: how a causal network hears a wave, and how it draws one. See `causal.py` for memories.

Frames of `hop` samples, windows of four of them (periodic Hann), each of which begins with its frame. So what is drawn waits for nothing:
each frame of samples is the sum of what the last four windows drew. What is heard does, for the three frames that a window reaches ahead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.tokenizers.nets.causal import Memory, first_frame
from smalti.tokenizers.nets.spectrum import OVERLAP, drawn, heard, quiet_start, spectra

DRAWN_START, COLOUR_START = -5.0, -2.0  # log magnitudes: pulses are heard first, or what is drawn blurs into their place and stays
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
            return self.added(drawn(self.draw(x.float())), memory)

    def added(self, spectrum: Tensor, memory: Memory | None = None) -> Tensor:
        """Complex spectra (B, bins, T) as a wave (B, 1, T * hop)."""
        windows = torch.fft.irfft(spectrum, self.size, 1) * self.window[:, None]  # (B, size, T)
        past = self.context
        joined = memory.join(self, windows, past) if memory is not None else torch.cat([first_frame(windows, past), windows], -1)
        quarters = joined.unflatten(1, (OVERLAP, self.hop))
        frames = [quarters[:, i, :, past - i : past - i + spectrum.shape[-1]] for i in range(OVERLAP)]
        return torch.stack(frames).sum(0).transpose(1, 2).flatten(1)[:, None]


class CausalVoice(CausalWave):
    """The same, and pulses (B, T * hop + ahead) beside it, see `pulses.py`, coloured by a second spectrum that the network draws: what is
    sung stands on those, what hisses on the first.
    """

    pulse_window: Tensor

    def __init__(self, hop: int, channels: int) -> None:
        super().__init__(hop, channels)
        self.register_buffer("pulse_window", torch.hann_window(self.size), persistent=False)
        self.colour = nn.Conv1d(channels, 2 * (self.size // 2 + 1), 1)
        quiet_start(self.draw, DRAWN_START)
        quiet_start(self.colour, COLOUR_START)

    def voiced(self, x: Tensor, pulses: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, channels, T) and the pulses of its windows, which reach `context` hops ahead -> (B, 1, T * hop)."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            source = spectra(pulses[:, None], self.pulse_window, self.hop)
            return self.added(drawn(self.draw(x)) + drawn(self.colour(x)) * source, memory)
