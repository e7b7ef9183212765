"""`audio-residual`: sounds of any length and rate <-> frames of tokens in residual levels; dropping levels is the bitrate knob.

The network is causal but for its spectrum, which hears a few milliseconds ahead: long sounds run through it in pieces, with what it
remembers between them, so that memory is bounded by the sound itself, and the same memory makes streams, see `stream.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.tokenizers.audio.delay import Delay, delay_with
from smalti.tokenizers.audio.excerpt import Margins
from smalti.tokenizers.audio.residual_network import AudioResidualConfig, AudioResidualNet
from smalti.tokenizers.audio.sounds import (
    batches_of,
    borders_of,
    from_network,
    grid_of,
    pairs_of,
    piece_of,
    size_of,
    size_of_sound,
    sound_of,
    waves_of,
)
from smalti.tokenizers.audio.stream import DecoderStream, EncoderStream
from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.nets.causal import CausalConv, CausalUpsample, Memory
from smalti.tokenizers.nets.causal_spectrum import CausalWave
from smalti.tokenizers.nets.precision import full_precision
from smalti.tokenizers.nets.stored import filled, halvable, tensors_of
from smalti.tokenizers.signals import Signal
from smalti.tokenizers.tokens import Layout, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

PIECE_FRAMES = 512  # that pass the network at a time: about ten seconds
PAUSE_FRAMES = 50  # of a stretch in which a pause is looked for at first
BATCH_CHANNELS = 8  # of all sounds of about one length together


class AudioResidual:
    """Fulfils `contracts.Tokenizer` for `Audio` signals of one sample and more, at any rate, in 1 to 8 channels.

    piece_frames, batch_channels bound the memory: frames and channels that the network sees at a time.
    """

    config_class: Any = AudioResidualConfig

    def __init__(self, net: AudioResidualNet, fingerprint_of: str | None = None, name: str = "audio-residual", device: str = "cpu") -> None:
        self.net = net.eval().requires_grad_(False).to(device)
        self.config: AudioResidualConfig = net.config
        self.name = name
        self.device = torch.device(device)
        self.folder: Path | None = None  # of the model it was loaded from, for the prior that lies there
        self.piece_frames = PIECE_FRAMES
        self.batch_channels = BATCH_CHANNELS
        self._fingerprint = fingerprint_of

    @classmethod
    def from_config(cls, config: AudioResidualConfig) -> AudioResidual:
        """A tokenizer with untrained weights, from torch's random state."""
        return cls(AudioResidualNet(config))

    @classmethod
    def from_tensors(
        cls, config: AudioResidualConfig, tensors: Mapping[str, np.ndarray], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> AudioResidual:
        """A tokenizer from stored tensors of any float type; ModelError names the first that is missing, unknown or of another shape."""
        return cls(filled(AudioResidualNet(config), tensors, name), fingerprint_of, name, device)

    def tensors(self) -> dict[str, np.ndarray]:
        """All weights and tables by name: what is saved and fingerprinted."""
        return tensors_of(self.net)

    def parameter_names(self) -> set[str]:
        """Tensors that may be stored in half precision: not those of the quantizer."""
        return halvable(self.net)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights."""
        return self._fingerprint or fingerprint(to_dict(self.config), self.tensors())

    @property
    def delay(self) -> Delay:
        """How much later sound can come out than it went in."""
        return delay_with(self.config)

    @property
    def margins(self) -> Margins:
        """Frames before a frame that its sound depends on; where there is a pitch, exact behind a pause of every channel alone."""
        return Margins(_reach(self.net.decoder), 0, PAUSE_FRAMES if self.config.pitch is not None else 0)

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a sound of (("samples", N), ("rate", samples per second), ("channels", C))."""
        size = size_of(signal, self.config.rate, self.name)
        return self.net.layout(grid_of(size, self.config.rate, self.config.hop), ("channel", "time"), size.signal)

    @torch.inference_mode()
    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each sound. Lengths, rates and channels may differ; those of about one length share batches, since nothing that
        comes behind a sound's end, which is repeated, changes it."""
        sounds = [sound_of(signal, self.name) for signal in signals]
        layouts = [self.layout(size_of_sound(sound).signal) for sound in sounds]
        arrays = [tuple(np.zeros(stage.shape, np.int32) for stage in layout.stages) for layout in layouts]
        for batch in batches_of(layouts, self.batch_channels):
            waves = torch.from_numpy(waves_of([sounds[i] for i in batch], self.config.rate, self.config.hop, self.net.ahead))[:, None]
            memory, pairs = Memory(), pairs_of([layouts[i].stages[0].shape[0] for i in batch])
            for piece in self._pieces((waves.shape[-1] - self.net.ahead) // self.config.hop):
                samples = waves[..., piece.start * self.config.hop : piece.stop * self.config.hop + self.net.ahead]
                with full_precision(self.device):
                    levels = self.net.tokenize(samples.to(self.device), memory, pairs)
                for level, indices in enumerate(levels):
                    for i, found in zip(batch, np.split(indices.cpu().numpy(), borders_of(batch, layouts)), strict=True):
                        own = arrays[i][level][:, piece]
                        own[:] = found[:, : own.shape[1]]
        return [Tokens(layout, array) for layout, array in zip(layouts, arrays, strict=True)]

    @torch.inference_mode()
    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """Sounds from tokens or from their first levels, at the rate and of the length that went in."""
        for item in tokens:
            self._check(item)
        layouts = [item.layout for item in tokens]
        sounds: dict[int, Signal] = {}
        for batch in batches_of(layouts, self.batch_channels):
            frames = layouts[batch[0]].stages[0].shape[1]
            rows = sum(layouts[i].stages[0].shape[0] for i in batch)
            memory, waves = Memory(), np.empty((rows, frames * self.config.hop), np.float32)
            for piece in self._pieces(frames):
                levels = [
                    torch.from_numpy(np.concatenate([piece_of(tokens[i].arrays[level], piece) for i in batch])).to(self.device)
                    for level in range(len(layouts[batch[0]].stages))
                ]
                with full_precision(self.device):
                    drawn = self.net.detokenize(levels, memory)[:, 0]
                waves[:, piece.start * self.config.hop : piece.stop * self.config.hop] = drawn.cpu().numpy()
            for i, wave in zip(batch, np.split(waves, borders_of(batch, layouts)), strict=True):
                sounds[i] = from_network(wave, self.config.rate, size_of(layouts[i].signal, self.config.rate, self.name))
        return [sounds[i] for i in range(len(tokens))]

    def stream(self, channels: int = 1) -> EncoderStream:
        """An encoder that takes samples at the network's rate as they come, and gives the tokens of every whole frame."""
        return EncoderStream(self, channels)

    def stream_decoder(self, channels: int = 1) -> DecoderStream:
        """A decoder that takes tokens as they come, and gives the samples of each frame."""
        return DecoderStream(self, channels)

    def _pieces(self, frames: int) -> Iterator[slice]:
        for start in range(0, frames, self.piece_frames):
            yield slice(start, min(start + self.piece_frames, frames))

    def _check(self, tokens: Tokens) -> None:
        tokens.check_prefix_of(self.layout(tokens.layout.signal), self.name)
        tokens.check_unmasked(self.name)


def _reach(decoder: torch.nn.Module) -> int:
    """Frames that its layers see of what has passed, rounded up; layers lie in the order in which they run."""
    seen, scale = 0.0, 1
    for layer in decoder.modules():
        if isinstance(layer, CausalConv):
            seen += layer.context / scale
        elif isinstance(layer, CausalUpsample):
            seen, scale = seen + 1 / scale, scale * layer.stride
        elif isinstance(layer, CausalWave):
            seen += layer.context / scale
    return math.ceil(seen)
