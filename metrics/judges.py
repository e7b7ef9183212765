"""The pretrained networks that metrics and losses need. They are not ours to ship: they are found in a folder, and checked by hash.

The folder is $SMALTI_JUDGES, else ~/.cache/smalti/judges; `smalti fetch-judges` (see `metrics.fetching`) fills it. Files are safetensors
with the key names of the network's first publisher.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smalti.tokenizers.errors import ModelError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Judge:
    """file: its name in the folder. digest: SHA-256 as `digest` computes it. about: whose weights these are."""

    file: str
    digest: str
    about: str

    @property
    def path(self) -> Path:
        """Where it lies, or belongs."""
        return folder() / self.file


# ImageNet weights, float32. torchvision's (BSD-3) are the convolutional part alone; the classifier (Apache-2.0) is whole.
JUDGES = {
    "alex": Judge(
        "alexnet_features.safetensors",
        "44534cd66e37ce9a6258bb5e845ef8cd47c33aa68024441c7e616d63c0c1c41a",
        "torchvision's AlexNet features",
    ),
    "vgg": Judge(
        "vgg16_features.safetensors",
        "02ea23240491c2589ec6c79346a0cd2cde49db15b57118399c02f252fb928f83",
        "torchvision's VGG16 features",
    ),
    "classifier": Judge(
        "efficientnet_lite2.safetensors",
        "c7e0952b2aa558116ef8e0194c5ece5b3ea4b8e6038f4c31e492e312a9213b25",
        "EfficientNet-Lite2",
    ),
    "speaker": Judge(
        "voice_encoder.safetensors",
        "9673b89abbbb6372d60e42ddc177bf5801c25f77b156a09c9222921918108de7",
        "Resemblyzer's voice encoder",
    ),
}


def folder() -> Path:
    """Where judges lie."""
    return Path(os.environ.get("SMALTI_JUDGES") or Path.home() / ".cache" / "smalti" / "judges")


def load(name: str) -> dict[str, torch.Tensor]:
    """The float32 tensors of a name in `JUDGES`; ModelError where the file is missing or holds other weights."""
    return _load(name, JUDGES[name].path)


@functools.cache
def _load(name: str, path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    judge = JUDGES[name]
    if not path.is_file():
        raise ModelError(f"{path}: not found; bring {judge.about} with smalti fetch-judges {name}, or set SMALTI_JUDGES to its folder")
    try:
        tensors = {key: value.float() for key, value in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not readable as safetensors: {error}; bring it anew with smalti fetch-judges {name}") from None
    check(name, tensors, str(path))
    return tensors


def check(name: str, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """ModelError, which begins with `where`, unless these are the tensors of that judge."""
    judge, found = JUDGES[name], digest(tensors)
    if found != judge.digest:
        raise ModelError(
            f"{where}: other weights than {judge.about} (found {found[:12]}, expected {judge.digest[:12]}); "
            f"bring them with smalti fetch-judges {name}"
        )


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over (name, float32 bytes) in name order: the same whatever file they come in."""
    sha = hashlib.sha256()
    for key in sorted(tensors):
        sha.update(key.encode())
        sha.update(tensors[key].float().contiguous().numpy().tobytes())
    return sha.hexdigest()
