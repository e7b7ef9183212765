"""Signs <-> integers, for the codebooks whose entries are corners of a cube.

"little": the first dimension is the lowest bit, as FSQ counts. "big": the first dimension is the highest bit, as in
vector-quantize-pytorch and bsq-vit; MAGVIT-v2's published description fixes neither. Integer arithmetic throughout: a sum in float32
would be wrong from 2^24 on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.tokenizers.errors import UsageError

ORDERS = ("little", "big")
MOST_BITS = 30  # tokens are int32


def check_bits(name: str, bits: int, bit_order: str) -> None:
    """UsageError where no token can hold such a code."""
    if not 1 <= bits <= MOST_BITS:
        raise UsageError(f"{name} has 1 to {MOST_BITS} bits, since tokens are int32, found {bits}; put several side by side for more")
    if bit_order not in ORDERS:
        raise UsageError(f"bit_order is 'little' or 'big', found {bit_order!r}")


def shifts(bits: int, bit_order: str) -> Tensor:
    """int64 (bits,): the place of each dimension's bit."""
    places = torch.arange(bits)
    return places if bit_order == "little" else places.flip(0)


def pack(z: Tensor, places: Tensor) -> Tensor:
    """Index (N,) of the signs of z (N, bits): a bit is 1 where z > 0, so of the two codes equally near to 0 the lower is taken."""
    return ((z > 0).long() << places).sum(-1)


def unpack(indices: Tensor, places: Tensor) -> Tensor:
    """Signs, -1 or 1 in float32, (N, bits) of indices (N,)."""
    return ((indices[..., None] >> places) & 1).float() * 2 - 1
