"""Formats by themselves: where shards end, Megatron's indices and their merging, and files beyond 2^31 ids."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.prepare.packs.formats import Piece, split
from smalti.prepare.packs.formats.datatrove import human
from smalti.prepare.packs.formats.llmc import head
from smalti.prepare.packs.formats.megatron import Index, index_of, merge, merged, read_index
from smalti.prepare.reader import Stream
from smalti.tokenizers.errors import BitstreamError, UsageError

U2, I4 = np.dtype("<u2"), np.dtype("<i4")


class Shards:
    """A sink that keeps what it is given, by shard."""

    def __init__(self) -> None:
        self.found: list[list[Piece]] = [[]]

    def put(self, piece: Piece) -> None:
        self.found[-1].append(piece)

    def end_shard(self) -> None:
        self.found.append([])

    def finish(self) -> None:
        pass


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=5), st.integers(1, 20))
def test_shards_hold_whole_sequences_in_order(pieces: list[list[int]], limit: int) -> None:
    sink, held, at = Shards(), 0, 0
    for lengths in pieces:
        sizes = np.array(lengths, np.int64)
        held = split(sink, Piece(np.arange(at, at + sizes.sum()), sizes, np.cumsum(sizes)), held, limit)
        at += int(sizes.sum())
    shards = [[int(n) for piece in shard for n in piece.lengths] for shard in sink.found]
    assert [n for shard in shards for n in shard] == [n for lengths in pieces for n in lengths]
    assert all(sum(shard) <= limit or len(shard) == 1 for shard in shards)
    assert all(sum(one) + two[0] > limit for one, two in itertools.pairwise(shards))  # and as many as fit
    ids = np.concatenate([piece.ids for shard in sink.found for piece in shard])
    assert np.array_equal(ids, np.arange(at))
    for shard in sink.found:
        for piece in shard:
            assert np.array_equal(piece.ends, np.cumsum(piece.lengths))


def prefix(folder: Path, name: str, lengths: list[int], dtype: np.dtype = U2, first: int = 0) -> Path:
    ids = np.arange(first, first + sum(lengths)).astype(dtype)
    (folder / f"{name}.bin").write_bytes(ids.tobytes())
    (folder / f"{name}.idx").write_bytes(index_of(dtype, np.array(lengths, np.int64)).data())
    return folder / name


def test_prefixes_are_merged(tmp_path: Path) -> None:
    merge([prefix(tmp_path, "a", [3, 4]), prefix(tmp_path, "b", [5], first=7)], tmp_path / "c")
    found = read_index(tmp_path / "c.idx")
    assert (found.lengths.tolist(), found.documents.tolist(), found.pointers.tolist()) == ([3, 4, 5], [0, 1, 2, 3], [0, 6, 14])
    assert np.array_equal(np.fromfile(tmp_path / "c.bin", U2), np.arange(12))


def test_prefixes_of_other_widths_are_not_merged(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be one; pack them all with one vocabulary"):
        merge([prefix(tmp_path, "a", [3]), prefix(tmp_path, "b", [5], I4)], tmp_path / "c")
    assert not (tmp_path / "c.bin").exists()


def test_a_prefix_cut_short_is_not_merged(tmp_path: Path) -> None:
    place = prefix(tmp_path, "a", [3])
    (tmp_path / "a.bin").write_bytes(b"12")
    with pytest.raises(BitstreamError, match=r"a\.bin: 2 bytes, expected 6 by its index"):
        merge([place], tmp_path / "c")


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"X", "no Megatron index"),
        (9, b"\x02", "version 2"),
        (17, b"\x07", "type 7 of ids"),
        (18, b"\x09", "bytes, expected"),
        (25, b"\xff", "bytes, expected"),  # 2^63 sequences: nothing is made of that size
        (34, b"\x09", "one after the other"),
        (-8, b"\x07", "one after the other"),
    ],
)
def test_damaged_indices_are_refused(tmp_path: Path, at: int, value: bytes, message: str) -> None:
    path = prefix(tmp_path, "a", [3, 4]).with_suffix(".idx")
    data = bytearray(path.read_bytes())
    data[at : (at + 1) or None] = value
    path.write_bytes(data)
    with pytest.raises(BitstreamError, match=message):
        read_index(path)
    path.write_bytes(data[:20])
    with pytest.raises(BitstreamError, match="no Megatron index"):
        read_index(path)


def test_places_beyond_two_gigabytes() -> None:
    """Two files of 2^31 ids of 4 bytes: pointers and numbers of sequences are 64 bits all the way."""
    half = Index(I4, np.full(4, 2**29, np.int32), np.arange(5, dtype=np.int64))
    whole = merged([half, half])
    assert whole.ids == 2**32
    assert whole.pointers.tolist() == [i * 2**31 for i in range(8)]
    assert np.frombuffer(whole.data(), "<i8", 8, 34 + 32).tolist() == whole.pointers.tolist()


def test_ids_beyond_two_to_the_31_are_read(tmp_path: Path) -> None:
    """A file of holes, 4 GB long and a few blocks large."""
    count = 2**31 + 1000
    with (tmp_path / "sparse.bin").open("wb") as file:
        file.truncate(2 * count)
        file.seek(2 * (count - 3))
        file.write(np.array([7, 8, 9], U2).tobytes())
    stream = Stream([np.arange(5, dtype=U2), np.memmap(tmp_path / "sparse.bin", U2, "r"), np.arange(4, dtype=U2)])
    assert len(stream) == count + 9
    assert stream.read(count + 5 - 3, 5).tolist() == [7, 8, 9, 0, 1]
    out = np.empty((3, 3), np.int64)
    stream.gather(np.array([count + 2, 0, count + 3]), out)
    assert out.tolist() == [[7, 8, 9], [0, 1, 2], [8, 9, 0]]


def test_a_document_too_long_for_megatron_is_refused() -> None:
    with pytest.raises(UsageError, match=f"a document of {2**31} ids; Megatron's files hold"):
        index_of(U2, np.array([5, 2**31], np.int64))


def test_a_file_too_long_for_llmc_is_refused() -> None:
    assert head(20240520, 1, 2**31 - 1)[8:12] == b"\xff\xff\xff\x7f"
    with pytest.raises(UsageError, match=r"in one file of llm\.c"):
        head(20240520, 1, 2**31)


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7.00 T"), (34, "34.0 T"), (999, "999 T"), (1234, "1.23 kT"), (56_789, "56.8 kT"), (10**6, "1.00 MT")]
)
def test_counts_for_people(count: int, text: str) -> None:
    assert human(count) == text
