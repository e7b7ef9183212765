"""Many signals in one file: random access, the price of an item, damage, and an index made again."""

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest

from smalti.codecs.bitstream import Archive, Field, File, Item, StreamInfo, Whole, inspect, parse, recover, write, write_archive
from smalti.codecs.bitstream.archive import HEADER
from smalti.codecs.bitstream.wire import chunk, crc
from smalti.codecs.priors.static import StaticPrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

UNIFORM = UniformPrior()
MODEL = b"model!"


def _tokens(side: int = 8, seed: int = 0, stages: int = 2) -> Tokens:
    rng = np.random.default_rng(seed)
    made = tuple(Stage(f"s{k}", (("row", side), ("col", side)), 1024) for k in range(stages))
    layout = Layout(made, tuple(range(1, stages + 1)), (("height", 16 * side), ("width", 16 * side)))
    return Tokens(layout, tuple(rng.integers(0, 1024, s.shape).astype(np.int32) for s in made))


def _item(tokens: Tokens, key: str = "", **more: object) -> Item:
    return Item(tokens, UNIFORM, StreamInfo("image", MODEL, UNIFORM.id, signal=tokens.layout.signal, **more), key)  # type: ignore[arg-type]


SHARD = [_tokens(seed=i) for i in range(600)]
DATA = write_archive([_item(tokens) for tokens in SHARD])
MIXED = [_item(_tokens(side, seed), f"bild {seed} ü", notes=seed) for seed, side in enumerate((3, 5, 130, 3, 4))]


