"""The reader: each window once an epoch, the same batches for any number of processes, resumed anywhere, mixtures by share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.prepare.gathering import permuted
from smalti.prepare.imported import write_codes
from smalti.prepare.loading import TokenBatches, TokenWindows
from smalti.prepare.packs import PackOptions, write_pack
from smalti.prepare.permutation import order_of, permute
from smalti.prepare.plan import PlannedModel
from smalti.prepare.reader import Batches, PackReader, mix, mixed_places, open_pack
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

LINE = Layout((Stage("grid", (("row", 1), ("col", 10)), 500),), (1,))


def pack(folder: Path, count: int = 46, first: int = 0, **more: Any) -> PackReader:
    """Documents of 15 ids each; token 0 of each is its number."""
    tokens = [Tokens(LINE, (np.full((1, 10), i, np.int32),)) for i in range(first, first + count)]
    models = [PlannedModel("tiny", "tiny@1", "image-grid", "image", "a" * 64, {}, "")]
    codes = write_codes(folder / f"OUT{first}", models, [(str(i), 0, made) for i, made in enumerate(tokens)])
    return open_pack(write_pack(codes, PackOptions(**{"context": 29, **more})).folder)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> PackReader:
    """23 rows of two documents, in several files."""
    return pack(tmp_path_factory.mktemp("pack"), shard_bytes=400)


def rows_of(reader: PackReader) -> list[tuple[int, ...]]:
    return [tuple(reader.windows()[i].tolist()) for i in range(len(reader.windows()))]


@given(st.integers(1, 3000), st.integers(0, 5), st.integers(0, 3))
def test_orders_are_one_to_one(n: int, seed: int, epoch: int) -> None:
    found = permute(np.arange(n), order_of(n, seed, epoch))
    assert np.array_equal(np.sort(found), np.arange(n))


@pytest.mark.parametrize("n", [1, 2, 3, 64, 1000, 2**31 + 5, 2**60])
def test_the_compiled_order_equals_the_plain_one(n: int) -> None:
    order = order_of(n, 7)
    count = min(n, 300)
    for first in (0, n - count):
        found = permuted(first, count, order.n, order.half, order.keys)
        assert np.array_equal(found, permute(np.arange(first, first + count), order))
        assert found.min() >= 0
        assert found.max() < n


def test_orders_differ_and_look_random() -> None:
    found = [permute(np.arange(10_000), order_of(10_000, seed, epoch)) for seed in range(2) for epoch in range(2)]
    for i, one in enumerate(found):
        # the correlation of a random order with the places has a deviation of .01
        assert abs(np.corrcoef(one, np.arange(10_000))[0, 1]) < 0.04
        assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.04
        for other in found[i + 1 :]:
            assert (one == other).sum() < 10


def test_an_order_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="an order has 1"):
        order_of(0)


def test_an_epoch_has_every_window_once(reader: PackReader) -> None:
    batches = reader.batches(4, seed=3)
    found = [tuple(row) for step in range(23) for row in batches[step].tolist()]  # 4 epochs of 23 rows
    for epoch in range(4):
        assert Counter(found[23 * epoch : 23 * (epoch + 1)]) == Counter(rows_of(reader))
    assert found[:23] != found[23:46]
    assert batches.epochs(23) == (4.0,)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_batches_do_not_depend_on_the_number_of_processes(reader: PackReader, world: int) -> None:
    batches = reader.batches(8, seed=1)
    for step in (0, 2, 1000, 10**9):  # 2: the end of an epoch within the batch
        parts = [batches.rank(rank, world)[step] for rank in range(world)]
        assert np.array_equal(np.concatenate(parts), batches[step])


def test_a_step_does_not_depend_on_those_before(reader: PackReader) -> None:
    batches = reader.batches(5, seed=2)
    whole = [batches[step].copy() for step in range(12)]
    again = open_pack(reader.pack.folder).batches(5, seed=2)
    assert np.array_equal(again[11], whole[11])
    assert not np.array_equal(reader.batches(5, seed=3)[11], whole[11])


def test_a_batch_that_is_held_is_not_filled_again(reader: PackReader) -> None:
    batches = reader.batches(2)
    held = [batches[step] for step in range(20)]
    kept = [batch.copy() for batch in held]
    views = [batches[step][:, 1:] for step in range(20)]
    for step in range(20, 60):
        batches[step]
    assert all(np.array_equal(a, b) for a, b in zip(held, kept, strict=True))
    assert all(np.array_equal(view, batch[:, 1:]) for view, batch in zip(views, kept, strict=True))


def test_pythons_that_count_otherwise_fill_no_batch_that_is_held(reader: PackReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 3.14 on a name that is only lent does not count: a batch that is held has the 3 references that a free one has before."""
    import sys

    from smalti.prepare import reader as module

    class Lending:
        getrefcount = staticmethod(lambda thing: sys.getrefcount(thing) - 2)  # this call's own, and the one that is lent

    monkeypatch.setattr(module, "sys", Lending)
    monkeypatch.setattr(module, "FREE", module._references())
    batches = reader.batches(2)
    held = [batches[step] for step in range(6)]
    assert len({batch.ctypes.data for batch in held}) == 6
    del held
    assert len({batches[step].ctypes.data for step in range(20)}) < 4


def test_a_batch_that_nobody_holds_is_filled_again(reader: PackReader) -> None:
    batches = reader.batches(2)
    assert len({batches[step].ctypes.data for step in range(20)}) < 3


