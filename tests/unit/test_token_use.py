"""How codebooks are used: counts against known distributions, shared bits against made-up dependence, and the picture."""

from __future__ import annotations

import math

import numpy as np
import pytest

from smalti.metrics.tokens import entropy_bits, picture, shared_bits, use_of
from smalti.tokenizers.tokens import Layout, Stage, Tokens

RNG = np.random.default_rng(0)


def tokens(*arrays: np.ndarray, vocab: int = 16, present: tuple[np.ndarray | None, ...] | None = None) -> Tokens:
    stages = tuple(Stage(f"level{i}", tuple(zip(("row", "col"), array.shape, strict=False)), vocab) for i, array in enumerate(arrays))
    layout = Layout(stages, tuple(range(1, len(arrays) + 1)))
    values = tuple(array.astype(np.int32) for array in arrays)
    return Tokens(layout, values, present) if present else Tokens(layout, values)


def test_entries_perplexity_and_entropy_are_counted_over_all_tokens() -> None:
    (use,) = use_of([tokens(np.array([[0, 0, 1]])), tokens(np.array([[1, 7, 7], [1, 0, 7]]))])
    assert (use.size, use.used, use.dead) == (16, 3, 13)
    assert use.entropy_bits == pytest.approx(math.log2(3))
    assert use.perplexity == pytest.approx(3)
    assert use_of([]) == []


def test_one_entry_alone_has_no_entropy() -> None:
    (use,) = use_of([tokens(np.full((4, 4), 3))])
    assert (use.used, use.entropy_bits, use.perplexity, use.neighbour_bits) == (1, 0.0, 1.0, 0.0)
    assert math.copysign(1, use.entropy_bits) == 1
    assert entropy_bits(np.zeros(4)) == 0


def test_absent_tokens_count_for_nothing() -> None:
    array = np.array([[5, 0, 0], [5, 5, 0]])
    mask = np.array([[True, False, False], [True, True, False]])
    (use,) = use_of([tokens(array, present=(mask,))])
    assert (use.used, use.entropy_bits) == (1, 0.0)


def test_independent_tokens_share_nothing() -> None:
    first, second = RNG.integers(0, 1024, (2, 10_000))
    assert shared_bits(first, second) < 0.05  # counted as it is, 5 bits
    assert shared_bits(first[:0], second[:0]) == 0


def test_dependent_tokens_share_what_they_share() -> None:
    first = RNG.integers(0, 16, 50_000)
    assert shared_bits(first, first) == pytest.approx(4, abs=0.02)
    assert shared_bits(first, first // 4) == pytest.approx(2, abs=0.02)
    assert shared_bits(first, (first + RNG.integers(0, 4, 50_000)) % 16) == pytest.approx(2, abs=0.02)


def test_neighbours_and_levels_are_told_apart() -> None:
    rows = np.repeat(RNG.integers(0, 16, (64, 1)), 64, 1)  # each row one entry
    noise = RNG.integers(0, 16, (64, 64))
    first, second, third = use_of([tokens(rows, noise, (noise + 3) % 16)])
    assert first.level_bits is None
    assert first.neighbour_bits == pytest.approx(first.entropy_bits, abs=0.1)
    assert second.neighbour_bits == pytest.approx(0, abs=0.05)
    assert second.level_bits == pytest.approx(0, abs=0.05)
    assert third.level_bits == pytest.approx(4, abs=0.1)


def test_stages_of_other_shapes_share_no_levels() -> None:
    coarse, fine = use_of([tokens(np.zeros((1, 1)), np.zeros((3, 3)))])
    assert coarse.neighbour_bits is None, "no token has a neighbour"
    assert fine.level_bits is None


@pytest.mark.parametrize(("vocab", "side"), [(2, 16), (16, 32), (1000, 256), (2**18, 256)])
def test_the_picture_shows_every_stage(vocab: int, side: int) -> None:
    image = picture([tokens(RNG.integers(0, vocab, (30, 30)), np.zeros((30, 30)), vocab=vocab)])
    assert image.pixels.shape == (side + 16, 8 + 2 * (side + 8), 3)
    square = image.pixels[8:-8, 16 + side : 16 + 2 * side]
    assert square[0, 0].min() > 128, "the one entry that is used is bright"
    assert square[0, -1].tolist() == [150, 30, 30], "one that is not is red"


def test_grey_is_the_fair_share() -> None:
    image = picture([tokens(np.arange(16).reshape(4, 4))])
    assert np.all(image.pixels[8:-8, 8:-8] == 128)
