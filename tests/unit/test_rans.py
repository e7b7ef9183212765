import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalti.codecs.coders.rans import Decoder, Encoder
from smalti.codecs.coders.tables import Model, Table, quantize, table, uniform
from smalti.tokenizers.errors import BitstreamError, UsageError

VOCABS = [1, 2, 3, 100, 4096, 4097, 2**20, 2**31 - 1]
Runs = list[tuple[np.ndarray, Model]]


def _encode(runs: Runs, fast: bool | None = None) -> tuple[bytes, float, int]:
    size = sum(len(symbols) for symbols, _ in runs)
    coder = Encoder(size)
    for symbols, model in runs:
        coder.put(symbols, model)
    return coder.finish(fast), coder.bits, size


def _decode(data: bytes, runs: Runs, size: int, fast: bool | None = None) -> list[np.ndarray]:
    coder = Decoder(data, size, fast)
    out = [coder.take(len(symbols), model) for symbols, model in runs]
    coder.finish()
    return out


def _skewed(vocab: int, kind: str) -> Table:
    if kind == "zipf":
        return table(quantize(1 / np.arange(1, vocab + 1)))
    rest = {"even": 1 - 1 / vocab, "p99": 0.01, "p999": 0.001}[kind]
    return table(quantize(np.r_[1 - rest, np.full(vocab - 1, rest / (vocab - 1))]))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 255, 4095, 4096, 5000, 100_000, 1_000_000])
@pytest.mark.parametrize("kind", ["even", "zipf", "p99", "p999"])
@pytest.mark.parametrize("vocab", [2, 4096])
def test_overhead_is_half_a_percent_and_eight_bytes(vocab: int, kind: str, count: int) -> None:
    model = _skewed(vocab, kind)
    symbols = np.random.default_rng(count).choice(vocab, count, p=model.frequencies / 65536)
    data, bits, size = _encode([(symbols, model)])
    assert len(data) <= 8 + 1.005 * bits / 8
    assert np.array_equal(_decode(data, [(symbols, model)], size)[0], symbols)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 100, 4096, 4097, 2**20, 2**31 - 1]), st.integers(0, 400)), max_size=5), st.integers(0, 99)
)
def test_reference_and_fast_path_write_the_same_bytes(plan: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    runs: Runs = [(rng.integers(0, vocab, count), uniform(vocab)) for vocab, count in plan]
    slow, fast = _encode(runs, fast=False), _encode(runs, fast=True)
    assert slow == fast
    for path in (False, True):
        for out, (symbols, _) in zip(_decode(slow[0], runs, slow[2], path), runs, strict=True):
            assert np.array_equal(out, symbols)


@pytest.mark.parametrize("count", [4096, 20000])
def test_four_lanes_are_equal_on_both_paths(count: int) -> None:
    symbols = np.random.default_rng(0).integers(0, 3000, count)
    runs: Runs = [(symbols, uniform(3000)), (symbols[:7] % 2, uniform(2))]
    slow = _encode(runs, fast=False)
    assert slow == _encode(runs, fast=True)
    assert slow[0][0] == 4
    for path in (False, True):
        assert np.array_equal(_decode(slow[0], runs, slow[2], path)[0], symbols)


def test_known_bytes() -> None:
    data, _, _ = _encode([(np.array([3, 1, 0, 2, 3]), uniform(4)), (np.array([1, 0, 1]), table(np.array([60000, 5536])))])
    assert data.hex() == "00f9e063"  # as FORMAT.md's example; a change here breaks every file


def test_one_entry_alphabets_cost_nothing() -> None:
    data, _, size = _encode([(np.zeros(5000, np.int64), uniform(1))])
    assert data == b""
    assert not _decode(data, [(np.zeros(5000), uniform(1))], size)[0].any()


@pytest.mark.parametrize("count", [3, 200, 6000])
def test_every_truncation_and_extension_is_refused(count: int) -> None:
    symbols = np.random.default_rng(1).integers(0, 1000, count)
    runs: Runs = [(symbols, uniform(1000))]
    data, _, size = _encode(runs)
    for wrong in [data[:n] for n in range(0, len(data), 1 + len(data) // 300)] + [data + b"\0", data + b"\1", data + b"\0\0"]:
        with pytest.raises(BitstreamError):
            _decode(wrong, runs, size)


def test_flips_never_give_the_same_symbols_or_another_error() -> None:
    symbols = np.random.default_rng(2).integers(0, 100, 50)
    runs: Runs = [(symbols, uniform(100))]
    data, _, size = _encode(runs)
    for bit in range(8 * len(data)):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        try:
            out = _decode(bytes(wrong), runs, size)[0]
        except BitstreamError:
            continue
        assert not np.array_equal(out, symbols)


def test_impossible_counts_are_refused_before_memory_is_taken() -> None:
    for vocab, count in ((2, 2**28), (4096, 2**28), (2**31 - 1, 2**28), (1, 2**28)):
        with pytest.raises(BitstreamError):
            Decoder(b"\1" + bytes(100), 2**28).take(count, uniform(vocab))


def test_symbols_outside_the_table_are_refused() -> None:
    with pytest.raises(UsageError):
        Encoder(1).put(np.array([4]), uniform(4))
    with pytest.raises(UsageError):
        Encoder(1).put(np.array([-1]), uniform(4))


def test_numba_and_torch_stay_unloaded_until_used() -> None:
    code = "import sys, smalti.codecs.bitstream, smalti.codecs.priors.static; assert not {'numba', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
