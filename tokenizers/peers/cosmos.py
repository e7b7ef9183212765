"""Cosmos' discrete tokenizers of pictures (NVIDIA, arXiv:2501.03575), which are published as programs: encoder.jit and decoder.jit.

A TorchScript file is code that runs when it is called, so it does only where that was allowed: `--trust-code`, `smalti.load(...,
trust_code=True)`. What the programs do is what they do: no name of a tensor is looked at. The pixels of a token are in the model's name,
as in Cosmos-0.1-Tokenizer-DI16x16; all published ones have levels of 8, 8, 8, 5, 5 and 5, 64000 entries.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers.trust import is_trusted

PROGRAMS = ("encoder.jit", "decoder.jit")
ENTRIES = 8 * 8 * 8 * 5 * 5 * 5
Tensor = Any  # torch.Tensor


def settings_of(folder: Path, source: str) -> dict[str, Any] | None:
    """Settings of a folder with both programs, by its name or how it was asked for; None where there are none."""
    if not all((folder / name).is_file() for name in PROGRAMS):
        return None
    found = re.search(r"DI(\d+)x(\d+)", f"{source} {folder.name}")
    if found is None or found.group(1) != found.group(2):
        raise ModelError(
            f"{folder}: programs of a Cosmos tokenizer, but its name does not say how many pixels a token has; name it ...DI16x16"
        )
    return {"stride": int(found.group(1)), "codebook_size": ENTRIES}


class Programs:
    """The bytes of both files, as a checkpoint's tensors: what is saved and fingerprinted."""

    def __init__(self, tensors: Mapping[str, np.ndarray], name: str) -> None:
        import torch

        self.files = {key: torch.from_numpy(np.array(tensors[key], np.uint8)) for key in PROGRAMS}
        self.encoder, self.decoder = (_program(bytes(self.files[key].numpy()), f"{name}: {key}") for key in PROGRAMS)

    def to(self, device: Any) -> Programs:
        """Both on another device."""
        self.encoder, self.decoder = self.encoder.to(device), self.decoder.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """The files by name."""
        return dict(self.files)


class Cosmos:
    """`picture_families.PictureNet` of the two programs."""

    def __init__(self, network: Programs) -> None:
        self.network: Any = network

    def tokenize(self, pixels: Tensor) -> Tensor:
        found = self.network.encoder(pixels)
        return (found[0] if isinstance(found, tuple | list) else found).long()

    def detokenize(self, indices: Tensor) -> Tensor:
        found = self.network.decoder(indices)
        return (found[0] if isinstance(found, tuple | list) else found).float()

    def published(self, name: str) -> str:
        return name


def build(settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray], name: str) -> Cosmos:
    """ModelError where running the programs was not allowed, or where they are none."""
    if not is_trusted():
        raise ModelError(
            f"{name}: its encoder.jit and decoder.jit are programs, which run with your rights; where you trust them, say --trust-code or "
            "trust_code=True"
        )
    for key in PROGRAMS:
        if key not in tensors:
            raise ModelError(f"{name}: {key} is missing; a Cosmos tokenizer is an encoder.jit and a decoder.jit")
    return Cosmos(Programs(tensors, name))


def _program(data: bytes, name: str) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that TorchScript grows old
        try:
            return torch.jit.load(io.BytesIO(data), map_location="cpu").float().eval()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{name} is no TorchScript program: {' '.join(str(error).split())[:160]}") from None
