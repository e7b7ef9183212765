"""What stands in for tokens that were lost on the way: the nearest one of their stage that came through, of lines that of the same step.

`restore.py` has better ones, for models that bring a masked prior.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import Stage, Tokens

Array = np.ndarray


def conceal(tokens: Tokens, present: Sequence[Array]) -> Tokens:
    """Tokens in which each lost one is the nearest received one of its stage, by grid steps as the crow flies. Of a line of
    tokens, the nearest is one of the same step of another line: those of other steps say other things.

    present: per stage a boolean array of the stage's shape, False where a token was lost; what stands there in `tokens` is ignored.
    Regions that a stage does not hold stay so. Raises UsageError where a stage has lost all its tokens, or all of a step:
    those are cut off first.
    """
    found = [_filled(*stage) for stage in zip(tokens.layout.stages, tokens.arrays, present, tokens.present, strict=True)]
    return Tokens(tokens.layout, tuple(found), tokens.present)


def _filled(stage: Stage, array: Array, received: Array, mask: Array | None) -> Array:
    if received.shape != array.shape or received.dtype != np.bool_:
        raise UsageError(f"what was received is boolean {array.shape}, found {received.dtype} {received.shape}")
    held = np.broadcast_to(mask, array.shape) if mask is not None else np.ones(array.shape, bool)
    if not (held & ~received).any():
        return array
    axis = stage.step_axis
    if axis is None:
        return _nearest(array, held, received)
    steps = zip(*(np.moveaxis(item, axis, 0) for item in (array, held, received)), strict=True)
    return np.stack([_nearest(*step) for step in steps], axis)


def _nearest(array: Array, held: Array, received: Array) -> Array:
    """Of arrays whose axes are all of place."""
    from scipy.ndimage import distance_transform_edt

    lost, known = held & ~received, held & received
    if not lost.any():
        return array
    if not known.any():
        raise UsageError("a stage, or a step of one, of which no token was received has nothing that could stand in for them")
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.where(lost, array[tuple(nearest)], array)
