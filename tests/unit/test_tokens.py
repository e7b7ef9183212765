"""Tokens: stages, prefixes, segments, masks, digest and equality."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest

from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import MAX_STAGES, MAX_VOCAB, Layout, Stage, Tokens

SIZE = (("height", 30), ("width", 40))


def grid(levels: int = 3, rows: int = 2, columns: int = 3, vocab: int = 256) -> Layout:
    stages = tuple(Stage(f"level {k}", (("row", rows), ("col", columns)), vocab) for k in range(levels))
    return Layout(stages, tuple(range(1, levels + 1)), SIZE)


def filled(layout: Layout, seed: int = 0, present: tuple[Any, ...] = ()) -> Tokens:
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(0, stage.vocab, stage.shape, dtype=np.int32) for stage in layout.stages]
    for array, mask in zip(arrays, present, strict=False):
        if mask is not None:
            array[..., ~mask] = 0
    return Tokens(layout, tuple(arrays), present)


def test_a_stage_counts_its_tokens() -> None:
    stage = Stage("scale 2", (("row", 4), ("col", 5)), 1000)
    assert (stage.shape, stage.count) == ((4, 5), 20)
    assert Stage("one", (), 2).count == 1
    assert Stage("none", (("time", 0),), 2).count == 0


@pytest.mark.parametrize("vocab", [0, -1, MAX_VOCAB + 1])
def test_a_stage_of_an_impossible_vocabulary_is_refused(vocab: int) -> None:
    with pytest.raises(UsageError, match="vocab must lie in"):
        Stage("x", (("row", 1),), vocab)


def test_a_stage_of_negative_size_is_refused() -> None:
    with pytest.raises(UsageError, match="must not be negative"):
        Stage("x", (("row", -1),), 2)


@pytest.mark.parametrize("cuts", [(), (0, 3), (1, 2), (2, 1, 3), (1, 1, 3), (1, 4)])
def test_cuts_ascend_to_the_number_of_stages(cuts: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="cuts ascend"):
        Layout(grid().stages, cuts)


def test_a_layout_has_1_to_32_stages() -> None:
    with pytest.raises(UsageError, match="stages, found 0"):
        Layout((), ())
    with pytest.raises(UsageError, match=f"stages, found {MAX_STAGES + 1}"):
        grid(MAX_STAGES + 1)


def test_a_prefix_is_the_first_stages() -> None:
    tokens = filled(grid())
    prefix = tokens.prefix(2)
    assert prefix.layout == grid(2)
    assert prefix.layout.size == {"height": 30, "width": 40}
    assert all(np.array_equal(a, b) for a, b in zip(prefix.arrays, tokens.arrays, strict=False))
    assert tokens.prefix(3) == tokens
    assert tokens.prefix(2).prefix(1) == tokens.prefix(1)


def test_only_a_named_prefix_decodes() -> None:
    grouped = filled(Layout(grid().stages, (2, 3)))
    assert grouped.prefix(2).layout.cuts == (2,)
    for k in (0, 1, 4, -1):
        with pytest.raises(UsageError, match=r"choose one of 2, 3"):
            grouped.prefix(k)


def test_counts_and_uniform_bits() -> None:
    mask = np.array([[True, False, True], [False, False, True]])
    tokens = filled(grid(2), present=(None, mask))
    assert tokens.count == 6 + 3
    assert tokens.uniform_bits == 9 * 8
    assert math.isclose(filled(grid(1, vocab=1000)).uniform_bits, 6 * math.log2(1000))
    assert filled(grid(1, vocab=1)).uniform_bits == 0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3), dtype=np.int64), "wants int32"),
        (np.zeros((3, 2), dtype=np.int32), "wants int32"),
        (np.full((2, 3), 256, dtype=np.int32), r"outside 0\.\.255"),
        (np.full((2, 3), -1, dtype=np.int32), r"outside 0\.\.255"),
    ],
)
def test_arrays_fit_their_stage(array: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Tokens(grid(1), (array,))


def test_there_is_one_array_per_stage() -> None:
    with pytest.raises(UsageError, match="one array per stage"):
        Tokens(grid(2), (np.zeros((2, 3), dtype=np.int32),))
    with pytest.raises(UsageError, match="one array per stage"):
        Tokens(grid(1), (np.zeros((2, 3), dtype=np.int32),), (None, None))


ALL, NONE, LEFT = np.ones((2, 3), dtype=bool), np.zeros((2, 3), dtype=bool), np.array([[True, False, False]] * 2)


@pytest.mark.parametrize("present", [(None, LEFT, LEFT), (LEFT, LEFT, NONE), (ALL, LEFT, NONE), (None, None, ALL)])
def test_later_stages_hold_fewer_regions(present: tuple[Any, ...]) -> None:
    assert filled(grid(), present=present).present == present


@pytest.mark.parametrize("present", [(LEFT, ALL, ALL), (LEFT, None, None), (None, NONE, LEFT), (LEFT, ~LEFT, NONE)])
def test_a_region_that_an_earlier_stage_lacks_is_refused(present: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError, match="holds a region that an earlier stage lacks"):
        filled(grid(), present=present)


def test_masks_are_boolean_and_over_trailing_axes() -> None:
    array = np.zeros((2, 3), dtype=np.int32)
    for mask in (LEFT.astype(np.uint8), np.ones((3, 2), dtype=bool), np.ones(2, dtype=bool)):
        with pytest.raises(UsageError, match="boolean mask over its trailing axes"):
            Tokens(grid(1), (array,), (mask,))
    with pytest.raises(UsageError, match="absent tokens must be 0"):
        Tokens(grid(1), (array + 1,), (LEFT,))
    steps = Layout((Stage("band", (("step", 4), ("row", 2), ("col", 3)), 16),), (1,))
    assert filled(steps, present=(LEFT,)).count == 4 * 2


def test_the_digest_is_what_the_format_says() -> None:
    tokens = filled(grid(2), present=(None, LEFT))
    sha = hashlib.sha256()
    sha.update(tokens.arrays[0].astype("<i4").tobytes() + tokens.arrays[1].astype("<i4").tobytes())
    sha.update(np.packbits(LEFT).tobytes())
    assert tokens.digest() == sha.hexdigest()


def test_the_digest_does_not_depend_on_memory_order() -> None:
    tokens = filled(grid(1))
    swapped = Tokens(tokens.layout, (np.asfortranarray(tokens.arrays[0]),))
    assert swapped.digest() == tokens.digest()
    assert swapped == tokens


def test_equality_and_hash() -> None:
    tokens = filled(grid(), present=(None, LEFT, LEFT))
    same = filled(grid(), present=(None, LEFT.copy(), LEFT.copy()))
    assert tokens == same
    assert hash(tokens) == hash(same)
    assert tokens != filled(grid(), seed=1, present=(None, LEFT, LEFT))
    assert tokens != filled(grid(2))
    assert tokens != "tokens"
    zeros = tuple(np.zeros((2, 3), dtype=np.int32) for _ in range(3))
    assert Tokens(grid(), zeros) != Tokens(grid(), zeros, (None, None, ALL))
    assert Tokens(grid(), zeros) != Tokens(Layout(grid().stages, (3,), SIZE), zeros)


def timed() -> Layout:
    stages = (
        Stage("slow", (("time", 4),), 8),
        Stage("fast", (("time", 8),), 8),
        Stage("wide", (("row", 2), ("time", 8), ("col", 3)), 8),
    )
    return Layout(stages, (1, 2, 3), (("samples", 1280),))


def test_a_segment_counts_in_the_coarsest_steps() -> None:
    tokens = filled(timed())
    part = tokens.segment(1, 3)
    assert [stage.shape for stage in part.layout.stages] == [(2,), (4,), (2, 4, 3)]
    assert np.array_equal(part.arrays[0], tokens.arrays[0][1:3])
    assert np.array_equal(part.arrays[1], tokens.arrays[1][2:6])
    assert np.array_equal(part.arrays[2], tokens.arrays[2][:, 2:6])
    assert part.layout.signal == tokens.layout.signal
    assert tokens.segment(0, 4) == tokens
    assert tokens.segment(2, 2).count == 0
    assert tokens.segment(1, 3).segment(1, 2) == tokens.segment(2, 3)


def test_segments_put_together_give_the_whole() -> None:
    tokens = filled(timed())
    parts = [tokens.segment(k, k + 1) for k in range(4)]
    for stage, axis in enumerate((0, 0, 1)):
        assert np.array_equal(np.concatenate([part.arrays[stage] for part in parts], axis=axis), tokens.arrays[stage])


def test_a_segment_cuts_a_mask_only_along_time() -> None:
    rows_and_time = Layout((Stage("a", (("time", 4), ("row", 2)), 8), Stage("b", (("time", 4), ("row", 2)), 8)), (1, 2))
    mask = np.arange(8).reshape(4, 2) % 3 == 0
    part = filled(rows_and_time, present=(mask, mask)).segment(1, 3)
    assert part.present[0] is not None
    assert np.array_equal(part.present[0], mask[1:3])
    still = np.array([True, False])
    part = filled(rows_and_time, present=(still, still)).segment(1, 3)
    assert part.present[0] is not None
    assert np.array_equal(part.present[0], still)


def test_a_segment_outside_is_refused() -> None:
    for start, stop in ((-1, 2), (0, 5), (3, 2)):
        with pytest.raises(UsageError, match=r"a segment lies in 0\.\.4"):
            filled(timed()).segment(start, stop)


def test_only_timed_tokens_have_segments() -> None:
    odd = Layout((Stage("slow", (("time", 4),), 8), Stage("odd", (("time", 6),), 8)), (1, 2))
    for layout in (grid(), odd, Layout((timed().stages[0], grid(1).stages[0]), (2,))):
        with pytest.raises(UsageError, match="have segments"):
            filled(layout).segment(0, 1)
