"""What all comparisons ask of their two sides first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.signals import Image, Signal


def eight_bits(reference: Signal, decoded: Signal) -> tuple[np.ndarray, np.ndarray]:
    """The uint8 pixels (H, W, 3) of two pictures of one size; SignalError for anything else."""
    if not isinstance(reference, Image) or not isinstance(decoded, Image):
        raise SignalError(f"picture metrics compare pictures, found {type(reference).__name__} and {type(decoded).__name__}")
    if reference.pixels.shape != decoded.pixels.shape:
        raise SignalError(f"pictures differ in size: {reference.pixels.shape} and {decoded.pixels.shape}")
    return reference.eight_bits, decoded.eight_bits


def check_sets(references: Sequence[Signal], decoded: Sequence[Signal], least: int = 1) -> None:
    """SignalError unless both sets hold the same number of signals, `least` or more."""
    if len(references) != len(decoded):
        raise SignalError(f"sets differ in length: {len(references)} originals and {len(decoded)} decoded; give one for each")
    if len(references) < least:
        raise SignalError(f"a set of {len(references)}, expected {least} or more; give more of them")
