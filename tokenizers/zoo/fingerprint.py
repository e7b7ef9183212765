"""Fingerprints: which config and weights made a file, as one SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def fingerprint(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], prior: str = "") -> str:
    """SHA-256 (hex) over config, id of the default prior, and (name, dtype, shape, little-endian bytes) of the tensors in name order.

    config: the plain dictionary as stored, not what a later release makes of it: a key that is added with a default leaves old
    fingerprints alone.
    """
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    sha = hashlib.sha256(f"{canonical}\n{prior}\n".encode())
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        sha.update(f"{name} {array.dtype.str[1:]} {list(array.shape)}\n".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
