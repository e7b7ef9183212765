"""The network of `audio-residual`: a spectrum, causal layers around wide blocks at frame rate, a residual quantizer, a spectrum again.

The shape is that of SoundStream (arXiv 2107.03312), with the Snake of DAC (arXiv 2306.06546) and the head of Vocos (arXiv 2306.00814).
Deviations:

- No layer works on samples: the first stride is that of a short-time spectrum, heard as log magnitudes and phases, drawn as both. It is
  twice as fast as strided convolutions, and after 60 steps it stood where they did after 500. What is heard reaches three of its hops
  ahead, so that no window is drawn before what lies in it is known.
- Latents start as principal components of the frames' log magnitudes, larger ones larger (see `fit_start`), beside which the encoder
  starts at 0. Whitened latents, as pictures have them, drifted in batches of a few sounds: their mean moves faster than an average
  follows it, and all of them came to lie on one entry.
- Levels share one space of `dim` numbers; DAC has a projection per level in place of it. What each entry is, averages learn.
- With `pitch`, a stage before the levels says how high the voice is, and the decoder colours pulses at that pitch beside what it draws by
  itself: which phases a voice has it cannot know from spectra, and without them harmonics blur (see `pitch.py`, `nets/pulses.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalti.tokenizers import quantizers
from smalti.tokenizers.audio.pitch import FEATURES, PitchConfig, PitchEstimator, pitch_features
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.nets.causal import (
    CausalConv,
    CausalStack,
    CausalUnit,
    CausalUpsample,
    CausalWideBlock,
    FrameNorm,
    Memory,
    Snake,
    zero,
)
from smalti.tokenizers.nets.causal_spectrum import AheadSpectrum, CausalVoice, CausalWave
from smalti.tokenizers.nets.pulses import Pulses
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.quantizers.dropout import latents_for_decoder
from smalti.tokenizers.tokens import Layout, Stage

DILATIONS = (1, 3)
FLATNESS = 0.5  # power of their variances that principal components are given: 1 leaves them as they are, 0 makes them white


@dataclass(frozen=True)
class AudioResidualConfig:
    """rate: samples per second that the network works at. strides: from the waveform down, that of the spectrum first; their product is the
    samples of a frame.

    widths: channels behind each stride. encoder_blocks, decoder_blocks: wide blocks at frame rate. pitch: of the stage that tells it; None
    for none.
    """

    kind: ClassVar[str] = "audio-residual"
    quantizer: ResidualConfig
    rate: int = 16000
    strides: tuple[int, ...] = (80, 4)
    widths: tuple[int, ...] = (160, 256)
    encoder_blocks: int = 2
    decoder_blocks: int = 5
    pitch: PitchConfig | None = None

    def __post_init__(self) -> None:
        if not 1000 <= self.rate <= 192000:
            raise UsageError(f"rate lies in 1000..192000 samples per second, found {self.rate}")
        if not self.strides or min(self.strides) < 1 or len(self.widths) != len(self.strides) or min(self.widths) < 1:
            raise UsageError(f"widths and strides have one positive entry each per step, found {self.widths} and {self.strides}")
        if min(self.encoder_blocks, self.decoder_blocks) < 0:
            raise UsageError("numbers of blocks are not negative")
        if self.pitch is not None:
            self.pitch.check(self.hop, self.strides[0], self.rate)

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)


class AudioResidualNet(nn.Module):
    """See the module's docstring. Waveforms are float32 (B, 1, T), T in multiples of the hop; a sound's channels are items of the batch."""

    centre: Tensor
    components: Tensor

    def __init__(self, config: AudioResidualConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = quantizers.build(config.quantizer)
        self.spectrum = AheadSpectrum(config.strides[0])
        loudness = self.spectrum.bins * config.hop // config.strides[0]
        if self.quantizer.dim > loudness:
            raise UsageError(
                f"latents have at most the {loudness} numbers that a frame's spectra hold, found a codebook of {self.quantizer.dim}"
            )
        self.register_buffer("centre", torch.zeros(loudness))
        self.register_buffer("components", torch.randn(self.quantizer.dim, loudness) / math.sqrt(loudness))
        self.encoder = _encoder(config, self.quantizer.dim, 3 * self.spectrum.bins)
        self.pitch: PitchEstimator | None = None
        self.pulses: Pulses | None = None
        if config.pitch is not None:
            self.pitch = PitchEstimator(config.pitch, config.hop, config.strides[0], config.rate)
            self.pitch.requires_grad_(False)  # `recipes.fit_pitch` teaches it, and nothing else does
            self.pulses = Pulses(config.hop, self.pitch.lead, config.rate)
        self.decoder = _decoder(config, self.quantizer.dim)

    def encode(self, wave: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, 1, T + ahead) -> latents (B, D, T / hop)."""
        spectra = self.spectrum(wave[..., : wave.shape[-1] - self.ahead + self.spectrum.ahead])
        with torch.autocast(wave.device.type, enabled=False):  # in bfloat16 latents would be others than those that are coded
            plain = F.linear(self._loudness(spectra) - self.centre, self.components).transpose(1, 2)
        return plain + self.encoder(spectra, memory)

    def _loudness(self, spectra: Tensor) -> Tensor:
        """(B, T / hop, bins x spectra per frame): log magnitudes."""
        loudness = spectra[:, : self.spectrum.bins].unflatten(2, (-1, self.config.hop // self.config.strides[0]))
        return loudness.movedim(1, 3).flatten(2)

    @torch.no_grad()
    def fit_start(self, waves: Tensor) -> None:
        """Let latents be principal components of the log magnitudes of waves (N, 1, T), beside which the encoder starts at 0."""
        rows = torch.cat(
            [self._loudness(self.spectrum(self._followed(part, self.spectrum.ahead))).flatten(0, 1) for part in waves.split(16)]
        )
        self.centre.copy_(rows.mean(0))
        centred = rows - self.centre
        variances, directions = torch.linalg.eigh(centred.t() @ centred / len(rows))
        variances, directions = (part.flip(-1)[..., : self.quantizer.dim] for part in (variances, directions))
        variances = variances.clamp(min=max(1e-6 * float(variances[0]), 1e-12))  # of silence too
        sizes = variances ** (FLATNESS / 2)
        scale = sizes / variances.sqrt() / sizes.square().mean().sqrt()
        self.components.copy_(scale[:, None] * directions.t())

    def decode(self, z_q: Tensor, pitch: Tensor | None = None, memory: Memory | None = None) -> Tensor:
        """Quantized latents (B, D, frames), and entries (B, frames) of the pitch stage where there is one -> (B, 1, T); values may leave
        [-1, 1] a little."""
        if self.pitch is None or self.pulses is None:
            return self.decoder(z_q, memory)
        assert pitch is not None, "a network with pitches is told them"
        hertz = self.pitch.hertz(pitch)
        *layers, voice = self.decoder
        assert isinstance(voice, CausalVoice)
        x = torch.cat([z_q, pitch_features(hertz).to(z_q.dtype)], 1)
        for layer in layers:
            x = layer(x, memory)
        return voice.voiced(x, self.pulses(hertz, memory, somewhere=self.training), memory)

    def layout(self, grid: tuple[int, ...], axes: tuple[str, ...], signal: tuple[tuple[str, int], ...]) -> Layout:
        """Pitch, if there is one, then the levels; it decodes with one level at least."""
        levels = self.quantizer.layout(grid, axes, signal)
        if self.config.pitch is None:
            return levels
        pitch = Stage("pitch", tuple(zip(axes, grid, strict=True)), self.config.pitch.vocab)
        return Layout((pitch, *levels.stages), tuple(cut + 1 for cut in levels.cuts), signal)

    def tokenize(self, wave: Tensor, memory: Memory | None = None, pairs: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
        """(B, 1, T + ahead) -> indices (B, frames) per stage. pairs: each row that is the mid of a sound whose side is the next row."""
        levels = self.quantizer(self.encode(wave, memory)).indices
        if self.pitch is None:
            return levels
        pitch = self.pitch.entries(self._for_pitch(wave), memory)
        return (self.pitch.shared(pitch, wave, pairs), *levels)

    def detokenize(self, indices: Sequence[Tensor], memory: Memory | None = None) -> Tensor:
        """Indices (B, frames) of all stages or of a prefix -> (B, 1, T)."""
        pitch, levels = (None, indices) if self.pitch is None else (indices[0], indices[1:])
        return self.decode(self.quantizer.dequantize(levels), pitch, memory)

    def forward(self, wave: Tensor) -> tuple[Tensor, Quantized]:
        """Reconstruction of (B, 1, T) and what the quantizer says: the training path. Where there is pitch, which hears far ahead, the last
        frames of the wave are what follows the others, and are not drawn."""
        if self.pitch is None:
            wave = self._followed(wave, self.ahead)
        else:
            frames = (wave.shape[-1] - self.ahead) // self.config.hop
            wave = wave[..., : frames * self.config.hop + self.ahead]
        z = self.encode(wave)
        with torch.autocast(z.device.type, enabled=False):  # nearest entries need float32
            quantized = self.quantizer(z.float())
        pitch = None
        if self.pitch is not None:
            with torch.no_grad():
                pitch = self.pitch.entries(self._for_pitch(wave))
        return self.decode(latents_for_decoder(self.quantizer, quantized, self.training), pitch), quantized

    @property
    def ahead(self) -> int:
        """Samples that the encoder must be given beyond the last frame."""
        return max(self.spectrum.ahead, self.pitch.ahead if self.pitch is not None else 0)

    def _for_pitch(self, wave: Tensor) -> Tensor:
        assert self.pitch is not None
        return wave[..., : wave.shape[-1] - self.ahead + self.pitch.ahead]

    def _followed(self, wave: Tensor, count: int) -> Tensor:
        """Followed by its last sample, as at a sound's end."""
        return F.pad(wave, (0, count), mode="replicate")

    def freeze_tokens(self) -> None:
        """Stop learning before the decoder: tokens stay what they are while the decoder improves."""
        for part in (self.encoder, self.quantizer, self.pitch):
            if part is not None:
                part.requires_grad_(False)
                part.eval()


def _encoder(config: AudioResidualConfig, dim: int, numbers: int) -> CausalStack:
    layers: list[nn.Module] = [CausalConv(numbers, config.widths[0], 1)]
    for stride, width, coarser in zip(config.strides[1:], config.widths, config.widths[1:], strict=False):
        layers += [CausalUnit(width, dilation) for dilation in DILATIONS]
        layers += [Snake(width), CausalConv(width, coarser, 2 * stride, stride)]
    last = config.widths[-1]
    layers += [CausalWideBlock(last) for _ in range(config.encoder_blocks)]
    final = CausalConv(last, dim, 3)
    zero(final.conv)
    return CausalStack(*layers, FrameNorm(last), final)


def _decoder(config: AudioResidualConfig, dim: int) -> CausalStack:
    told_of = 0 if config.pitch is None else FEATURES
    layers: list[nn.Module] = [CausalConv(dim + told_of, config.widths[-1], 3)]
    layers += [CausalWideBlock(config.widths[-1]) for _ in range(config.decoder_blocks)]
    for stride, coarser, width in zip(config.strides[:0:-1], config.widths[:0:-1], config.widths[-2::-1], strict=True):
        layers += [Snake(coarser), CausalUpsample(coarser, width, stride)]
        layers += [CausalUnit(width, dilation) for dilation in DILATIONS]
    wave = CausalWave if config.pitch is None else CausalVoice
    return CausalStack(*layers, FrameNorm(config.widths[0]), wave(config.strides[0], config.widths[0]))
