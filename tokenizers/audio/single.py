"""`audio-single`: sounds of any length and rate <-> one stage of tokens, 40 or 75 a second.

Long sounds run through the network in stretches that overlap by what it looks to each side: memory is bounded by the sound itself, and the
result equals the whole's to float rounding. It looks ahead, so there is no stream of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.tokenizers.audio.delay import Delay, delay_with
from smalti.tokenizers.audio.excerpt import Margins
from smalti.tokenizers.audio.single_network import AudioSingleConfig, AudioSingleNet
from smalti.tokenizers.audio.sounds import (
    batches_of,
    borders_of,
    from_network,
    grid_of,
    piece_of,
    size_of,
    size_of_sound,
    sound_of,
    waves_of,
)
from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.nets.precision import full_precision
from smalti.tokenizers.nets.stored import filled, halvable, tensors_of
from smalti.tokenizers.signals import Signal
from smalti.tokenizers.tokens import Layout, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

PIECE_FRAMES = 512  # that pass the network at a time, without their margins
BATCH_CHANNELS = 8  # of all sounds of about one length together


@dataclass(frozen=True)
class Stretch:
    """Frames of a sound: `inner` is wanted, `outer` is seen, `trim` is the wanted part of what comes out."""

    inner: slice
    outer: slice

    @property
    def trim(self) -> slice:
        return slice(self.inner.start - self.outer.start, self.inner.stop - self.outer.start)


class AudioSingle:
    """Fulfils `contracts.Tokenizer` for `Audio` signals of one sample and more, at any rate, in 1 to 8 channels.

    piece_frames, batch_channels bound the memory: frames, without margins, and channels that the network sees at a time.
    """

    config_class: Any = AudioSingleConfig

    def __init__(self, net: AudioSingleNet, fingerprint_of: str | None = None, name: str = "audio-single", device: str = "cpu") -> None:
        self.net = net.eval().requires_grad_(False).to(device)
        self.config: AudioSingleConfig = net.config
        self.name = name
        self.device = torch.device(device)
        self.folder: Path | None = None  # of the model it was loaded from, for the prior that lies there
        self.piece_frames = PIECE_FRAMES
        self.batch_channels = BATCH_CHANNELS
        self._fingerprint = fingerprint_of

    @classmethod
    def from_config(cls, config: AudioSingleConfig) -> AudioSingle:
        """A tokenizer with untrained weights, from torch's random state."""
        return cls(AudioSingleNet(config))

    @classmethod
    def from_tensors(
        cls, config: AudioSingleConfig, tensors: Mapping[str, np.ndarray], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> AudioSingle:
        """A tokenizer from stored tensors of any float type; ModelError names the first that is missing, unknown or of another shape."""
        return cls(filled(AudioSingleNet(config), tensors, name), fingerprint_of, name, device)

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
        """Frames to each side of a frame that its sound depends on."""
        return Margins(self.net.decoder_margin, self.net.decoder_margin)

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a sound of (("samples", N), ("rate", samples per second), ("channels", C))."""
        size = size_of(signal, self.config.rate, self.name)
        return self.net.quantizer.layout(grid_of(size, self.config.rate, self.config.hop), ("channel", "time"), size.signal)

    @torch.inference_mode()
    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each sound. Lengths, rates and channels may differ; those of about one length share batches, in which nothing behind
        a sound's end counts."""
        sounds = [sound_of(signal, self.name) for signal in signals]
        layouts = [self.layout(size_of_sound(sound).signal) for sound in sounds]
        arrays = [tuple(np.zeros(stage.shape, np.int32) for stage in layout.stages) for layout in layouts]
        hop = self.config.hop
        for batch in batches_of(layouts, self.batch_channels):
            waves = torch.from_numpy(waves_of([sounds[i] for i in batch], self.config.rate, hop))[:, None]
            for stretch in self._stretches(waves.shape[-1] // hop, self.net.encoder_margin):
                samples = waves[..., stretch.outer.start * hop : stretch.outer.stop * hop]
                ends = self._ends([layouts[i] for i in batch], stretch)
                with full_precision(self.device):
                    stages = self.net.tokenize(samples.to(self.device), ends)
                for stage, indices in enumerate(stages):
                    wanted = indices[:, stretch.trim].cpu().numpy()
                    for i, found in zip(batch, np.split(wanted, borders_of(batch, layouts)), strict=True):
                        own = arrays[i][stage][:, stretch.inner]
                        own[:] = found[:, : own.shape[1]]
        return [Tokens(layout, array) for layout, array in zip(layouts, arrays, strict=True)]

    @torch.inference_mode()
    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """Sounds from tokens, at the rate and of the length that went in."""
        for item in tokens:
            self._check(item)
        layouts = [item.layout for item in tokens]
        sounds: dict[int, Signal] = {}
        hop = self.config.hop
        for batch in batches_of(layouts, self.batch_channels):
            frames = layouts[batch[0]].stages[0].shape[1]
            waves = np.empty((sum(layouts[i].stages[0].shape[0] for i in batch), frames * hop), np.float32)
            for stretch in self._stretches(frames, self.net.decoder_margin):
                stages = [
                    torch.from_numpy(np.concatenate([piece_of(tokens[i].arrays[k], stretch.outer) for i in batch])).to(self.device)
                    for k in range(len(layouts[batch[0]].stages))
                ]
                ends = self._ends([layouts[i] for i in batch], stretch)
                with full_precision(self.device):
                    drawn = self.net.detokenize(stages, ends)[:, 0].cpu().numpy()
                waves[:, stretch.inner.start * hop : stretch.inner.stop * hop] = drawn[
                    :, stretch.trim.start * hop : stretch.trim.stop * hop
                ]
            for i, wave in zip(batch, np.split(waves, borders_of(batch, layouts)), strict=True):
                sounds[i] = from_network(wave, self.config.rate, size_of(layouts[i].signal, self.config.rate, self.name))
        return [sounds[i] for i in range(len(tokens))]

    def _ends(self, layouts: Sequence[Layout], stretch: Stretch) -> torch.Tensor | None:
        """Of a stretch of a batch, frames of each channel: 1 where a sound has ended before. None where no sound ends within."""
        shapes = [layout.stages[0].shape for layout in layouts]
        outer = stretch.outer
        if all(frames >= outer.stop for _, frames in shapes):
            return None
        found = [min(max(frames - outer.start, 1), outer.stop - outer.start) for channels, frames in shapes for _ in range(channels)]
        return torch.tensor(found, device=self.device)

    def _stretches(self, frames: int, margin: int) -> Iterator[Stretch]:
        for start in range(0, frames, self.piece_frames):
            stop = min(start + self.piece_frames, frames)
            yield Stretch(slice(start, stop), slice(max(0, start - margin), min(frames, stop + margin)))

    def _check(self, tokens: Tokens) -> None:
        tokens.check_prefix_of(self.layout(tokens.layout.signal), self.name)
        tokens.check_unmasked(self.name)
