"""The pretrained networks that metrics and losses need. They are not ours to ship: they are found in a folder, and checked by hash.

The folder is $SMALTI_JUDGES, else ~/.cache/smalti/judges; `smalti fetch-judges` (see `metrics.fetching`) fills it. Files are safetensors
with the key names of the network's first publisher, or, in `FILES`, whole networks of ONNX or TensorFlow Lite as they were published.
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
    "dists": Judge(  # MIT
        "dists_weights.safetensors",
        "7ee9a2e50edf3e434be2256d5c30445207180d55c83f2fd8d8fe450cec0e7c3e",
        "the weights of DISTS",
    ),
}


@dataclass(frozen=True)
class NetworkFile:
    """file: its name in the folder. sha256: of the file. about: what it is. place: repository@commit and path on GitHub."""

    file: str
    sha256: str
    about: str
    place: tuple[str, str]

    @property
    def path(self) -> Path:
        """Where it lies, or belongs."""
        return folder() / self.file


# Apache-2.0, all three
FILES = {
    "objects": NetworkFile(
        "yolox_nano.onnx",
        "e8af074932d4ed7e232278e3055cefcdea3edf178874a3694ae292649fb464dd",
        "the object detector YOLOX-nano",
        ("Bigisland1729/object-detection-models@7f3f2fa34b351e3d2af150893458106ad3f3a84f", "yolox_nano.onnx"),
    ),
    "faces": NetworkFile(
        "yunet_n_640_640.onnx",
        "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
        "the face detector YuNet",
        ("ShiqiYu/libfacedetection.train@0047ac24afb1a50a0c6105001c89d1b5b805dbf1", "onnx/yunet_n_640_640.onnx"),
    ),
    "sound-events": NetworkFile(
        "yamnet.tflite",
        "469be6a3421cbc52cf97e9f2f966cba984198e8e7af9854d68b3e3ebb1e04194",
        "the sound event classifier YAMNet",
        ("Jaskaran197/Speaker-Detector@4ec29b6938f1051fe36b46786f8d486d8b74a38e", "yamnet.tflite"),
    ),
}


def read(name: str) -> bytes:
    """The file of a name in `FILES`; ModelError where it is missing or another."""
    network = FILES[name]
    try:
        data = network.path.read_bytes()
    except OSError:
        raise ModelError(
            f"{network.path}: not found; bring {network.about} with smalti fetch-judges {name}, or set SMALTI_JUDGES to its folder"
        ) from None
    check_file(name, data, str(network.path))
    return data


def check_file(name: str, data: bytes, where: str) -> None:
    """ModelError, which begins with `where`, unless this is the file of that name."""
    network, found = FILES[name], hashlib.sha256(data).hexdigest()
    if found != network.sha256:
        raise ModelError(
            f"{where}: another file than {network.about} (found SHA-256 {found[:12]}, expected {network.sha256[:12]}); "
            f"bring it with smalti fetch-judges {name}"
        )


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