def test_a_state_is_that_of_its_run(reader: PackReader) -> None:
    batches = reader.batches(4, seed=1)
    state = batches.state(77)
    assert reader.batches(4, seed=1).check_state(state) == 77
    for other in (reader.batches(4, seed=2), reader.batches(5, seed=1), reader.batches(4, seed=1, length=10)):
        with pytest.raises(UsageError, match="this state is of another run"):
            other.check_state(state)


def test_windows_of_any_length_cover_the_stream(reader: PackReader) -> None:
    whole = reader.ids.read(0, len(reader.ids))
    windows = reader.windows(100)
    assert len(windows) == 7
    assert np.array_equal(np.concatenate([windows[i] for i in range(6)]), whole[:600])
    assert np.array_equal(windows[6], whole[-100:])
    with pytest.raises(IndexError, match="no window 7"):
        windows[7]
    with pytest.raises(UsageError, match=r"windows have 1\.\.690 ids, found 691"):
        reader.windows(691)


def test_a_pack_without_rows_needs_a_length(tmp_path: Path) -> None:
    documents = pack(tmp_path, 5, packing="documents")
    with pytest.raises(UsageError, match="needs a length"):
        documents.windows()
    assert documents.batches(2, length=7)[0].shape == (2, 7)


def test_documents_and_segments(reader: PackReader) -> None:
    assert len(reader) == 46
    assert [int(reader.tokens(i).arrays[0][0, 0]) for i in range(46)] == reader.records["item"].tolist()
    assert reader.of_item(45) == reader.records["item"].tolist().index(45)
    assert reader.of_item(46) is None
    assert reader.segments(10, 25).tolist() == [0] * 5 + [1] * 15 + [2] * 5
    with pytest.raises(UsageError, match="no document 46; this pack has 46"):
        reader.tokens(46)


@pytest.mark.parametrize("shares", [(3, 1), (1, 1, 5), (1,)])
def test_mixtures_keep_their_shares(shares: tuple[int, ...]) -> None:
    total = sum(shares)
    sources, places = mixed_places(shares, 9, 0, 40 * total)
    for source, share in enumerate(shares):
        assert places[sources == source].tolist() == list(range(40 * share))  # each in its own order, none left out
    for first, count in ((0, 1), (total - 1, 3), (7 * total + 2, 5 * total)):
        some, where = mixed_places(shares, 9, first, count)
        assert np.array_equal(some, sources[first : first + count])
        assert np.array_equal(where, places[first : first + count])
    if len(shares) > 1:
        assert len({tuple(sources[total * i : total * (i + 1)].tolist()) for i in range(40)}) > 1


def test_packs_are_mixed(tmp_path: Path) -> None:
    one, two = pack(tmp_path, 20), pack(tmp_path, 20, first=100)
    batches = mix({one: 3, two: 1}, 8, seed=5)
    found = np.concatenate([batches[step] for step in range(10)])
    first = np.where(found[:, 2] >= 100 + one.pack.vocabulary.of_stage("image", "grid", 500).base, 1, 0)
    assert first.sum() == 20
    assert Counter(map(tuple, found[first == 1].tolist())) == Counter(rows_of(two) * 2)
    assert np.array_equal(np.concatenate([batches.rank(r, 3)[4] for r in range(3)]), batches[4])


def test_packs_of_other_vocabularies_are_not_mixed(tmp_path: Path) -> None:
    other = Layout((Stage("grid", (("row", 1), ("col", 10)), 600),), (1,))
    models = [PlannedModel("tiny", "tiny@1", "image-grid", "image", "a" * 64, {}, "")]
    codes = write_codes(tmp_path / "X", models, [(str(i), 0, Tokens(other, (np.zeros((1, 10), np.int32),))) for i in range(4)])
    two = open_pack(write_pack(codes, PackOptions(context=29)).folder)
    with pytest.raises(UsageError, match="different vocabularies"):
        mix({pack(tmp_path, 4): 1, two: 1}, 2)


def test_impossible_batches_are_refused(reader: PackReader) -> None:
    with pytest.raises(UsageError, match="a batch has 1 window at least"):
        reader.batches(0)
    with pytest.raises(UsageError, match="rank 3 of 3"):
        reader.batches(8).rank(3, 3)
    with pytest.raises(UsageError, match="rank 0 of 9"):
        reader.batches(8).rank(0, 9)
    with pytest.raises(UsageError, match="a share from 1 on"):
        Batches((reader.windows(),), (0,), 1, 0)
    with pytest.raises(UsageError, match="one length of windows"):
        Batches((reader.windows(), reader.windows(5)), (1, 1), 1, 0)
    with pytest.raises(IndexError, match="steps count from 0"):
        reader.batches(1)[-1]


def test_windows_as_a_data_set_of_torch(reader: PackReader) -> None:
    windows = TokenWindows(reader)
    assert len(windows) == 23
    assert windows[4].tolist() == reader.windows()[4].tolist()


@dataclass(frozen=True)
class Worker:
    id: int
    num_workers: int


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_give_the_steps_in_order(reader: PackReader, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = reader.batches(4)
    found = []
    for worker in range(max(workers, 1)):
        monkeypatch.setattr("smalti.prepare.loading.get_worker_info", lambda worker=worker: Worker(worker, workers) if workers else None)
        found.append([batch.clone() for batch in TokenBatches(batches, start=5, stop=11)])
    ordered = [found[step % max(workers, 1)][step // max(workers, 1)] for step in range(6)]  # as a DataLoader asks them
    assert all(np.array_equal(batch.numpy(), batches[5 + step]) for step, batch in enumerate(ordered))
