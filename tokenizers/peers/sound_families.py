"""The families of public networks of sound: what follows from a config, and how each library is asked.

What is known of their traps, and ended here: DAC's chunked mode adds a third of the frames (not used); SNAC adds noise at each decoding
(off) and never cuts its padding; EnCodec's 48 kHz model brings a level per second as a float beside its tokens (refused by its key).
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers.library import SPARE, config_of, imported, network_of, plain_settings
from smalti.tokenizers.tokens import MAX_STAGES

Tensor = Any  # torch.Tensor


@dataclass(frozen=True)
class SoundPlan:
    """rate: samples per second. step_samples: what lengths are filled up to whole multiples of. per_step: tokens of such a step for each
    stage. vocab: entries of every stage. cuts: numbers of stages that decode."""

    rate: int
    step_samples: int
    per_step: tuple[int, ...]
    vocab: int
    cuts: tuple[int, ...]


class SoundNet(Protocol):
    """A network as the adapter asks it. network: the torch module that holds its weights."""

    network: Any

    def tokenize(self, waves: Tensor) -> list[Tensor]:
        """int64 (B, tokens) per stage of float32 (B, 1, T) in whole steps."""

    def detokenize(self, stages: Sequence[Tensor]) -> Tensor:
        """float32 (B, 1, about T) or (B, about T) from the first stages."""

    def published(self, name: str) -> str:
        """How a checkpoint calls a tensor of `network`."""


@dataclass(frozen=True)
class Family:
    """plan: of settings. build: the network of settings and tensors, with a name for errors. title: for people."""

    title: str
    plan: Callable[[Mapping[str, Any]], SoundPlan]
    build: Callable[[Mapping[str, Any], Mapping[str, np.ndarray], str], SoundNet]


@functools.lru_cache(maxsize=32)
def plan(family: str, settings: str) -> SoundPlan:
    """Of a family and its config as canonical JSON; ModelError names the key that cannot be."""
    try:
        found = _family(family).plan(json.loads(settings)["settings"])
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ModelError(f"{family}: a config that cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:120]})") from None
    for key, value, most in (
        ("sampling rate", found.rate, 768000),
        ("samples of a step", found.step_samples, 2**22),
        ("codebook size", found.vocab, 2**24),
    ):
        if not 1 <= value <= most:
            raise ModelError(f"{family}: its config says a {key} of {value}, expected 1 to {most}")
    if not 1 <= len(found.per_step) <= MAX_STAGES:
        raise ModelError(f"{family}: its config says {len(found.per_step)} codebooks, expected 1 to {MAX_STAGES}")
    return found


def network(family: str, settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> SoundNet:
    """The network of a family, filled; ModelError where settings and tensors do not belong together."""
    return _family(family).build(settings, tensors, name)


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ModelError(f"no family {name!r} of sound; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _levels(rate: int, hop: int, levels: int, vocab: int, first_cut: int = 1) -> SoundPlan:
    return SoundPlan(int(rate), int(hop), (1,) * levels, int(vocab), tuple(range(first_cut, levels + 1)))


def _refuse(found: Any, expected: Any, key: str, family: str) -> None:
    if found != expected:
        raise ModelError(f"{family}: its config has {key} = {found!r}, this adapter takes {expected!r} alone; use another checkpoint")


class _Library:
    """What the packages' networks share: their names are the published ones."""

    def published(self, name: str) -> str:
        return name


