"""What stands in for tokens that were lost on the way: the nearest one of their stage that came through.

`restore.py` has those that a masked prior foretells, which are not better yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import Tokens

Array = np.ndarray


def conceal(tokens: Tokens, present: Sequence[Array]) -> Tokens:
    """Tokens in which each lost one is the nearest received one of its stage, by grid steps as the crow flies.

    present: per stage a boolean array of the stage's shape, False where a token was lost; what stands there in `tokens` is ignored.
    Regions that a stage does not hold stay so. Raises UsageError where a stage has lost all its tokens: those are cut off first.
    """
    found = [_filled(*stage) for stage in zip(tokens.arrays, present, tokens.present, strict=True)]
    return Tokens(tokens.layout, tuple(found), tokens.present)


def _filled(array: Array, received: Array, mask: Array | None) -> Array:
    from scipy.ndimage import distance_transform_edt

    if received.shape != array.shape or received.dtype != np.bool_:
        raise UsageError(f"what was received is boolean {array.shape}, found {received.dtype} {received.shape}")
    held = np.broadcast_to(mask, array.shape) if mask is not None else np.ones(array.shape, bool)
    lost = held & ~received
    if not lost.any():
        return array
    known = held & received
    if not known.any():
        raise UsageError("a stage of which no token was received has nothing that could stand in for them")
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.where(lost, array[tuple(nearest)], array)
