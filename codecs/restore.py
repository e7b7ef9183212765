"""Lost tokens as a masked prior foretells them, from all that came through around them.

Extreme VQGAN (arXiv 2307.08265) draws likely entries. At eight bits of doubt a token those are often far from what was lost, and even the
likeliest look worse than a copy of the nearest received token (recipes/LOG.md). Ours: the entry nearest to the expected vector, and what
an entry misses of it is left to the stages after it. One pass: entries chosen so say little of what was there, and are not shown as known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_view import View
from smalti.tokenizers.contracts import Quantizer
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import Tokens

Array = np.ndarray


def restore(prior: MaskedPrior, tokens: Tokens, received: Sequence[Array], vectors: Sequence[Array]) -> Tokens:
    """Tokens in which each lost one is as near as its stage comes to what the prior expects; those received stay as they are.

    received: per stage a boolean array of the stage's shape, False where a token was lost; what stands there in `tokens` is ignored.
    vectors: what `vectors_of` gives, for all stages of the tokens. Regions that a stage does not hold stay so. Raises UsageError for other
    shapes and for more positions than the prior takes, ModelError for tokens that it is not for.
    """
    prior.check(tokens.layout)
    if not len(received) == len(tokens.arrays) <= len(vectors):
        raise UsageError(f"{len(tokens.arrays)} stages want as many arrays of what was received, found {len(received)}")
    for array, there in zip(tokens.arrays, received, strict=True):
        if there.shape != array.shape or there.dtype != np.bool_:
            raise UsageError(f"what was received is boolean {array.shape}, found {there.dtype} {there.shape}")
    view = View(prior.config, tokens.layout.stages[0].shape)
    held = [np.broadcast_to(True if mask is None else mask, array.shape) for array, mask in zip(tokens.arrays, tokens.present, strict=True)]
    for k, array in enumerate(tokens.arrays):
        view.know(k, array, held[k] & received[k])
    missing = np.zeros((*view.shape, vectors[0].shape[1]))  # of the expected vectors, by the stages so far
    arrays = []
    for k, array in enumerate(tokens.arrays):
        filled = array.copy()
        for found in prior.foretell(view, k, held[k] & ~received[k]):
            wanted = missing[found.rows, found.columns] + found.shares @ vectors[k]
            entries = _nearest(wanted, vectors[k])
            filled[found.rows, found.columns] = entries
            missing[found.rows, found.columns] = wanted - vectors[k][entries]
        arrays.append(filled)
    return Tokens(tokens.layout, tuple(arrays), tokens.present)


def vectors_of(quantizer: Quantizer, vocab: int, stages: int) -> list[Array]:
    """float64 (vocab, D) a stage: what each entry adds to a position's latent, beside entry 0; for stages whose parts add up."""
    import torch

    nothing = torch.zeros((stages, 1, 1, vocab), dtype=torch.int64, device=_device(quantizer))
    found = []
    with torch.inference_mode():
        for k in range(stages):
            indices = nothing.clone()
            indices[k, 0, 0] = torch.arange(vocab)
            latents = quantizer.dequantize(list(indices), (1, vocab))[0, :, 0].T.double().cpu().numpy()
            found.append(latents - latents[0])
    return found


def _device(quantizer: Any) -> Any:
    import torch

    return next((tensor.device for tensor in quantizer.state_dict().values()), torch.device("cpu"))


def _nearest(wanted: Array, vectors: Array) -> Array:
    """The entry nearest to each row; of equals the first."""
    distances = (vectors**2).sum(1) - 2 * wanted @ vectors.T
    return distances.argmin(1)