class Counting(io.BytesIO):
    """A file that says how much of it was read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_items_of_a_shard_cost_six_bytes_and_are_read_alone() -> None:
    file = Counting(DATA)
    archive = Archive(file)
    assert len(archive) == 600
    assert archive[417].tokens(SHARD[417].layout, UNIFORM) == SHARD[417]
    assert file.taken < len(DATA) / 50
    assert all(archive[i].tokens(SHARD[i].layout, UNIFORM) == SHARD[i] for i in range(0, 600, 7))
    report = inspect(DATA)
    assert (report.status, report.form, report.items) == ("whole", "archive", 600)
    assert sum(count for _, count in report.bytes) == len(DATA)
    assert report.overhead <= 6 * 600
    for wrong in (-1, 600):
        with pytest.raises(IndexError):
            archive[wrong]


def test_sizes_keys_notes_and_whole_files() -> None:
    data = write_archive(MIXED)
    archive = Archive(data)
    for i, item in enumerate(MIXED):
        file = archive[i]
        assert archive.key(i) == item.key
        assert archive.find(item.key) == i
        assert file.streams[0].signal == item.tokens.layout.signal
        assert file.streams[0].notes == item.info.notes
        assert file.tokens(item.tokens.layout, UNIFORM) == item.tokens
        assert file.tokens(item.tokens.layout, UNIFORM, stages=1) == item.tokens.prefix(1)
    assert archive[2].size == len(write(MIXED[2].tokens, UNIFORM, MIXED[2].info))
    with pytest.raises(KeyError):
        archive.find("nothing")
    report = inspect(data)
    assert sum(count for _, count in report.bytes) == len(data)
    assert dict(report.bytes)["whole files"] == archive[2].size


def test_files_become_items_as_their_tokens_do() -> None:
    """Small solo files take the place of their tokens, which need not be held; large ones stay whole."""
    items = [*MIXED, *(_item(_tokens(4, i), "field", fields=(Field(5, b"title"),)) for i in range(2)), _item(_tokens(stages=1))]
    files = [Whole(write(item.tokens, UNIFORM, item.info), item.key) for item in items]
    assert write_archive(files) == write_archive(items)
    assert dict(inspect(write_archive(files)).bytes)["whole files"] == len(files[2].data)


def test_sets_are_told_apart_by_prior_and_fields() -> None:
    tokens = _tokens()
    prior = StaticPrior.fit([tokens])
    items = [
        _item(tokens),
        Item(tokens, prior, StreamInfo("image", MODEL, prior.id, signal=tokens.layout.signal)),
        _item(tokens, fields=(Field(5, b"title"),)),
    ]
    archive = Archive(write_archive(items * 2))
    assert len(archive.sets) == 3
    for i in (0, 3):
        assert archive[i].tokens(tokens.layout, UNIFORM) == tokens
        assert archive[i + 1].tokens(tokens.layout, prior) == tokens
        assert archive[i + 2].streams[0].fields == (Field(5, b"title"),)
    with pytest.raises(ModelError):
        archive[1].tokens(tokens.layout, UNIFORM)


def test_items_of_a_rate_share_a_set_and_a_chunk() -> None:
    """Each has as many stages as its size allows: a set or a chunk for each number of them would cost 20 bytes an item."""
    stages = [1 + (7 * i) % 5 for i in range(200)]
    items = [_item(_tokens(4, i, 5).prefix(k)) for i, k in enumerate(stages)]
    data = write_archive(items)
    archive, report = Archive(data), inspect(data)
    assert (len(archive.sets), len(archive.places)) == (1, 1)
    assert report.overhead <= 6 * 200 + 80
    assert sum(count for _, count in report.bytes) == len(data)
    assert [file.streams[0].stages for file in archive] == stages
    assert all(file.tokens(_tokens(4, 0, 5).layout, UNIFORM) == item.tokens for file, item in zip(archive, items, strict=True))
    equal = write_archive([_item(_tokens(4, i, 5).prefix(3)) for i in range(200)])
    assert inspect(equal).overhead <= 5 * 200 + 80


def test_a_set_for_one_item_is_none() -> None:
    """Titles and layouts of their own are no reason to refuse items: a file in the archive is smaller than a set and a chunk."""
    titled = [_item(_tokens(2, i), fields=(Field(5, b"title %d" % i),)) for i in range(300)]
    shared = [_item(_tokens(2, i), fields=(Field(5, b"shared"),)) for i in (7, 8)]
    archive = Archive(write_archive([*titled, *shared]))
    assert [common.info.fields for common in archive.sets] == [(Field(5, b"shared"),)]
    assert [file.streams[0].fields for file in archive] == [item.info.fields for item in (*titled, *shared)]
    raw = [_tokens(2, i, 1 + i % 2) for i in range(300)]
    odd = [Tokens(replace(tokens.layout, signal=(("name", i),)), tokens.arrays) for i, tokens in enumerate(raw)]
    archive = Archive(write_archive([Item(tokens, UNIFORM, StreamInfo("raw", bytes(6), layout=tokens.layout)) for tokens in odd]))
    assert [file.tokens(None, UNIFORM) for file in archive] == odd
    large = [_item(_tokens(130, i), fields=(Field(5, b"title %d" % i),)) for i in range(2)]
    archive = Archive(write_archive(large))
    assert [common.info.fields for common in archive.sets] == [()]
    assert [file.streams[0].fields for file in archive] == [item.info.fields for item in large]


def test_more_sets_than_an_archive_holds() -> None:
    models = [bytes([i % 256, i // 256, 0, 0, 0, 0]) for i in range(257)]
    items = [replace(_item(_tokens(2, i)), info=replace(_item(_tokens(2)).info, fingerprint=model)) for i, model in enumerate(2 * models)]
    archive = Archive(write_archive(items))
    assert len(archive.sets) == 255
    assert [file.streams[0].fingerprint for file in archive] == 2 * models
    assert sum(place.count == 1 for place in archive.places) == len(archive.places) == 514


def test_raw_tokens_in_an_archive() -> None:
    items = []
    for side in (3, 3, 4, 4):
        tokens = _tokens(side)
        items.append(Item(tokens, UNIFORM, StreamInfo("raw", bytes(6), layout=tokens.layout)))
    archive = Archive(write_archive(items))
    assert [file.tokens(None, UNIFORM) for file in archive] == [item.tokens for item in items]


def test_another_model_is_told_from_damage() -> None:
    items = [_item(_tokens(seed=i)) for i in range(20)]
    own = [replace(item, info=replace(item.info, prior_id=bytes(4))) for item in items]
    other = StaticPrior.fit([_tokens(seed=99)])
    for file in Archive(write_archive(own)):
        with pytest.raises(BitstreamError):
            file.tokens(items[0].tokens.layout, other)


def test_a_lost_index_is_made_again() -> None:
    for lost in (DATA[:-9], DATA[:-1] + b"?", DATA[: len(DATA) // 2]):
        with pytest.raises(BitstreamError):
            Archive(lost)
        archive, _ = recover(lost)
        there = len(lost) * 600 // len(DATA)  # half of them are before the middle, whether or not their chunk ends there
        assert all(archive[i].tokens(SHARD[i].layout, UNIFORM) == SHARD[i] for i in range(0, there - 2, 37))
        assert inspect(lost).status == "damaged"
        assert inspect(lost).items in range(there - 2, 601)
        assert archive.problems[-1].startswith("its end is lost")
    with pytest.raises(BitstreamError, match="item 400: cut off"):
        archive[400]
    whole, _ = recover(DATA, strict=True)
    assert whole.places == Archive(DATA).places


def test_damage_costs_the_items_that_it_hits() -> None:
    """A bit of an item costs that item; a bit of a chunk's head the chunk; wherever it falls, nothing is read wrong."""
    rng = np.random.default_rng(1)
    worst, whole = 0, Archive(DATA)
    for _ in range(12):
        wrong = bytearray(DATA)
        place = int(rng.integers(60, len(DATA)))
        wrong[place] ^= 1 << int(rng.integers(0, 8))
        report = inspect(bytes(wrong))
        assert report.status == "damaged"
        assert report.archive is not None
        good = 0
        for i in range(len(report.archive)):
            with contextlib.suppress(BitstreamError):
                assert report.archive[i].content == whole[i].content
                good += 1
        assert good == report.items
        worst = max(worst, 600 - good)
    assert worst <= 256
    start = DATA.index(Archive(DATA)[300].content.payload)  # type: ignore[union-attr]
    wrong = bytearray(DATA)
    wrong[start + 3] ^= 8
    report = inspect(bytes(wrong))
    assert (report.items, "1 of 600 items" in report.problems[-1]) == (599, True)
    with pytest.raises(BitstreamError, match="item 300"):
        Archive(bytes(wrong))[300]


