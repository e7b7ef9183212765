"""Whether borders show in an error picture (decoded minus original): its steps across them beside its steps elsewhere; 1 is invisible."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def join_ratio(error: np.ndarray, side: int) -> float | None:
    """Mean absolute gradient of an error (H, W, C) across borders of squares of that side, over that within; None without borders."""
    return ratio(gradients(error, lambda place: place % side == 0), gradients(error, lambda place: place % side != 0))


def gradients(error: np.ndarray, chosen: Callable[[int], bool]) -> list[float]:
    """Mean absolute steps from pixel place - 1 to place, along rows and columns, at the chosen places."""
    found: list[float] = []
    for turned in (error, error.swapaxes(0, 1)):
        found += [float(np.abs(turned[i] - turned[i - 1]).mean(dtype=np.float64)) for i in range(1, len(turned)) if chosen(i)]
    return found


def ratio(above: Sequence[float], below: Sequence[float]) -> float | None:
    """Mean over mean; None where there is nothing to divide, or by."""
    return float(np.mean(above) / np.mean(below)) if len(above) and len(below) and np.mean(below) > 0 else None
