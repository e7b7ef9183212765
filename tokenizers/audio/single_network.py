"""The network of `audio-single`: all layers at frame rate between a spectrum and an inverse spectrum, one codebook in the middle.

Ji et al., "WavTokenizer" (arXiv 2408.16532): one wide codebook at 40 or 75 tokens per second, attention in the decoder, a ConvNeXt
backbone, and the head of Vocos (arXiv 2306.00814), magnitudes and phases of a short-time spectrum. Deviations:

- The encoder reads log magnitudes and phases of the same spectrum, in place of strided convolutions on the waveform: several times as fast.
- Norms are per frame and attention sees a fixed window; GroupNorm and attention over a whole clip, as published, make a token depend on how
  long the clip is and what it is batched with.
- Several short spectra per token, in place of a long one: windows of four hops of 13 ms blur what the short windows of the loss hear.
- Latents are whitened before the codebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.tokenizers import quantizers
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.nets.causal import FrameNorm
from smalti.tokenizers.nets.frames import FrameBlock, FrameConv, WindowAttention, reach, through
from smalti.tokenizers.nets.spectrum import OVERLAP, Spectrum, drawn, heard, quiet_start
from smalti.tokenizers.nets.whitening import SteadyWhitening
from smalti.tokenizers.quantizers import SingleConfig


@dataclass(frozen=True)
class AudioSingleConfig:
    """rate: samples per second that the network works at. hop: samples per token, even.

    encoder_width, decoder_width: channels. encoder_blocks, decoder_blocks: ConvNeXt blocks. attentions: window attentions before the
    decoder's blocks, of `heads` heads, each over attention_frames to each side. fineness: spectra per token, with windows of four
    times their distance; fine_width, fine_blocks: of the decoder's last blocks, one frame per spectrum.
    """

    kind: ClassVar[str] = "audio-single"
    quantizer: SingleConfig
    rate: int = 24000
    hop: int = 320
    encoder_width: int = 192
    decoder_width: int = 256
    encoder_blocks: int = 4
    decoder_blocks: int = 6
    attentions: int = 1
    heads: int = 4
    attention_frames: int = 75
    fineness: int = 4
    fine_width: int = 128
    fine_blocks: int = 2

    def __post_init__(self) -> None:
        if not 1000 <= self.rate <= 192000:
            raise UsageError(f"rate lies in 1000..192000 samples per second, found {self.rate}")
        if self.fineness < 1 or self.hop < 1 or self.hop % (2 * self.fineness):
            raise UsageError(f"hop is positive and divides into `fineness` even numbers, found {self.hop} and {self.fineness}")
        counts = (self.encoder_blocks, self.decoder_blocks, self.attentions, self.fine_blocks)
        if min(self.encoder_width, self.decoder_width, self.fine_width, self.heads, self.attention_frames) < 1 or min(counts) < 0:
            raise UsageError("widths, heads and attention_frames are positive, numbers of blocks not negative")
        if self.decoder_width % (2 * self.heads):
            raise UsageError(f"decoder_width divides into heads of even width, found {self.decoder_width} and {self.heads}")


class AudioSingleNet(nn.Module):
    """See the module's docstring. Waves are float32 (B, 1, T), T in multiples of the hop; a sound's channels are items of the batch.

    ends: int64 (B,), frames of each item, where not all have T / hop; their waves repeat the last sample behind. See `nets.frames`.
    """

    def __init__(self, config: AudioSingleConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = quantizers.build(config.quantizer)
        self.spectrum = Spectrum(config.hop // config.fineness)
        bins, dim, inner, outer = self.spectrum.bins, self.quantizer.dim, config.encoder_width, config.decoder_width
        blocks = [FrameBlock(inner) for _ in range(config.encoder_blocks)]
        self.encoder = nn.Sequential(FrameConv(3 * bins * config.fineness, inner, 1), *blocks, FrameNorm(inner), FrameConv(inner, dim, 1))
        self.norm = SteadyWhitening(dim)
        reads = [WindowAttention(outer, config.heads, config.attention_frames) for _ in range(config.attentions)]
        draws = [FrameBlock(outer) for _ in range(config.decoder_blocks)]
        self.decoder = nn.Sequential(
            FrameConv(dim, outer, 7), *reads, *draws, FrameNorm(outer), FrameConv(outer, config.fine_width * config.fineness, 1)
        )
        fine = [FrameBlock(config.fine_width) for _ in range(config.fine_blocks)]
        self.head = nn.Sequential(*fine, FrameNorm(config.fine_width), FrameConv(config.fine_width, 2 * bins, 1))
        quiet_start(self.head[-1].conv)  # type: ignore[arg-type]

    def encode(self, wave: Tensor, ends: Tensor | None = None) -> Tensor:
        """(B, 1, T) -> latents (B, D, T / hop), white over the training set."""
        spectra = heard(self.spectrum(wave)).unflatten(2, (-1, self.config.fineness))
        return self.norm(through(self.encoder, spectra.movedim(3, 1).flatten(1, 2), ends))

    def decode(self, z_q: Tensor, ends: Tensor | None = None) -> Tensor:
        """Quantized latents -> (B, 1, T); values may leave [-1, 1] a little."""
        fineness = self.config.fineness
        fine_ends = None if ends is None else ends * fineness
        with torch.autocast(z_q.device.type, enabled=False):  # phases in bfloat16 are audible
            fine = through(self.decoder, z_q.float(), ends).unflatten(1, (-1, fineness)).movedim(2, 3).flatten(2)
            return self.spectrum.inverse(drawn(through(self.head, fine, fine_ends)), fine_ends)

    def tokenize(self, wave: Tensor, ends: Tensor | None = None) -> tuple[Tensor, ...]:
        """Indices (B, frames), one stage."""
        return self.quantizer(self.encode(wave, ends)).indices

    def detokenize(self, indices: Sequence[Tensor], ends: Tensor | None = None) -> Tensor:
        """Waves from indices."""
        return self.decode(self.quantizer.dequantize(indices), ends)

    def forward(self, wave: Tensor) -> tuple[Tensor, Quantized]:
        """Reconstruction and what the quantizer says: the training path."""
        z = self.encode(wave)
        with torch.autocast(z.device.type, enabled=False):  # nearest entries need float32
            quantized = self.quantizer(z.float())
        return self.decode(quantized.z_q), quantized

    def freeze_tokens(self) -> None:
        """Stop learning before the decoder: tokens stay what they are while the decoder improves."""
        for part in (self.encoder, self.norm, self.quantizer):
            part.requires_grad_(False)
            part.eval()

    @property
    def encoder_margin(self) -> int:
        """Frames that a stretch of a long sound must see beyond its ends to equal the whole."""
        return reach(self.encoder) + self._frames(OVERLAP // 2)

    @property
    def decoder_margin(self) -> int:
        """The same for the decoder."""
        return reach(self.decoder) + self._frames(reach(self.head) + OVERLAP // 2)

    def _frames(self, spectra: int) -> int:
        """Whole frames that hold so many spectra."""
        return -(-spectra // self.config.fineness)