class _Encodec(_Library):
    """The levels of all bandwidths; the widest one is asked for, the others are its first levels."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.bandwidth = network.config.target_bandwidths[-1]

    def tokenize(self, waves: Tensor) -> list[Tensor]:
        return list(self.network.encode(waves, bandwidth=self.bandwidth).audio_codes[0].unbind(1))

    def detokenize(self, stages: Sequence[Tensor]) -> Tensor:
        import torch

        return self.network.decode(torch.stack(list(stages), 1)[None], [None]).audio_values


def _encodec_plan(settings: Mapping[str, Any]) -> SoundPlan:
    config = config_of("EncodecConfig", settings, "encodec")
    for key, expected in (("audio_channels", 1), ("normalize", False), ("chunk_length_s", None)):
        _refuse(getattr(config, key), expected, key, "encodec")
    return _levels(config.sampling_rate, config.hop_length, config.num_quantizers, config.codebook_size)


class _Dac(_Library):
    """All codebooks, the whole sound at once."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def tokenize(self, waves: Tensor) -> list[Tensor]:
        return list(self.network.encode(waves).audio_codes.unbind(1))

    def detokenize(self, stages: Sequence[Tensor]) -> Tensor:
        import torch

        return self.network.decode(audio_codes=torch.stack(list(stages), 1)).audio_values


def _dac_plan(settings: Mapping[str, Any]) -> SoundPlan:
    config = config_of("DacConfig", settings, "dac")
    return _levels(config.sampling_rate, math.prod(config.downsampling_ratios), config.n_codebooks, config.codebook_size)


class _Mimi(_Library):
    """The semantic codebooks and, behind them, the acoustic ones."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def tokenize(self, waves: Tensor) -> list[Tensor]:
        return list(self.network.encode(waves).audio_codes.unbind(1))

    def detokenize(self, stages: Sequence[Tensor]) -> Tensor:
        import torch

        return self.network.decode(torch.stack(list(stages), 1)).audio_values


def _mimi_plan(settings: Mapping[str, Any]) -> SoundPlan:
    config = config_of("MimiConfig", settings, "mimi")
    _refuse(config.audio_channels, 1, "audio_channels", "mimi")
    hop = config.sampling_rate / config.frame_rate
    if hop != int(hop):
        raise ModelError(f"mimi: its config has sampling_rate = {config.sampling_rate} and frame_rate = {config.frame_rate}, no whole hop")
    return _levels(config.sampling_rate, int(hop), config.num_quantizers, config.codebook_size, config.num_semantic_quantizers)


class _Xcodec(_Library):
    """The levels of all bandwidths, of an acoustic and a semantic network together."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def tokenize(self, waves: Tensor) -> list[Tensor]:
        return list(self.network.encode(waves).audio_codes.unbind(1))

    def detokenize(self, stages: Sequence[Tensor]) -> Tensor:
        import torch

        return self.network.decode(torch.stack(list(stages), 1)).audio_values


def _xcodec_plan(settings: Mapping[str, Any]) -> SoundPlan:
    config = config_of("XcodecConfig", settings, "xcodec")
    return _levels(config.sample_rate, config.hop_length, config.num_quantizers, config.codebook_size)


class _Snac(_Library):
    """Codebooks at several rates, coarse to fine; a prefix of them decodes. No noise: equal tokens give equal sounds."""

    def __init__(self, network: Any) -> None:
        self.network = network
        for module in network.modules():
            if type(module).__name__ == "NoiseBlock":
                module.forward = lambda x: x

    def tokenize(self, waves: Tensor) -> list[Tensor]:
        return list(self.network.encode(waves))

    def detokenize(self, stages: Sequence[Tensor]) -> Tensor:
        books = self.network.quantizer.quantizers
        latents: Any = 0.0
        for book, indices in zip(books, stages, strict=False):
            latents = latents + book.out_proj(book.decode_code(indices)).repeat_interleave(book.stride, dim=-1)
        return self.network.decoder(latents)


_SNAC: dict[str, Any] = {  # what the package takes where a config does not say
    "sampling_rate": 44100, "encoder_rates": [3, 3, 7, 7], "attn_window_size": 32, "codebook_size": 4096, "vq_strides": [8, 4, 2, 1],
}  # fmt: skip


