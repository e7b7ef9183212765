"""`video-causal`: films of any size and length <-> a grid of tokens over time, rows and columns, in several levels.

Causal: the first picture alone, then groups of pictures, each of which depends on what came before it and not on what comes after. So a
still image is a film of one picture, a film of any length passes in bounded memory, and a stream is worked on as it comes (`stream.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.nets.stored import filled, halvable, tensors_of
from smalti.tokenizers.signals import Array, Signal, Video
from smalti.tokenizers.tokens import Layout, Tokens
from smalti.tokenizers.video.films import FilmSize, pieces, rate_of, size_of, video_of
from smalti.tokenizers.video.network import VideoCausalConfig, VideoCausalNet
from smalti.tokenizers.video.stream import AXES, DecoderStream, EncoderStream
from smalti.tokenizers.zoo.fingerprint import fingerprint

PASS_GROUPS = 8  # that pass the network at a time on an accelerator; a CPU works on one, and gains nothing by more


class VideoCausal:
    """Fulfils `contracts.Tokenizer` for `Video` signals of any number of pictures, and for an `Image` as a film of one.

    pass_groups bounds the memory: groups of pictures that the network sees at a time.
    """

    config_class: Any = VideoCausalConfig

    def __init__(self, net: VideoCausalNet, fingerprint_of: str | None = None, name: str = "video-causal", device: str = "cpu") -> None:
        import torch

        self.net = net.eval().requires_grad_(False).to(device)
        self.config: VideoCausalConfig = net.config
        self.name = name
        self.device = torch.device(device)
        self.folder: Path | None = None  # of the model it was loaded from, for the prior that lies there
        self.pass_groups = 1 if self.device.type == "cpu" else PASS_GROUPS
        self._fingerprint = fingerprint_of

    @classmethod
    def from_config(cls, config: VideoCausalConfig) -> VideoCausal:
        """A tokenizer with untrained weights, from torch's random state."""
        return cls(VideoCausalNet(config))

    @classmethod
    def from_tensors(
        cls, config: VideoCausalConfig, tensors: Mapping[str, np.ndarray], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> VideoCausal:
        """A tokenizer from stored tensors of any float type; ModelError names the first that is missing, unknown or of another shape."""
        return cls(filled(VideoCausalNet(config), tensors, name), fingerprint_of, name, device)

    def tensors(self) -> dict[str, np.ndarray]:
        """All weights and tables by name: what is saved and fingerprinted."""
        return tensors_of(self.net)

    def parameter_names(self) -> set[str]:
        """Tensors that may be stored in half precision: not those of the quantizer."""
        return halvable(self.net)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(to_dict(self.config), self.tensors())
        return self._fingerprint

    @property
    def reach(self) -> int:
        """Groups before a group that its pictures depend on."""
        return self.net.reach

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a film of (("frames", N), ("height", H), ("width", W), ("rate_num", n), ("rate_den", d)), n / d pictures a second."""
        size = size_of(signal, self.name)
        grid = (self.config.latent_frames(size.frames), *size.padded(self.config.stride))
        return self.net.quantizer.layout(grid, AXES, size.signal)

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each film, read once, a few groups of pictures at a time. SignalError where one has no pictures, or several sizes."""
        return [self._encode_one(video_of(signal, self.name)) for signal in signals]

    def _encode_one(self, video: Video) -> Tokens:
        stream = EncoderStream(self, Fraction(1))
        found = [stream.push(frames) for frames in pieces(video, self.pass_groups * self.config.group)]
        parts = [part for part in (*found, stream.flush()) if part is not None]
        if not parts:
            raise SignalError("a film has at least one picture, found none")
        frames = sum(part.layout.size["frames"] for part in parts)
        first = parts[0].layout.size
        size = FilmSize(frames, first["height"], first["width"], rate_of(video, frames))
        return Tokens(
            self.layout(size.signal), tuple(np.concatenate(stage) for stage in zip(*(part.arrays for part in parts), strict=True))
        )

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """Films of tokens or of decodable prefixes of them; their pictures are drawn while one goes through them, as often as one does."""
        for item in tokens:
            item.check_prefix_of(self.layout(item.layout.signal), self.name)
            item.check_unmasked(self.name)
        sizes = [size_of(item.layout.signal, self.name) for item in tokens]
        return [Video(Drawn(self, item, 0, size.frames), size.rate) for item, size in zip(tokens, sizes, strict=True)]

    def stream(self, rate: Fraction = Fraction(25)) -> EncoderStream:
        """An encoder that takes pictures as they come, at `rate` a second, and gives the tokens of every whole group."""
        return EncoderStream(self, rate)

    def stream_decoder(self) -> DecoderStream:
        """A decoder that takes tokens as they come, and gives the pictures of each group."""
        return DecoderStream(self)


@dataclass(frozen=True)
class Drawn:
    """Pictures [start, stop) of a film's tokens, drawn while one goes through them: uint8 (H, W, 3), `len` of them.

    A stretch, as a slice gives it, starts a few groups before its first picture, as many as the network sees, and equals that of the whole.
    """

    tokenizer: VideoCausal
    tokens: Tokens
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, wanted: slice) -> Drawn:
        first, last, step = wanted.indices(len(self))
        if step != 1:
            raise UsageError(f"pictures of a film are taken one after the other, found a step of {step}")
        return Drawn(self.tokenizer, self.tokens, self.start + first, self.start + max(first, last))

    def __iter__(self) -> Iterator[Array]:
        config, decoder = self.tokenizer.config, DecoderStream(self.tokenizer)
        if not len(self):
            return
        step = max(0, config.latent_frames(self.start + 1) - 1 - self.tokenizer.net.reach)
        place = step * config.group  # of the first key that is decoded, in pictures
        end = config.latent_frames(self.stop)
        while step < end:
            after = min(step + self.tokenizer.pass_groups, end)
            drawn = decoder.push(self._part(step, after, place))
            yield from drawn[max(0, self.start - place) : max(0, self.stop - place)]
            place, step = place + len(drawn), after

    def _part(self, step: int, after: int, place: int) -> Tokens:
        """Steps [step, after), the first of whose pictures is number `place`, as a piece of a stream."""
        part, whole = self.tokens.segment(step, after), size_of(self.tokens.layout.signal, self.tokenizer.name)
        last = min(whole.frames, (after - 1) * self.tokenizer.config.group + 1)
        size = FilmSize(last - place, whole.height, whole.width, whole.rate)
        return Tokens(Layout(part.layout.stages, part.layout.cuts, size.signal), part.arrays)
