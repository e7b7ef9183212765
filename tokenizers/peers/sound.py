"""`audio-peer`: public networks of sound, any length, rate and number of channels, behind our contract.

Whatever a library does about lengths ends here: a sound is filled up with silence to whole steps of its network, each library sees nothing
else, and what comes back is cut to the true length, which the file keeps. Two channels become mid and side, as for our own tokenizers. Most
of these networks look at the whole sound (recurrence, attention), so that nobody knows how far a sample reaches: up to `PIECE_SECONDS` a
sound passes whole, and its tokens are the library's own; a longer one passes in pieces with `MARGIN_SECONDS` of context on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from smalti.tokenizers.audio.excerpt import Margins
from smalti.tokenizers.audio.sounds import from_network, resampled_length, size_of, size_of_sound, sound_of, to_network
from smalti.tokenizers.configs import canonical_json, to_dict
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers.sound_families import SoundNet, SoundPlan, network, plan
from smalti.tokenizers.signals import Signal
from smalti.tokenizers.tokens import Layout, Stage, Tokens
from smalti.tokenizers.zoo.fingerprint import fingerprint

PIECE_SECONDS, MARGIN_SECONDS = 64, 4
BATCH_SECONDS = 64  # of all channels that pass at a time, unless one has more: networks at a sample's rate take gigabytes for a minute
WHOLE = Margins(2**31, 2**31)


@dataclass(frozen=True)
class PeerSoundConfig:
    """family: one of `sound_families.FAMILIES`. settings: the network's own configuration, as its checkpoint has it."""

    kind: ClassVar[str] = "audio-peer"
    family: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def plan(self) -> SoundPlan:
        """What follows from the settings; ModelError where they are none of the family's."""
        return plan(self.family, canonical_json(self))

    @property
    def rate(self) -> int:
        """Samples per second that the network works at."""
        return self.plan.rate

    @property
    def hop(self) -> int:
        """Samples of a token of the first stage."""
        return self.plan.step_samples // self.plan.per_step[0]


