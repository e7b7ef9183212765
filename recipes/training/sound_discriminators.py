"""Networks that tell decoded sound from real: one looks at waves folded by periods, one at bands of complex spectra.

Kong et al., HiFi-GAN (arXiv 2010.05646), for the periods: pitch shows as columns that agree. Kumar et al., DAC (arXiv 2306.06546), for the
spectra: real and imaginary parts of five bands apart, so that phase counts and quiet treble is not drowned by bass. Deviations: a
quarter of DAC's channels by default, silence instead of reflection at the ends, Hann windows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.1
BANDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # fractions of half the rate
GROWTH = (1, 4, 16, 32)  # of channels, over the layers of a period


class PeriodDiscriminator(nn.Module):
    """Waves (B, 1, T) -> what each layer saw; the last has one number per place, high for real ones."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(width * growth for growth in GROWTH)]
        steps = [_layer(widths[i], widths[i + 1], (5, 1), (3, 1)) for i in range(len(GROWTH))]
        self.layers = nn.ModuleList([*steps, _layer(widths[-1], widths[-1], (5, 1), (1, 1))])
        self.last = _layer(widths[-1], 1, (3, 1), (1, 1))

    def forward(self, wave: Tensor) -> list[Tensor]:
        folded = F.pad(wave, (0, -wave.shape[-1] % self.period)).unflatten(-1, (-1, self.period))
        return _run([*self.layers], self.last, folded)


class SpectrumDiscriminator(nn.Module):
    """The same of the complex spectrum by windows of that many samples, each quarter of one."""

    window: Tensor

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        bins = window // 2 + 1
        self.edges = [round(edge * bins) for edge in BANDS]
        self.bands = nn.ModuleList(nn.ModuleList(_band(width)) for _ in BANDS[1:])
        self.last = _layer(width, 1, (3, 3), (1, 1))

    def forward(self, wave: Tensor) -> list[Tensor]:
        size = len(self.window)
        padded = F.pad(wave[:, 0], (size // 2, size // 2))
        spectrum = torch.stft(padded, size, size // 4, window=self.window, center=False, return_complex=True)
        z = torch.view_as_real(spectrum).permute(0, 3, 2, 1)  # (B, 2, frames, bins)
        seen: list[Tensor] = []
        ends = []
        for layers, low, high in zip(self.bands, self.edges, self.edges[1:], strict=False):
            band = z[..., low:high]
            for layer in layers:  # type: ignore[attr-defined]
                band = F.leaky_relu(layer(band), SLOPE)
                seen.append(band)
            ends.append(band)
        return [*seen, self.last(torch.cat(ends, -1))]


class SoundDiscriminators(nn.Module):
    """All of them: waves (B, 1, T) -> per discriminator what its layers saw."""

    def __init__(self, periods: tuple[int, ...], windows: tuple[int, ...], width: int) -> None:
        super().__init__()
        of_periods = [PeriodDiscriminator(period, width) for period in periods]
        self.networks = nn.ModuleList([*of_periods, *(SpectrumDiscriminator(window, width) for window in windows)])

    def forward(self, wave: Tensor) -> list[list[Tensor]]:
        with torch.autocast(wave.device.type, enabled=False):
            return [network(wave.float()) for network in self.networks]


def _layer(inner: int, outer: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Module:
    return weight_norm(nn.Conv2d(inner, outer, kernel, stride, (kernel[0] // 2, kernel[1] // 2)))


def _band(width: int) -> list[nn.Module]:
    halved = [_layer(width, width, (3, 9), (1, 2)) for _ in range(3)]
    return [_layer(2, width, (3, 9), (1, 1)), *halved, _layer(width, width, (3, 3), (1, 1))]


def _run(layers: list[nn.Module], last: nn.Module, x: Tensor) -> list[Tensor]:
    seen = []
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
        seen.append(x)
    return [*seen, last(x)]
