"""Sizes of the hyperprior codec, and the numbers that its files hang on."""

from __future__ import annotations

from dataclasses import dataclass

from smalti.tokenizers.errors import UsageError

PIXELS = 64.0  # steps of 8 bits to a unit of what the transforms see
STRIDE = 16  # pixels of a latent
HYPER_STRIDE = 64  # pixels of a hyper-latent
SCALES = 64  # entropy tables, by the standard deviation that is foretold
SCALE_LEAST, SCALE_MOST = 0.08, 128.0  # of them, in steps of the quantizer


@dataclass(frozen=True)
class HyperpriorConfig:
    """channels: of the picture's network at 1/8 and 1/16 of each side. latents, hyper: channels that are coded. hidden: of the hyper
    networks. blocks: at 1/8 and 1/16, of the encoder and of the decoder. rates: of the ladder that was trained, ascending."""

    latents: int = 192
    hyper: int = 32
    hidden: int = 48
    channels: tuple[int, int] = (112, 144)
    encoder_blocks: tuple[int, int] = (2, 2)
    decoder_blocks: tuple[int, int] = (3, 2)
    rates: int = 6

    def __post_init__(self) -> None:
        sizes = (self.latents, self.hyper, self.hidden, *self.channels)
        if min(sizes) < 1 or max(sizes) > 1024 or not 2 <= self.rates <= 64:
            raise UsageError(f"a hyperprior has 1 to 1024 channels and 2 to 64 rates, found {sizes} and {self.rates}")
        if 9 * max(self.hyper, self.hidden) > 4096:  # what sums of integer products are bounded by
            raise UsageError(f"a hyper decoder has at most 455 channels, found {max(self.hyper, self.hidden)}")
