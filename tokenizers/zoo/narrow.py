"""Weights in eight bits: a whole number in -127..127 for each, and a scale for each output channel of its layer.

Half the bytes of half precision, and an error of at most half a 127th of a channel's largest weight. Where the stored tensors have
`NAME` in int8 they have `NAME:scale` in float32 beside it; no other tensor is changed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from smalti.tokenizers.errors import ModelError

MOST = 127
SCALE = ":scale"


def pays(weight: np.ndarray) -> bool:
    """Whether eight bits a number and a scale a row are fewer than sixteen bits a number."""
    return weight.ndim > 1 and weight.size > 4 * len(weight)


def narrowed(name: str, weight: np.ndarray) -> dict[str, np.ndarray]:
    """The two tensors of a float weight (outputs, ...) of two axes or more."""
    rows = weight.astype(np.float32).reshape(len(weight), -1)
    scale = np.abs(rows).max(1) / np.float32(MOST)
    whole = np.rint(rows / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
    return {name: whole.reshape(weight.shape), name + SCALE: scale}


def widened(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors as networks take them: pairs of `narrowed` as float32, the others as they are; ModelError where a pair does not fit."""
    found = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    for key, scale in tensors.items():
        if not key.endswith(SCALE):
            continue
        name = key.removesuffix(SCALE)
        whole = tensors.get(name)
        if whole is None or whole.dtype != np.int8 or whole.ndim < 2 or scale.dtype != np.float32 or scale.shape != whole.shape[:1]:
            is_now = "missing" if whole is None else f"{whole.dtype} {whole.shape}"
            raise ModelError(f"tensor {key!r} scales int8 rows of {name!r}, found {scale.dtype} {scale.shape} and that {is_now}")
        found[name] = whole * scale.reshape(-1, *(1,) * (whole.ndim - 1))
    return found