def _snac_plan(settings: Mapping[str, Any]) -> SoundPlan:
    found = _SNAC | dict(settings)
    for key in ("encoder_rates", "vq_strides"):
        plain = isinstance(found[key], list | tuple) and all(type(value) is int for value in found[key])
        if not plain or not 1 <= len(found[key]) <= MAX_STAGES:
            raise ModelError(f"snac: its config has {key} = {found[key]!r:.80}, expected a list of 1 to {MAX_STAGES} numbers")
    strides = found["vq_strides"]
    if any(not isinstance(stride, int) or stride < 1 or strides[0] % stride for stride in strides):
        raise ModelError(f"snac: its config has vq_strides = {strides!r}, expected whole parts of the first")
    frames = math.lcm(strides[0], found["attn_window_size"] or 1)
    count = len(strides)
    return SoundPlan(
        int(found["sampling_rate"]),
        math.prod(found["encoder_rates"]) * frames,
        tuple(frames // stride for stride in strides),
        int(found["codebook_size"]),
        tuple(range(1, count + 1)),
    )


def _snac(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> SoundNet:
    import torch

    from smalti.tokenizers.nets.stored import filled

    package = imported("snac", name)
    for key in ("encoder_rates", "decoder_rates", "vq_strides"):
        if len(settings.get(key, ())) > MAX_STAGES:
            raise ModelError(f"{name}: its config has {len(settings[key])} {key}, expected {MAX_STAGES} at most")
    try:
        with torch.device("meta"):  # shapes only: a config must not make us allocate what its weights do not fill
            wanted = sum(tensor.numel() for tensor in package.SNAC(**plain_settings(settings)).state_dict().values())
        held = sum(tensor.size for tensor in tensors.values())
        if wanted > held + SPARE:
            raise ModelError(f"{name}: its config asks for {wanted} weights, the checkpoint holds {held}; they do not belong together")
        network = package.SNAC(**plain_settings(settings))
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ModelError(f"{name}: a config that snac refuses: {error}") from None
    renamed = {_today(key): tensor for key, tensor in tensors.items()}
    return _Snac(filled(network, renamed, name).eval().requires_grad_(False))


def _today(key: str) -> str:
    """Weight normalisation's names before torch 2.0, and today's."""
    for old, new in ((".weight_g", ".parametrizations.weight.original0"), (".weight_v", ".parametrizations.weight.original1")):
        if key.endswith(old):
            return key.removesuffix(old) + new
    return key


def _wavtokenizer_plan(settings: Mapping[str, Any]) -> SoundPlan:
    from smalti.tokenizers.peers.wavtokenizer import wavtokenizer_config

    config = wavtokenizer_config(settings)
    return _levels(config.rate, config.hop, 1, config.codebook_size)


def _wavtokenizer(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> SoundNet:
    from smalti.tokenizers.peers.wavtokenizer import build

    return build(settings, tensors, name)


def _of_library(wrapper: Callable[[Any], SoundNet], config_class: str, network_class: str, family: str) -> Callable[..., SoundNet]:
    def build(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> SoundNet:
        return wrapper(network_of(network_class, config_of(config_class, settings, family), tensors, name))

    return build


FAMILIES = {
    "encodec": Family("EnCodec (transformers)", _encodec_plan, _of_library(_Encodec, "EncodecConfig", "EncodecModel", "encodec")),
    "dac": Family("DAC (transformers)", _dac_plan, _of_library(_Dac, "DacConfig", "DacModel", "dac")),
    "mimi": Family("Mimi (transformers)", _mimi_plan, _of_library(_Mimi, "MimiConfig", "MimiModel", "mimi")),
    "xcodec": Family("X-Codec (transformers)", _xcodec_plan, _of_library(_Xcodec, "XcodecConfig", "XcodecModel", "xcodec")),
    "snac": Family("SNAC (snac)", _snac_plan, _snac),
    "wavtokenizer": Family("WavTokenizer (a file)", _wavtokenizer_plan, _wavtokenizer),
}
