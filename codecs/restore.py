"""Lost tokens as a masked prior foretells them, from all that came through around them.

Nothing uses this yet: with the first trained prior it leaves less of a picture than the nearest received token does (recipes/LOG.md).

Extreme VQGAN's way (arXiv 2307.08265), in MaskGIT's rounds (arXiv 2202.04200): in each the surest entries are taken and help to foretell
the others. Ours: no dice, the likeliest entry each time, so that the same damage gives the same picture everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from smalti.codecs.priors.masked import Foretold, MaskedPrior, View
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import Tokens

Array = np.ndarray
ROUNDS = 4


def restore(prior: MaskedPrior, tokens: Tokens, received: Sequence[Array], rounds: int = ROUNDS) -> Tokens:
    """Tokens in which each lost one is the likeliest, coarse stages first; those received stay as they are.

    received: per stage a boolean array of the stage's shape, False where a token was lost; what stands there in `tokens` is ignored.
    Regions that a stage does not hold stay so. Raises UsageError for other shapes, ModelError for tokens that the prior is not for.
    """
    prior.check(tokens.layout)
    for array, there in zip(tokens.arrays, received, strict=True):
        if there.shape != array.shape or there.dtype != np.bool_:
            raise UsageError(f"what was received is boolean {array.shape}, found {there.dtype} {there.shape}")
    view = View(prior.config, tokens.layout.stages[0].shape)
    held = [np.broadcast_to(True if mask is None else mask, array.shape) for array, mask in zip(tokens.arrays, tokens.present, strict=True)]
    for k, array in enumerate(tokens.arrays):
        view.know(k, array, held[k] & received[k])
    arrays = [_filled(prior, view, k, array.copy(), held[k] & ~received[k], rounds) for k, array in enumerate(tokens.arrays)]
    return Tokens(tokens.layout, tuple(arrays), tokens.present)


def _filled(prior: MaskedPrior, view: View, stage: int, array: Array, lost: Array, rounds: int) -> Array:
    total = int(lost.sum())
    left = lost.copy()
    for done in range(1, rounds + 1):
        if not left.any():
            break
        found = prior.foretell(view, stage, left)
        keep = _surest(found, len(found.rows) - math.floor(total * math.cos(math.pi / 2 * done / rounds) + 1e-9))
        where = (found.rows[keep], found.columns[keep])
        array[where] = found.entries[keep]
        left[where] = False
        view.know(stage, array, lost & ~left)
    return array


def _surest(found: Foretold, count: int) -> Array:
    """Indices of the `count` likeliest, at least one; of equals those that come first."""
    return np.argsort(-found.frequencies, kind="stable")[: max(count, 1)]