def test_every_truncation_and_bit_flip_is_found() -> None:
    data = write_archive([_item(_tokens(1, 3), "a"), _item(_tokens(1, 9), notes=1)])
    wrong = [data[:n] for n in range(len(data))]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        wrong.append(bytes(flipped))
    wrong.append(data + b"\0")
    for bad in wrong:
        assert inspect(bad).status != "whole"
        with pytest.raises(BitstreamError):
            recover(bad, strict=True)


def test_items_of_another_archive_do_not_splice_in() -> None:
    other = write_archive([_item(_tokens(seed=i + 1000)) for i in range(600)])
    a, b = Archive(DATA).places, Archive(other).places
    spliced = DATA[: a[1].start] + other[b[1].start : b[2].start] + DATA[a[2].start :]
    report = inspect(spliced)
    assert report.status == "damaged"
    assert report.items == 600 - a[1].count


def test_later_minor_versions_and_unknown_chunks() -> None:
    later = HEADER[:4] + b"\x1f" + HEADER[5:]
    first = DATA[len(HEADER) : Archive(DATA).places[0].start]
    made = chunk(4, first[2:-4], crc(later))
    seed = int.from_bytes(made[-4:], "little")
    with pytest.raises(BitstreamError, match="install a later"):
        recover(later + made + chunk(9, b"?", seed), strict=True)
    archive, accounts = recover(later + made + chunk(0x89, b"?", seed))
    assert (archive.version, len(archive), accounts.unknown) == ((1, 15), 0, 7)
    with pytest.raises(BitstreamError, match=r"version 2\.0"):
        Archive(DATA[:4] + b"\x20" + DATA[5:])


def test_what_no_archive_holds() -> None:
    with pytest.raises(UsageError):
        write_archive([])
    for key in ("x" * 256, "a\nb", "\udc80"):
        with pytest.raises(UsageError, match="keys"):
            write_archive([_item(_tokens(), key)])
    with pytest.raises(BitstreamError, match="Archive"):
        parse(DATA)
    with pytest.raises(BitstreamError, match="parse"):
        Archive(write(SHARD[0], UNIFORM, _item(SHARD[0]).info))
    assert isinstance(Archive(DATA)[0], File)
