"""The families of public networks of pictures whose tokens lie in a grid: what follows from a config, and how each is asked.

Through transformers: Janus (LlamaGen's tokenizer), Emu3 (a tokenizer of films; a picture is a still one), and Chameleon, of which that
package holds the encoder alone. With our own networks: (`vqgan.py`) LlamaGen's, taming-transformers' and IBQ's files, and (`magvit2.py`)
Open-MAGVIT2's.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers.library import config_of, network_of

Tensor = Any  # torch.Tensor
MAX_STRIDE, MAX_VOCAB = 64, 2**20


@dataclass(frozen=True)
class PicturePlan:
    """stride: pixels a token. vocab: entries."""

    stride: int
    vocab: int


class PictureNet(Protocol):
    """A network as the adapter asks it. network: the torch module that holds its weights."""

    network: Any

    def tokenize(self, pixels: Tensor) -> Tensor:
        """int64 (B, rows, cols) of what the network sees, float32 (B, 3, h, w) in whole tokens."""

    def detokenize(self, indices: Tensor) -> Tensor:
        """float32 (B, 3, h, w) in the same range."""

    def published(self, name: str) -> str:
        """How a checkpoint calls a tensor of `network`."""


@dataclass(frozen=True)
class Family:
    """plan: of settings. build: the network of settings and tensors, with a name for errors. title: for people."""

    title: str
    plan: Callable[[Mapping[str, Any]], PicturePlan]
    build: Callable[[Mapping[str, Any], Mapping[str, np.ndarray], str], PictureNet]


@functools.lru_cache(maxsize=32)
def plan(family: str, settings: str) -> PicturePlan:
    """Of a family and its config as canonical JSON; ModelError names what cannot be."""
    try:
        found = _family(family).plan(json.loads(settings)["settings"])
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ModelError(f"{family}: a config that cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:120]})") from None
    if not 1 <= found.stride <= MAX_STRIDE or not 1 <= found.vocab <= MAX_VOCAB:
        raise ModelError(
            f"{family}: its config says {found.stride} pixels a token and {found.vocab} entries, expected 1 to {MAX_STRIDE} and "
            f"1 to {MAX_VOCAB}"
        )
    return found


def network(family: str, settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> PictureNet:
    """The network of a family, filled; ModelError where settings and tensors do not belong together."""
    return _family(family).build(settings, tensors, name)


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ModelError(f"no family {name!r} of pictures; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]


class _Library:
    """What the networks of the transformers package share: their names are the published ones."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.stride = 2 ** (len(network.config.channel_multiplier) - 1)

    def published(self, name: str) -> str:
        return name


class _Janus(_Library):
    """Its decoder asks for one grid size; we ask its parts."""

    def tokenize(self, pixels: Tensor) -> Tensor:
        rows, cols = (size // self.stride for size in pixels.shape[2:])
        return self.network.encode(pixels).image_tokens.reshape(len(pixels), rows, cols)

    def detokenize(self, indices: Tensor) -> Tensor:
        import torch

        entries = torch.nn.functional.normalize(self.network.quantize.embedding(indices), dim=-1)  # as its get_codebook_entry has it
        return self.network.decoder(self.network.post_quant_conv(entries.permute(0, 3, 1, 2).contiguous()))


class _Emu3(_Library):
    """A picture is as many equal frames as its network takes for one step of time."""

    def tokenize(self, pixels: Tensor) -> Tensor:
        import torch

        sizes = torch.tensor([list(pixels.shape[2:])] * len(pixels))
        return torch.stack(list(self.network.encode(pixels, image_sizes=sizes).image_tokens))

    def detokenize(self, indices: Tensor) -> Tensor:
        return self.network.decode(indices)


class _Chameleon(_Library):
    """Encodes; the package has no decoder for it."""

    def tokenize(self, pixels: Tensor) -> Tensor:
        rows, cols = (size // self.stride for size in pixels.shape[2:])
        return self.network.encode(pixels).image_tokens.reshape(len(pixels), rows, cols)

    def detokenize(self, indices: Tensor) -> Tensor:
        raise ModelError(
            "transformers has no decoder of Chameleon's pictures, its tokens do not come back; name the original vqgan.ckpt as file:PATH"
        )


def _of_library(wrapper: Callable[[Any], PictureNet], config_class: str, network_class: str, family: str) -> Callable[..., PictureNet]:
    def build(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> PictureNet:
        return wrapper(network_of(network_class, config_of(config_class, settings, family), tensors, name))

    return build


def _library_plan(config_class: str, family: str, entries: str) -> Callable[[Mapping[str, Any]], PicturePlan]:
    def found(settings: Mapping[str, Any]) -> PicturePlan:
        config = config_of(config_class, settings, family)
        return PicturePlan(2 ** (len(config.channel_multiplier) - 1), int(getattr(config, entries)))

    return found


def _vqgan_plan(settings: Mapping[str, Any]) -> PicturePlan:
    from smalti.tokenizers.peers.vqgan import vqgan_config

    config = vqgan_config(settings)
    return PicturePlan(config.stride, config.codebook_size)


def _vqgan(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> PictureNet:
    from smalti.tokenizers.peers.vqgan import build

    return build(settings, tensors, name)


def _magvit2_plan(settings: Mapping[str, Any]) -> PicturePlan:
    from smalti.tokenizers.peers.magvit2 import magvit2_config

    config = magvit2_config(settings)
    return PicturePlan(config.stride, 2**config.bits)


def _magvit2(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> PictureNet:
    from smalti.tokenizers.peers.magvit2 import build

    return build(settings, tensors, name)


def _cosmos_plan(settings: Mapping[str, Any]) -> PicturePlan:
    stride, entries = settings.get("stride"), settings.get("codebook_size")
    if type(stride) is not int or type(entries) is not int:
        raise ModelError(f"cosmos: its config has stride = {stride!r} and codebook_size = {entries!r}, expected whole numbers")
    return PicturePlan(stride, entries)


def _cosmos(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> PictureNet:
    from smalti.tokenizers.peers.cosmos import build

    return build(settings, tensors, name)


FAMILIES = {
    "janus": Family(
        "Janus VQ (transformers)",
        _library_plan("JanusVQVAEConfig", "janus", "num_embeddings"),
        _of_library(_Janus, "JanusVQVAEConfig", "JanusVQVAE", "janus"),
    ),
    "emu3": Family(
        "Emu3 VQ (transformers)",
        _library_plan("Emu3VQVAEConfig", "emu3", "codebook_size"),
        _of_library(_Emu3, "Emu3VQVAEConfig", "Emu3VQVAE", "emu3"),
    ),
    "chameleon": Family(
        "Chameleon VQ (transformers), its encoder",
        _library_plan("ChameleonVQVAEConfig", "chameleon", "num_embeddings"),
        _of_library(_Chameleon, "ChameleonVQVAEConfig", "ChameleonVQVAE", "chameleon"),
    ),
    "taming": Family("taming-transformers' VQGAN (a file)", _vqgan_plan, _vqgan),
    "llamagen": Family("LlamaGen's VQ (a file)", _vqgan_plan, _vqgan),
    "ibq": Family("IBQ (a file)", _vqgan_plan, _vqgan),
    "cosmos": Family("Cosmos DI (programs)", _cosmos_plan, _cosmos),
    "open-magvit2": Family("Open-MAGVIT2 (a file)", _magvit2_plan, _magvit2),
}
