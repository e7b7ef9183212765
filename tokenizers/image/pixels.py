"""Pictures as networks see them, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import MAX_PIXELS, MAX_SIDE, Image, Signal


def image_of(signal: Signal, name: str) -> Image:
    """The signal, if it is a picture; `name` is the tokenizer's. Raises SignalError."""
    if not isinstance(signal, Image):
        raise SignalError(f"{name} tokenizes pictures, found {type(signal).__name__}")
    return signal


def picture_size(signal: tuple[tuple[str, int], ...], name: str) -> tuple[int, int]:
    """(height, width) of a picture's size as `Layout.signal` has it; UsageError where it is none, or too large."""
    size = dict(signal)
    if set(size) != {"height", "width"} or min(size.values()) < 1:
        raise UsageError(f"{name} tokenizes pictures: its signal size is height and width, found {signal}")
    if max(size.values()) > MAX_SIDE or size["height"] * size["width"] > MAX_PIXELS:
        raise UsageError(f"pictures have sides up to {MAX_SIDE} and {MAX_PIXELS} pixels at most, found {size['width']} x {size['height']}")
    return size["height"], size["width"]


def to_float(pixels: np.ndarray) -> Tensor:
    """uint8 or uint16 (h, w, 3) -> float32 (3, h, w) in [-1, 1]."""
    scale = 127.5 if pixels.dtype == np.uint8 else 32767.5
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / scale - 1


def to_eight_bits(pictures: Tensor) -> np.ndarray:
    """Pictures (B, 3, h, w), about in [-1, 1], -> uint8 (B, h, w, 3)."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