class PeerSound:
    """Fulfils `contracts.Tokenizer` for `Audio` signals of one sample and more, at any rate, in 1 to 8 channels."""

    config_class: Any = PeerSoundConfig

    def __init__(
        self, net: SoundNet, config: PeerSoundConfig, fingerprint_of: str | None = None, name: str = "audio-peer", device: str = "cpu"
    ) -> None:
        import torch

        self.net = net
        self.net.network.to(device)
        self.config = config
        self.plan = config.plan
        self.name = name
        self.device = torch.device(device)
        self.folder: Path | None = None  # of the model it was loaded from, for the prior that lies there
        self.piece_steps = max(1, PIECE_SECONDS * self.plan.rate // self.plan.step_samples)
        self.margin_steps = -(-MARGIN_SECONDS * self.plan.rate // self.plan.step_samples)
        self._fingerprint = fingerprint_of

    @classmethod
    def from_tensors(
        cls, config: PeerSoundConfig, tensors: Mapping[str, np.ndarray], fingerprint_of: str, name: str, device: str = "cpu"
    ) -> PeerSound:
        """A tokenizer from a checkpoint's tensors; ModelError names the first that is missing, unknown or of another shape."""
        _ = config.plan  # which refuses, by its key, what no network can be made of
        return cls(network(config.family, config.settings, tensors, name), config, fingerprint_of, name, device)

    def tensors(self) -> dict[str, np.ndarray]:
        """All weights and tables by their published names: what is saved and fingerprinted."""
        return {self.net.published(key): value.cpu().numpy() for key, value in self.net.network.state_dict().items()}

    def parameter_names(self) -> set[str]:
        """None: rounded weights would give other tokens than the public model."""
        return set()

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of config and weights."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(to_dict(self.config), self.tensors())
        return self._fingerprint

    @property
    def margins(self) -> Margins:
        """All frames: how far the networks reach is not known. AttributeError for those whose steps hold several coarsest tokens, of whose
        sounds no stretch can be cut."""
        if self.plan.per_step[0] != 1:
            raise AttributeError("margins")
        return WHOLE

    def layout(self, signal: tuple[tuple[str, int], ...]) -> Layout:
        """Layout for a sound of (("samples", N), ("rate", samples per second), ("channels", C))."""
        size = size_of(signal, self.plan.rate, self.name)
        steps = -(-resampled_length(size.samples, size.rate, self.plan.rate) // self.plan.step_samples)
        stages = tuple(
            Stage(f"level{number}", (("channel", size.channels), ("time", steps * count)), self.plan.vocab)
            for number, count in enumerate(self.plan.per_step)
        )
        return Layout(stages, self.plan.cuts, size.signal)

    def encode(self, signals: Sequence[Signal]) -> list[Tokens]:
        """Tokens of each sound. Lengths, rates and channels may differ; channels of one length share batches."""
        import torch

        sounds = [sound_of(signal, self.name) for signal in signals]
        layouts = [self.layout(size_of_sound(sound).signal) for sound in sounds]
        waves = []
        for sound in sounds:
            size = size_of_sound(sound)
            wave = to_network(sound, self.plan.rate, self.plan.step_samples)
            wave[:, resampled_length(size.samples, size.rate, self.plan.rate) :] = 0
            waves.append(wave)
        arrays = [tuple(np.zeros(stage.shape, np.int32) for stage in layout.stages) for layout in layouts]
        for rows in self._batches([(len(wave), wave.shape[1] // self.plan.step_samples) for wave in waves]):
            steps = waves[rows[0][0]].shape[1] // self.plan.step_samples
            for inner, outer in self._pieces(steps):
                cut = slice(outer.start * self.plan.step_samples, outer.stop * self.plan.step_samples)
                batch = torch.from_numpy(np.stack([waves[item][row, cut] for item, row in rows]))[:, None].to(self.device)
                with torch.inference_mode(), self._exact():
                    found = self.net.tokenize(batch)
                self._check_found(found, outer.stop - outer.start)
                for k, (indices, count) in enumerate(zip(found, self.plan.per_step, strict=True)):
                    kept = indices[:, (inner.start - outer.start) * count : (inner.stop - outer.start) * count].cpu().numpy()
                    for (item, row), values in zip(rows, kept, strict=True):
                        arrays[item][k][row, inner.start * count : inner.stop * count] = values
        return [Tokens(layout, array) for layout, array in zip(layouts, arrays, strict=True)]

    def decode(self, tokens: Sequence[Tokens]) -> list[Signal]:
        """Sounds from tokens or from their first levels, at the rate and of the length that went in."""
        import torch

        for item in tokens:
            item.check_prefix_of(self.layout(item.layout.signal), self.name)
            item.check_unmasked(self.name)
        sizes = [(item.arrays[0].shape[0], item.arrays[0].shape[1] // self.plan.per_step[0], len(item.arrays)) for item in tokens]
        waves = [np.empty((channels, steps * self.plan.step_samples), np.float32) for channels, steps, _ in sizes]
        for depth in sorted({depth for *_, depth in sizes}):
            chosen = [i for i, size in enumerate(sizes) if size[2] == depth]
            for rows in self._batches([sizes[i][:2] for i in chosen]):
                places = [(chosen[number], row) for number, row in rows]
                for inner, outer in self._pieces(sizes[places[0][0]][1]):
                    stages = []
                    for k, count in enumerate(self.plan.per_step[:depth]):
                        cut = slice(outer.start * count, outer.stop * count)
                        values = np.stack([tokens[i].arrays[k][row, cut] for i, row in places])
                        stages.append(torch.from_numpy(values.astype(np.int64)).to(self.device))
                    with torch.inference_mode(), self._exact():
                        drawn = self._filled(self.net.detokenize(stages).reshape(len(places), -1), outer.stop - outer.start)
                    first = (inner.start - outer.start) * self.plan.step_samples
                    count = (inner.stop - inner.start) * self.plan.step_samples
                    for (i, row), wave in zip(places, drawn.cpu().numpy(), strict=True):
                        waves[i][row, inner.start * self.plan.step_samples :][:count] = wave[first : first + count]
        return [
            from_network(wave, self.plan.rate, size_of(item.layout.signal, self.plan.rate, self.name))
            for wave, item in zip(waves, tokens, strict=True)
        ]

    def _exact(self) -> Any:
        from smalti.tokenizers.nets.precision import full_precision

        return full_precision(self.device)

    def _filled(self, drawn: Any, steps: int) -> Any:
        """As long as the tokens say: transposed convolutions of odd strides (DAC's 5) end some samples early."""
        import torch

        missing = steps * self.plan.step_samples - drawn.shape[1]
        return torch.nn.functional.pad(drawn, (0, max(0, missing)))[:, : steps * self.plan.step_samples]

    def _check_found(self, found: Sequence[Any], steps: int) -> None:
        shapes = [indices.shape[1] for indices in found]
        if shapes != [steps * count for count in self.plan.per_step]:
            raise ModelError(
                f"{self.name}: {steps} steps gave {shapes} tokens, its config says {[steps * count for count in self.plan.per_step]}; "
                "config and network do not belong together"
            )

    def _pieces(self, steps: int) -> Iterator[tuple[slice, slice]]:
        """(what is kept, what is seen) in steps; one piece where it all passes at a time."""
        for start in range(0, steps, self.piece_steps):
            stop = min(start + self.piece_steps, steps)
            yield slice(start, stop), slice(max(0, start - self.margin_steps), min(steps, stop + self.margin_steps))

    def _batches(self, sizes: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
        """(item, channel) of sounds of (channels, steps): those of equally many steps together, within BATCH_SECONDS."""
        alike: dict[int, list[tuple[int, int]]] = {}
        for item, (channels, steps) in enumerate(sizes):
            alike.setdefault(steps, []).extend((item, row) for row in range(channels))
        for steps, rows in alike.items():
            seen = min(steps, self.piece_steps + 2 * self.margin_steps) * self.plan.step_samples
            count = max(1, math.floor(BATCH_SECONDS * self.plan.rate / max(seen, 1)))
            for start in range(0, len(rows), count):
                yield rows[start : start + count]
