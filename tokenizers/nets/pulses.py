"""Pulses at a voice's pitch, what a decoder colours into vowels: harmonics of one height each, whose phases never jump.

A source and a filter, as in Wang et al., "Neural source-filter waveform models" (arXiv 1904.12088) and DDSP (Engel et al., arXiv
2001.04643): a network that draws spectra frame by frame cannot go on with a phase that it was never told, so that harmonics blur; pulses
go on by themselves. Cosines in phase add up in closed form (Dirichlet's kernel), so that as many as fit below half the rate cost what one
does. Deviation: no sine bank, no noise, and the filter is the spectrum that the network draws, see `causal_spectrum.py`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from smalti.tokenizers.nets.causal import Memory

HIGHEST = 0.97  # part of half the rate that harmonics may reach
LEVEL = 0.1  # root mean square of pulses: spectra of windows of 20 ms are then about 1 high
NEAR_A_PULSE = 1e-7


class Pulses(nn.Module):
    """Pitches (B, T) in hertz, 0 where there is none -> samples float32 (B, ahead + T * hop), of which the first `ahead` are the last ones
    of the call before.

    A frame's pitch is that of the moment `ahead` samples behind its end: what lies before is known when its tokens are. Between two
    pitches lies a straight line; where a voice begins or ends, its loudness rises or falls along one, and each begins with a pulse, so
    that what came before a pause does not matter.
    """

    def __init__(self, hop: int, ahead: int, rate: int) -> None:
        super().__init__()
        self.hop, self.ahead, self.rate = hop, ahead, rate

    def forward(self, hertz: Tensor, memory: Memory | None = None, somewhere: bool = False) -> Tensor:
        """somewhere: start anywhere between two pulses, as a crop of a longer sound does."""
        hertz = hertz.double()
        state = memory.held(self) if memory is not None else None
        if state is None:
            state = self._start(hertz[:, 0], somewhere)
        last, phase, past = state[:, :1], state[:, 1:2], state[:, 2:].float()
        before = torch.cat([last, hertz[:, :-1]], 1)
        first = torch.where(before > 0, before, hertz)  # a voice that begins does so at its pitch, one that ends keeps it
        final = torch.where(hertz > 0, hertz, before)
        steps = torch.arange(1, self.hop + 1, dtype=torch.float64, device=hertz.device)
        turns = (first[..., None] * steps + (final - first)[..., None] * (steps * (steps + 1) / (2 * self.hop))) / self.rate
        starts = _since_pauses(turns[..., -1], (before == 0) & (hertz > 0), phase)
        loudness = torch.lerp((before > 0).double()[..., None], (hertz > 0).double()[..., None], steps / self.hop)
        drawn = self._drawn((starts[..., None] + turns) % 1, torch.maximum(first, final)[..., None]) * loudness
        samples = torch.cat([past, drawn.flatten(1).float()], 1)
        if memory is not None:
            ends = torch.stack([hertz[:, -1], (starts[:, -1] + turns[:, -1, -1]) % 1], 1)
            memory.hold(self, torch.cat([ends, samples[:, samples.shape[1] - self.ahead :].double()], 1))
        return samples

    def _start(self, hertz: Tensor, somewhere: bool) -> Tensor:
        """What lies before the first frame: its pitch, as long as `ahead`. (B, 2 + ahead): pitch, phase behind it, samples."""
        steps = torch.arange(self.ahead + 1, dtype=torch.float64, device=hertz.device)
        begun = torch.rand(len(hertz), 1, dtype=torch.float64, device=hertz.device) if somewhere else 0.0
        phases = (begun + hertz[:, None] * steps / self.rate) % 1
        drawn = self._drawn(phases[:, 1:], hertz[:, None]) * (hertz[:, None] > 0)
        return torch.cat([hertz[:, None], phases[:, -1:], drawn], 1)

    def _drawn(self, phases: Tensor, hertz: Tensor) -> Tensor:
        """Cosines of all multiples of phases (in turns) up to the highest, of one root mean square at every pitch."""
        harmonics = (HIGHEST * self.rate / 2 / hertz.clamp(min=1)).floor().clamp(min=1)
        half = torch.sin(math.pi * phases)
        near = half.abs() < NEAR_A_PULSE
        kernel = torch.where(near, 2 * harmonics + 1, torch.sin(math.pi * (2 * harmonics + 1) * phases) / torch.where(near, 1.0, half))
        return (kernel - 1) * torch.rsqrt(2 * harmonics) * LEVEL


def _since_pauses(turns: Tensor, begins: Tensor, phase: Tensor) -> Tensor:
    """Phases (B, T) at the starts of frames that last `turns` (B, T) turns each: 0 where a voice begins, `phase` (B, 1) at the first."""
    passed = phase + torch.cat([torch.zeros_like(phase), turns.cumsum(1)[:, :-1]], 1)
    frames = torch.arange(turns.shape[1], device=turns.device).expand_as(turns)
    begun = torch.where(begins, frames, -1).cummax(1).values
    return passed - torch.where(begun < 0, 0.0, passed.gather(1, begun.clamp(min=0)))
