"""The pretrained networks that metrics and losses need. They are not ours to ship: they are found in a folder, and checked by hash.

The folder is $SMALTI_JUDGES, else ~/.cache/smalti/judges. Files are safetensors with torchvision's key names.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from smalti.tokenizers.errors import ModelError

if TYPE_CHECKING:
    import torch

# torchvision's ImageNet weights (BSD-3), the convolutional part, float32: file name and SHA-256 over (name, bytes) of the tensors in name
# order
FEATURES = {
    "alex": ("alexnet_features.safetensors", "44534cd66e37ce9a6258bb5e845ef8cd47c33aa68024441c7e616d63c0c1c41a"),
    "vgg": ("vgg16_features.safetensors", "02ea23240491c2589ec6c79346a0cd2cde49db15b57118399c02f252fb928f83"),
}


def folder() -> Path:
    """Where judges lie."""
    return Path(os.environ.get("SMALTI_JUDGES") or Path.home() / ".cache" / "smalti" / "judges")


def load_features(net: str) -> dict[str, torch.Tensor]:
    """The convolutional weights of "alex" or "vgg", float32, by torchvision's names; ModelError where missing or different."""
    return _load(net, folder() / FEATURES[net][0])


@functools.cache
def _load(net: str, path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(
            f"{path}: not found; put torchvision's {net} features there as safetensors (keys features.N.weight), or set SMALTI_JUDGES"
        )
    try:
        tensors = {key: value.float() for key, value in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not readable as safetensors: {error}") from None
    found = digest(tensors)
    expected = FEATURES[net][1]
    if found != expected:
        raise ModelError(f"{path}: other weights than torchvision's (found {found[:12]}, expected {expected[:12]}); replace the file")
    return tensors


def digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over (name, float32 bytes) in name order: the same whatever file they come in."""
    sha = hashlib.sha256()
    for key in sorted(tensors):
        sha.update(key.encode())
        sha.update(tensors[key].float().contiguous().numpy().tobytes())
    return sha.hexdigest()
