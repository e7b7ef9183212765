"""Streams of version 1 decode to the symbols they were made of, and are written again byte for byte, by plain and by compiled loops."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from smalti.codecs.coders.intervals import IntervalDecoder
from smalti.codecs.coders.range_coder import check_end, decode_bit, decoder_state
from smalti.codecs.coders.rans import Decoder

HERE = Path(__file__).parent


def _regenerate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_regenerate_coders", HERE / "regenerate_coders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MADE = _regenerate()


@pytest.mark.parametrize("fast", [False, True])
def test_written_again_byte_for_byte(fast: bool) -> None:
    for name, data in MADE.streams(fast).items():
        assert data == (HERE / name).read_bytes(), name


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("lanes", [1, 4])
def test_rans_decodes_to_the_known_symbols(lanes: int, fast: bool) -> None:
    data, runs = (HERE / f"rans-{lanes}.stream").read_bytes(), MADE.runs(lanes)
    coder = Decoder(data, sum(len(symbols) for symbols, _ in runs), fast)
    for symbols, model in runs:
        assert np.array_equal(coder.take(len(symbols), model), symbols)
    coder.finish()
    assert (data[0] == 4) == (lanes == 4)


def test_range_bits_decode_to_the_known_ones() -> None:
    data = (HERE / "range-bits.stream").read_bytes()
    bits, probabilities = MADE.bits()
    state = decoder_state(data)
    assert [decode_bit(state, data, p) for p in probabilities] == bits
    check_end(state, data)


@pytest.mark.parametrize("fast", [False, True])
def test_range_intervals_decode_to_the_known_symbols(fast: bool) -> None:
    symbols, starts = MADE.intervals()
    coder = IntervalDecoder((HERE / "range-intervals.stream").read_bytes(), fast)
    assert np.array_equal(coder.take(starts), symbols)
    coder.finish()
