"""Sound as it comes: an encoder and a decoder that work frame by frame and give what the whole sound would have given.

Samples are at the network's own rate; each call takes any number of them, of which `piece_frames` pass the network at a time. Nothing
is held back but the part of a frame that is not whole yet, and what the network hears ahead of one: the delay is that of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.tokenizers.audio.sounds import SoundSize, left_right, mid_side, pairs_of
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.nets.causal import Memory
from smalti.tokenizers.nets.precision import full_precision
from smalti.tokenizers.signals import Array
from smalti.tokenizers.tokens import Tokens

if TYPE_CHECKING:
    from smalti.tokenizers.audio.residual import AudioResidual


class EncoderStream:
    """Samples -> tokens. Their frames, one after the other along time, are those of the whole sound."""

    def __init__(self, tokenizer: AudioResidual, channels: int) -> None:
        self._tokenizer, self._channels, self._memory = tokenizer, channels, Memory()
        self._rest = np.zeros((channels, 0), np.float32)

    def push(self, samples: Array) -> Tokens | None:
        """Tokens of the frames that float32 samples (channels, n) make whole; None where they make none."""
        if samples.ndim != 2 or len(samples) != self._channels or samples.dtype != np.float32 or not np.isfinite(samples).all():
            raise SignalError(f"this stream takes finite float32 samples ({self._channels}, n), found {samples.dtype} {samples.shape}")
        held, hop = np.concatenate([self._rest, samples], 1), self._tokenizer.config.hop
        whole = max(0, held.shape[1] - self._tokenizer.net.ahead) // hop * hop
        self._rest = held[:, whole:].copy()  # and not the whole of a long push
        return self._encoded(held, whole) if whole else None

    def flush(self) -> Tokens | None:
        """Tokens of what is left, whose last sample is repeated as far as they hear, at the end of the stream; None where nothing is.
        The stream starts anew.
        """
        count, hop, ahead = self._rest.shape[1], self._tokenizer.config.hop, self._tokenizer.net.ahead
        tokens = None
        if count:
            followed = np.pad(self._rest, ((0, 0), (0, -count % hop + ahead)), mode="edge")
            tokens = self._encoded(followed, count)
        self._rest, self._memory = self._rest[:, :0], Memory()
        return tokens

    @torch.inference_mode()
    def _encoded(self, samples: Array, count: int) -> Tokens:
        """Of the frames of the first `count` samples, which more follow."""
        tokenizer = self._tokenizer
        layout = tokenizer.layout(SoundSize(count, tokenizer.config.rate, self._channels).signal)
        wave, hop = torch.from_numpy(mid_side(samples))[:, None], tokenizer.config.hop
        frames, step = layout.stages[0].shape[1], tokenizer.piece_frames
        pieces = []
        for start in range(0, frames, step):
            heard = wave[..., start * hop : min(start + step, frames) * hop + tokenizer.net.ahead]
            with full_precision(tokenizer.device):
                levels = tokenizer.net.tokenize(heard.to(tokenizer.device), self._memory, pairs_of([self._channels]))
            pieces.append([level.cpu().numpy().astype(np.int32) for level in levels])
        return Tokens(layout, tuple(np.concatenate(level, 1) for level in zip(*pieces, strict=True)))


class DecoderStream:
    """Tokens, or their first levels, -> samples. How many levels there are may change from call to call."""

    def __init__(self, tokenizer: AudioResidual, channels: int) -> None:
        self._tokenizer, self._channels, self._memory = tokenizer, channels, Memory()

    @torch.inference_mode()
    def push(self, tokens: Tokens) -> Array:
        """float32 samples (channels, n) in [-1, 1] of tokens as the encoder's `push` and `flush` give them."""
        tokenizer, size = self._tokenizer, tokens.layout.size
        expected = tokenizer.layout(tokens.layout.signal)
        if (
            tokens.layout != expected.prefix(len(tokens.arrays))
            or size["channels"] != self._channels
            or size["rate"] != tokenizer.config.rate
        ):
            raise UsageError(f"this stream takes tokens of {self._channels} channels at {tokenizer.config.rate} Hz, found {tokens.layout}")
        tokens.check_unmasked(tokenizer.name)
        pieces, step = [], tokenizer.piece_frames
        for start in range(0, tokens.arrays[0].shape[1], step):
            levels = [torch.from_numpy(array[:, start : start + step].astype(np.int64)).to(tokenizer.device) for array in tokens.arrays]
            with full_precision(tokenizer.device):
                pieces.append(tokenizer.net.detokenize(levels, self._memory)[:, 0].cpu().numpy())
        return np.clip(left_right(np.concatenate(pieces, 1)[:, : size["samples"]]), -1, 1)
