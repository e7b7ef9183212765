"""Pitch: the stage of `audio-residual` that says how high a voice is, and the network that hears it.

Frames are heard as generalized autocorrelations (Tolonen and Karjalainen, 2000: the transform of a compressed power spectrum) at the period
of each pitch of a grid, in windows of two lengths; a small causal network reads them, taught what Harvest (Morise, 2017) finds in whole
sounds, see `recipes/fit_pitch.py`. CREPE (Kim et al., arXiv 1802.06182) reads the wave itself, with a hundred times the weights.

A frame's pitch is that of a moment `LEAD_HOPS` hops of the spectrum behind its end, so that all that a window of the decoder's reaches is
known when the frame's tokens are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.nets.causal import CausalConv, FrameNorm, Memory
from smalti.tokenizers.nets.spectrum import OVERLAP

LEAD_HOPS = OVERLAP - 1
LOOKS = 2  # at each frame: half a hop before its pitch's moment, and at it
COMPRESSED = 0.5  # power of the power spectrum: magnitudes
PASSED_HZ, STOPPED_HZ, LOWEST_HZ = 2000.0, 2500.0, 40.0  # what of the spectrum counts
TRANSFORM_SECONDS = 0.128
QUIET = 1e-6
FEATURES = 3  # that the decoder is told of a pitch
MIDDLE_HZ = 150.0


@dataclass(frozen=True)
class PitchConfig:
    """lowest, highest: hertz of the grid's ends. steps: pitches of the grid, in equal ratios; one more entry, the first, says that there is
    none. windows: seconds. width, layers: of the network that listens. surest: probability from which on there is no pitch; above a half,
    since a decoder that is told of one may leave it alone."""

    lowest: float = 60.0
    highest: float = 500.0
    steps: int = 255
    windows: tuple[float, ...] = (0.03, 0.048)
    width: int = 128
    layers: int = 2
    surest: float = 0.7

    def __post_init__(self) -> None:
        if not 20 <= self.lowest < self.highest <= 2000 or not 2 <= self.steps <= 4095:
            found = f"{self.steps} from {self.lowest:g} to {self.highest:g}"
            raise UsageError(f"a grid of pitches has 2..4095 steps from 20 Hz on to 2000 Hz at most, found {found}")
        if not self.windows or not 0 < min(self.windows) <= max(self.windows) < TRANSFORM_SECONDS:
            raise UsageError(f"windows of pitch last from 0 to {TRANSFORM_SECONDS} s, found {self.windows}")
        if self.width < 1 or self.layers < 0 or not 0 < self.surest < 1:
            raise UsageError("a pitch network has width >= 1, layers >= 0 and surest between 0 and 1")

    @property
    def vocab(self) -> int:
        """Entries of the stage: none, and the grid."""
        return self.steps + 1


class PitchEstimator(nn.Module):
    """Waves -> entries of the pitch stage, one a frame. hop: samples per frame. step: the spectrum's hop. rate: samples per second."""

    grid: Tensor
    waves: Tensor
    counted: Tensor

    def __init__(self, config: PitchConfig, hop: int, step: int, rate: int) -> None:
        super().__init__()
        self.config, self.hop, self.rate = config, hop, rate
        self.lead = LEAD_HOPS * step
        self.sizes = [max(2, 2 * round(seconds * rate / 2)) for seconds in config.windows]
        self.transform = 2 ** math.ceil(math.log2(TRANSFORM_SECONDS * rate))
        self.look = hop // LOOKS
        if hop % LOOKS or self.before < 0:
            frame = f"frames of {hop} samples at {rate} Hz"
            raise UsageError(f"windows of pitch begin within their frame: {max(config.windows):g} s are too long for {frame}")
        ratio = config.highest / config.lowest
        grid = config.lowest * ratio ** (torch.arange(config.steps, dtype=torch.float64) / (config.steps - 1))
        hertz = torch.arange(self.transform // 2 + 1, dtype=torch.float64) * rate / self.transform
        hertz = hertz[hertz <= STOPPED_HZ]
        counted = ((STOPPED_HZ - hertz) / (STOPPED_HZ - PASSED_HZ)).clamp(max=1) * (hertz >= LOWEST_HZ)
        waves = counted[:, None] * torch.cos(2 * math.pi * hertz[:, None] / grid)
        self.register_buffer("grid", torch.cat([grid.new_zeros(1), grid]), persistent=False)
        self.register_buffer("waves", waves.float(), persistent=False)
        self.register_buffer("counted", counted.float(), persistent=False)
        for number, size in enumerate(self.sizes):
            self.register_buffer(f"window{number}", torch.hann_window(size), persistent=False)
        heard = LOOKS * len(self.sizes) * (config.steps + 1)
        self.first = CausalConv(heard, config.width, 1)
        self.layers = nn.ModuleList(CausalConv(config.width, config.width, 3) for _ in range(config.layers))
        self.norm = FrameNorm(config.width)
        self.last = nn.Conv1d(config.width, config.vocab, 1)

    @property
    def before(self) -> int:
        """Samples of a frame before the first that its pitch is heard in."""
        return self.hop + self.lead - (LOOKS - 1) * self.look - max(self.sizes) // 2

    @property
    def ahead(self) -> int:
        """Samples that must follow the last frame."""
        return self.lead + max(self.sizes) // 2

    def forward(self, wave: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, 1, T * hop + ahead) -> log odds of the entries, float32 (B, vocab, T)."""
        with torch.autocast(wave.device.type, enabled=False):
            x = self.first(self._heard(wave[:, 0].float()), memory)
            for layer in self.layers:
                x = x + layer(F.silu(self.norm(x)), memory)
            return self.last(F.silu(self.norm(x)))

    def entries(self, wave: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, 1, T * hop + ahead) -> indices (B, T)."""
        odds = self(wave, memory).softmax(1)
        return torch.where(odds[:, 0] > self.config.surest, 0, odds[:, 1:].argmax(1) + 1)

    def hertz(self, entries: Tensor) -> Tensor:
        """Indices (B, T) -> float64 (B, T), 0 where there is no pitch."""
        return self.grid[entries]

    def _heard(self, wave: Tensor) -> Tensor:
        frames = (wave.shape[-1] - self.ahead) // self.hop
        longest, seen = max(self.sizes), []
        for number, size in enumerate(self.sizes):
            start = self.before + (longest - size) // 2
            looks = wave[:, start:].unfold(-1, size, self.look)[:, : frames * LOOKS] * getattr(self, f"window{number}")
            power = torch.fft.rfft(looks, self.transform)[..., : len(self.counted)].abs().pow(2 * COMPRESSED)
            total = (power * self.counted).sum(-1, keepdim=True) + QUIET
            seen.append(torch.cat([power @ self.waves / total, 0.1 * torch.log(total)], -1))
        return torch.cat(seen, -1).unflatten(1, (frames, LOOKS)).flatten(2).transpose(1, 2)


def told(hertz: Tensor) -> Tensor:
    """What a decoder is told of pitches (B, T): float32 (B, FEATURES, T): logarithm of the ratio to the middle, whether there is one, the
    logarithm's square."""
    voiced = hertz > 0
    height = torch.where(voiced, torch.log(hertz.clamp(min=1) / MIDDLE_HZ), 0.0)
    return torch.stack([height, voiced.double(), height.square()], 1).float()
