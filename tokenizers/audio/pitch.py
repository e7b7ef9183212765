"""Pitch: the stage of `audio-residual` that says how high a voice is, and the network that estimates it.

Frames are heard as generalized autocorrelations (Tolonen and Karjalainen, 2000: the transform of a compressed power spectrum) at the period
of each pitch of a grid, in windows of two lengths; a small causal network reads them, taught what Harvest (Morise, 2017) finds in whole
sounds, see `recipes/fit_pitch.py`. CREPE (Kim et al., arXiv 1802.06182) reads the wave itself, with a hundred times the weights.

A frame's pitch is that of a moment three hops of the spectrum behind its end, so that all that a window of the decoder's reaches is known
when the frame's tokens are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers.audio.delay import OVERLAP, PITCH_WINDOWS
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.nets.causal import CausalConv, FrameNorm, Memory
from smalti.tokenizers.nets.pulses import HIGHEST

ANALYSES = 2  # windows of each length a frame: half a hop before its pitch's moment, and at it
COMPRESSED = 0.5  # power of the power spectrum: magnitudes
PASSED_HZ, STOPPED_HZ, LOWEST_HZ = 2000.0, 2500.0, 40.0  # what of the spectrum counts
TRANSFORM_SECONDS = 0.128
QUIET = 1e-6
FEATURES = 3  # of `pitch_features`
MIDDLE_HZ = 150.0
MOST_NUMBERS = 2**24  # of padded windows at a time: 64 MiB


@dataclass(frozen=True)
class PitchConfig:
    """lowest, highest: hertz of the grid's ends. steps: pitches of the grid, in equal ratios; one more entry, the first, says that there is
    none. windows: seconds. width, layers: of the estimator's network. unvoiced_threshold: probability of no pitch above which there is
    none; above a half, since a decoder that is told of a pitch may leave it alone."""

    lowest: float = 60.0
    highest: float = 500.0
    steps: int = 255
    windows: tuple[float, ...] = PITCH_WINDOWS
    width: int = 128
    layers: int = 2
    unvoiced_threshold: float = 0.7

    def __post_init__(self) -> None:
        if not 20 <= self.lowest < self.highest <= 2000 or not 2 <= self.steps <= 4095:
            found = f"{self.steps} from {self.lowest:g} to {self.highest:g}"
            raise UsageError(f"a grid of pitches has 2..4095 steps from 20 Hz on to 2000 Hz at most, found {found}")
        if not 1 <= len(self.windows) <= 8 or not all(0 < seconds < TRANSFORM_SECONDS for seconds in self.windows):
            raise UsageError(f"1 to 8 windows of pitch last from 0 to {TRANSFORM_SECONDS} s, found {self.windows}")
        if not (1 <= self.width <= 4096 and 0 <= self.layers <= 64 and 0 < self.unvoiced_threshold < 1):
            raise UsageError("a pitch network has a width of 1..4096, 0..64 layers and an unvoiced_threshold between 0 and 1")

    @property
    def vocab(self) -> int:
        """Entries of the stage: none, and the grid."""
        return self.steps + 1

    def sizes(self, rate: int) -> list[int]:
        """The windows in samples, even."""
        return [max(2, 2 * round(seconds * rate / 2)) for seconds in self.windows]

    def ahead(self, step: int, rate: int) -> int:
        """Samples that must follow the last frame."""
        return lead_of(step) + max(self.sizes(rate)) // 2

    def before(self, hop: int, step: int, rate: int) -> int:
        """Samples of a frame before the first that its pitch is heard in; below 0 where windows are too long."""
        return hop + lead_of(step) - (ANALYSES - 1) * hop // ANALYSES - max(self.sizes(rate)) // 2

    def check(self, hop: int, step: int, rate: int) -> None:
        """UsageError where a network of those frames cannot hear these pitches."""
        if hop % ANALYSES:
            raise UsageError(f"frames with a pitch have an even number of samples, found {hop}; change strides")
        if self.highest > HIGHEST * rate / 2:
            raise UsageError(f"pitches lie below {HIGHEST * rate / 2:g} Hz at {rate} samples per second, found highest {self.highest:g}")
        if self.before(hop, step, rate) < 0:
            longest = 2 * (hop + lead_of(step) - (ANALYSES - 1) * hop // ANALYSES) / rate
            raise UsageError(
                f"windows of pitch last {longest:g} s at most in frames of {hop} samples at {rate} Hz, found {max(self.windows):g}"
            )


def lead_of(step: int) -> int:
    """Samples behind a frame's end at which its pitch is told: where the decoder's last window, of hops of `step`, ends."""
    return (OVERLAP - 1) * step


class PitchEstimator(nn.Module):
    """Waves -> entries of the pitch stage, one a frame. hop: samples per frame. step: the spectrum's hop. rate: samples per second."""

    grid: Tensor
    waves: Tensor
    counted: Tensor

    def __init__(self, config: PitchConfig, hop: int, step: int, rate: int) -> None:
        super().__init__()
        self.config, self.hop, self.rate = config, hop, rate
        self.lead, self.sizes = lead_of(step), config.sizes(rate)
        self.before, self.ahead = config.before(hop, step, rate), config.ahead(step, rate)
        self.transform = 2 ** math.ceil(math.log2(TRANSFORM_SECONDS * rate))
        ratio = config.highest / config.lowest
        grid = config.lowest * ratio ** (torch.arange(config.steps, dtype=torch.float64) / (config.steps - 1))
        hertz = torch.arange(self.transform // 2 + 1, dtype=torch.float64) * rate / self.transform
        hertz = hertz[hertz <= STOPPED_HZ]
        counted = ((STOPPED_HZ - hertz) / (STOPPED_HZ - PASSED_HZ)).clamp(max=1) * (hertz >= LOWEST_HZ)
        waves = counted[:, None] * torch.cos(2 * math.pi * hertz[:, None] / grid)
        self.register_buffer("grid", torch.cat([grid.new_zeros(1), grid]), persistent=False)  # float64: phases add up over hours
        self.register_buffer("waves", waves.float(), persistent=False)
        self.register_buffer("counted", counted.float(), persistent=False)
        for number, size in enumerate(self.sizes):
            self.register_buffer(f"window{number}", torch.hann_window(size), persistent=False)
        heard = ANALYSES * len(self.sizes) * (config.steps + 1)
        self.first = CausalConv(heard, config.width, 1)
        self.layers = nn.ModuleList(CausalConv(config.width, config.width, 3) for _ in range(config.layers))
        self.norm = FrameNorm(config.width)
        self.last = nn.Conv1d(config.width, config.vocab, 1)

    def forward(self, wave: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, 1, T * hop + ahead) -> log odds of the entries, float32 (B, vocab, T)."""
        with torch.autocast(wave.device.type, enabled=False):
            x = self.first(self._heard(wave[:, 0].float()), memory)
            for layer in self.layers:
                x = x + layer(F.silu(self.norm(x)), memory)
            return self.last(F.silu(self.norm(x)))

    def entries(self, wave: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, 1, T * hop + ahead) -> indices, int64 (B, T), 0 where there is no pitch."""
        odds = self(wave, memory).softmax(1)
        return torch.where(odds[:, 0] > self.config.unvoiced_threshold, 0, odds[:, 1:].argmax(1) + 1)

    def shared(self, entries: Tensor, wave: Tensor, pairs: tuple[int, ...]) -> Tensor:
        """The same indices where rows n and n + 1, for each n of `pairs`, are mid and side of one sound: both have the pitch of the louder,
        frame by frame. Pulses of one voice then fall together, and what was panned stays where it was."""
        if not pairs:
            return entries
        frames = wave[:, 0, self.lead : self.lead + entries.shape[1] * self.hop].unflatten(-1, (entries.shape[1], self.hop))
        loudness, entries = frames.square().mean(-1), entries.clone()
        for mid in pairs:
            louder = torch.where(loudness[mid + 1] > loudness[mid], entries[mid + 1], entries[mid])
            entries[mid : mid + 2] = louder
        return entries

    def hertz(self, entries: Tensor) -> Tensor:
        """Indices (B, T) -> float64 (B, T), 0 where there is no pitch."""
        return self.grid[entries]

    def _heard(self, wave: Tensor) -> Tensor:
        """float32 (B, all autocorrelations of a frame, T)."""
        frames = (wave.shape[-1] - self.ahead) // self.hop
        rows = max(1, MOST_NUMBERS // (max(frames, 1) * ANALYSES * self.transform))
        return torch.cat([self._autocorrelations(part, frames) for part in wave.split(rows)])

    def _autocorrelations(self, wave: Tensor, frames: int) -> Tensor:
        longest, found = max(self.sizes), []
        for number, size in enumerate(self.sizes):
            start = self.before + (longest - size) // 2
            windows = wave[:, start:].unfold(-1, size, self.hop // ANALYSES)[:, : frames * ANALYSES] * getattr(self, f"window{number}")
            power = torch.fft.rfft(windows, self.transform)[..., : len(self.counted)].abs().pow(2 * COMPRESSED)
            total = (power * self.counted).sum(-1, keepdim=True) + QUIET
            found.append(torch.cat([power @ self.waves / total, 0.1 * torch.log(total)], -1))
        return torch.cat(found, -1).unflatten(1, (frames, ANALYSES)).flatten(2).transpose(1, 2)


def pitch_features(hertz: Tensor) -> Tensor:
    """What a decoder is told of pitches (B, T) in hertz: float32 (B, FEATURES, T): the logarithm of their ratio to the middle, whether
    there is one, and the logarithm's square; all 0 where there is none."""
    voiced = hertz > 0
    height = torch.where(voiced, torch.log(hertz.clamp(min=1) / MIDDLE_HZ), 0.0)
    return torch.stack([height, voiced.double(), height.square()], 1).float()
