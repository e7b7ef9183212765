"""What cards of all kinds of models say."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import torch

LICENCE = "as the training data's"


def machine(device: str) -> str:
    """What it was trained on."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} cores of {platform.machine()}"


def training_seconds(folder: Path) -> float:
    """Those that the log of a run counts."""
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(float(json.loads(line).get("seconds", 0)) for line in lines)
