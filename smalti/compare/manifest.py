"""What a run was made by, as reports say it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from smalti.compare.lineup import Contender
from smalti.compare.results import Machine, Manifest

if TYPE_CHECKING:
    from smalti.compare.engine import Plan

_PACKAGES = (
    "DracoPy", "ai-edge-litert", "av", "efficientnet-lite-pytorch", "fast-simplification", "faster-whisper", "imagecodecs", "lpips",
    "numba", "numpy", "onnxruntime", "pesq", "pillow", "pystoi", "pytorch-msssim", "rapidocr", "scikit-learn", "scipy", "soundfile", "soxr",
    "torch", "trimesh", "zimtohrli",
)  # fmt: skip


def manifest_of(plan: Plan, contenders: Sequence[Contender]) -> Manifest:
    """Versions, arguments, models and the machine."""
    import smalti

    packages = {name: version for name in _PACKAGES if (version := _version(name))}
    arguments = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(plan).items()}
    models = {name: fingerprint for contender in contenders for name, fingerprint in contender.models}
    machine = Machine(_processor(), os.cpu_count() or 1, f"{platform.system()} {platform.release()}")
    return Manifest(smalti.__version__, platform.python_version(), packages, machine, arguments, models)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """Its model's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or "unknown")
