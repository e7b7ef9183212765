"""Write the golden streams of the coders again: `PYTHONPATH=. python tests/golden/regenerate_coders.py` in the root.

Only ever run on purpose: streams of version 1 must read for ever.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smalti.codecs.coders.intervals import IntervalEncoder
from smalti.codecs.coders.range_coder import encode_bit, encoder_state, finish
from smalti.codecs.coders.rans import Encoder
from smalti.codecs.coders.tables import Model, quantize, table, uniform

HERE = Path(__file__).parent


def _counting(count: int, vocab: int) -> np.ndarray:
    """Symbols by arithmetic, small ones more often: a random generator's stream may change between releases of NumPy."""
    wild = np.arange(count, dtype=np.int64) * 7919 % 10007
    return wild * wild % 10007 * vocab // 10007 * (1 + wild % 5) // 5


def runs(lanes: int) -> list[tuple[np.ndarray, Model]]:
    """Symbols and their models for one or four lanes: a skewed table, a uniform one, and one of two digits."""
    count = {1: 300, 4: 5000}[lanes]
    skewed = table(quantize(1000 - np.arange(1000)))
    return [(_counting(count, 1000), skewed), (_counting(70, 3), uniform(3)), (_counting(40, 100_000), uniform(100_000))]


def bits() -> tuple[list[int], list[int]]:
    """Bits and the probability of 1 for each, over all of 1..65535."""
    probabilities = [1, 65535, 32768, *(1 + _counting(600, 65535)).tolist()]
    wild = [i * i * 40503 % 65536 for i in range(len(probabilities))]
    return [int(w < p) for w, p in zip(wild, probabilities, strict=True)], probabilities


def intervals() -> tuple[np.ndarray, np.ndarray]:
    """Symbols and the running sums of a table for each: totals from 9 to 2^24."""
    frequencies = 1 + _counting(400 * 9, 1000).reshape(400, 9) * np.array([0, 1, 40, 1800])[np.arange(400) % 4][:, None]
    frequencies[3, 4] += (1 << 24) - frequencies[3].sum()
    return _counting(400, 9), np.concatenate((np.zeros((400, 1), np.int64), frequencies.cumsum(1)), axis=1)


def streams(fast: bool) -> dict[str, bytes]:
    """Name -> bytes as this release writes them."""
    written = {}
    for lanes in (1, 4):
        coder = Encoder(sum(len(symbols) for symbols, _ in runs(lanes)))
        for symbols, model in runs(lanes):
            coder.put(symbols, model)
        written[f"rans-{lanes}.stream"] = coder.finish(fast)
    state, out = encoder_state(), bytearray(2 * len(bits()[0]))
    for bit, p in zip(*bits(), strict=True):
        encode_bit(state, out, bit, p)
    own = IntervalEncoder(fast)
    own.put(*intervals())
    return written | {"range-bits.stream": finish(state, out), "range-intervals.stream": own.finish()}


if __name__ == "__main__":
    for name, data in streams(fast=False).items():
        (HERE / name).write_bytes(data)
