"""What codes depend on beside the weights: the kind of processor, torch, and the libraries that decode files.

Another instruction set rounds otherwise, and where two entries are nearly equally near another one is chosen.
"""

from __future__ import annotations

import hashlib
import importlib
import platform
from collections.abc import Collection
from fractions import Fraction

import numpy as np

from smalti.tokenizers.contracts import Tokenizer
from smalti.tokenizers.signals import Audio, Image, Shape, Signal, Video
from smalti.tokenizers.tokens import Tokens

ANY = "any"  # an identity that was left out on purpose
WAY_OUT = (
    "run where these are the same (ATEN_CPU_CAPABILITY=avx2 holds torch to an older instruction set), prepare into another folder, "
    "or plan with --any-machine"
)


def identity(modalities: Collection[str], device: str) -> dict[str, str]:
    """By name, of what this process would encode with."""
    import torch

    found = {"processor": platform.machine(), "instructions": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__}
    if device == "cuda":
        found |= {
            "accelerator": torch.cuda.get_device_name(),
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
        }
    if "image" in modalities:
        from PIL import features

        found |= {"pillow": _version("PIL"), "jpeg": str(features.version("libjpeg_turbo") or features.version("jpg"))}
    if "audio" in modalities:
        import soundfile

        found |= {"soundfile": _version("soundfile"), "sndfile": str(soundfile.__libsndfile_version__), "soxr": _version("soxr")}
    if "video" in modalities:
        found["av"] = _version("av")
    if "shape" in modalities:
        found["trimesh"] = _version("trimesh")
    return found


def _version(module: str) -> str:
    try:
        return str(getattr(importlib.import_module(module), "__version__", "unknown"))
    except ImportError:
        return "missing"


def made_up(modality: str) -> Signal:
    """A small signal that is the same everywhere: integers and their ratios, no file and no random numbers of a library."""
    if modality == "audio":
        steps = (np.arange(8000, dtype=np.int64) * np.arange(8000, dtype=np.int64) // 50) % 401 - 200
        return Audio((steps / 512).astype(np.float32)[None], 16000)
    if modality == "shape":
        corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
        faces = [
            [0, 1, 3],
            [0, 3, 2],
            [4, 6, 7],
            [4, 7, 5],
            [0, 4, 5],
            [0, 5, 1],
            [2, 3, 7],
            [2, 7, 6],
            [0, 2, 6],
            [0, 6, 4],
            [1, 5, 7],
            [1, 7, 3],
        ]
        return Shape(corners, np.array(faces, np.int64))
    frames = [_picture(shift) for shift in range(5)]
    return Video(frames, Fraction(25)) if modality == "video" else Image(frames[0])


def _picture(shift: int) -> np.ndarray:
    y, x = np.mgrid[0:64, 0:96]
    return np.stack([(x + shift) * 2 % 256, y * 4 % 256, (x * y + 3 * shift) // 16 % 256], -1).astype(np.uint8)


def probe(tokenizer: Tokenizer, modality: str) -> str:
    """Digest of the tokens of the made-up signal."""
    return digest(tokenizer.encode([made_up(modality)])[0])


def digest(tokens: Tokens) -> str:
    """Of layout and tokens."""
    return hashlib.sha256(f"{tokens.layout}\n{tokens.digest()}".encode()).hexdigest()


def differences(planned: dict[str, str], here: dict[str, str]) -> list[str]:
    """A line on each thing that is another one here."""
    if ANY in planned:
        return []
    names = [name for name in {**planned, **here} if planned.get(name) != here.get(name)]
    return [f"{name} {here.get(name, 'missing')} (planned with {planned.get(name, 'none')})" for name in names]
