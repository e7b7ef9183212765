"""Shorter archives: items that are short enough stay, what fits a size is the most that does, and no more is held than is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from smalti.codecs.bitstream import Archive, Field, File, Item, StreamInfo, Whole, parse, write, write_archive
from smalti.codecs.bitstream.shorten import cut_archive, fit_archive
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

UNIFORM = UniformPrior()
STAGES = 5


def made(seed: int, stages: int, side: int = 3, **more: object) -> Item:
    rng = np.random.default_rng(seed)
    own = tuple(Stage(f"s{k}", (("row", side + k % 2), ("col", side + seed % 3)), 1024) for k in range(STAGES))
    layout = Layout(own, tuple(range(1, STAGES + 1)), (("height", 16), ("width", 16)))
    tokens = Tokens(layout, tuple(rng.integers(0, 1024, s.shape).astype(np.int32) for s in own)).prefix(stages)
    return Item(tokens, UNIFORM, StreamInfo("image", b"model!", UNIFORM.id, signal=layout.signal, **more), f"item {seed}")  # type: ignore[arg-type]


ITEMS = [made(i, 1 + 3 * i % STAGES) for i in range(12)] + [made(12, 4, 150), made(13, 2, fields=(Field(5, b"title"),))]
DATA = write_archive(ITEMS)


def prefix(number: int, stages: int) -> bytes:
    item = ITEMS[number]
    return write(item.tokens.prefix(stages), UNIFORM, item.info)


def test_items_that_are_short_enough_are_not_coded_again() -> None:
    asked: list[int] = []

    def shorter(number: int, file: File, stages: int) -> bytes:
        asked.append(number)
        assert stages == 2 < len(ITEMS[number].tokens.arrays)
        return file.cut(stages) if file.form == "chunked" else prefix(number, stages)

    short = Archive(cut_archive(DATA, 2, shorter))
    assert asked == [i for i, item in enumerate(ITEMS) if len(item.tokens.arrays) > 2]
    for i, item in enumerate(ITEMS):
        wanted = item.tokens.prefix(min(2, len(item.tokens.arrays)))
        assert (short.key(i), short[i].streams[0].fields) == (item.key, item.info.fields)
        assert short[i].tokens(None if item.info.layout else _whole(i), UNIFORM) == wanted
    assert cut_archive(DATA, STAGES, lambda *_: b"") == DATA
    one = write_archive([made(0, 2)])
    assert cut_archive(one, 2, lambda *_: b"") == one


def _whole(number: int) -> Layout:
    return made(number, STAGES, 150 if number == 12 else 3).tokens.layout


def test_what_fits_is_the_most_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """One share more, by which one item or a few get a stage more, does not fit."""
    few = ITEMS[:9]
    data = write_archive(few)
    files = [[prefix(i, k + 1) for k in range(len(item.tokens.arrays))] for i, item in enumerate(few)]
    shares = sorted({len(file) / len(own[-1]) for own in files for file in own})
    archives = []
    for share in shares:
        kept = [max([file for file in own if len(file) / len(own[-1]) <= share] or own[:1], key=len) for own in files]
        archives.append(write_archive([Whole(file, item.key) for file, item in zip(kept, few, strict=True)]))
    asked: list[tuple[int, int]] = []
    tried: list[int] = []

    def chosen(number: int, file: File, place: int) -> bytes:
        asked.append((number, place))
        return files[number][place]

    def writing(items: Any, unknown: Any = ()) -> bytes:
        tried.append(len(items))
        return write_archive(items, unknown)

    monkeypatch.setattr("smalti.codecs.bitstream.shorten.write_archive", writing)

    for limit in range(len(archives[0]), len(data) + 1, 7):
        asked.clear()
        tried.clear()
        found = fit_archive(data, limit, lambda number, _: [len(file) for file in files[number]], chosen)
        assert len(found) <= limit
        if limit == len(data):
            assert found == data
            continue
        last = max(i for i, candidate in enumerate(archives) if candidate == found)
        assert last + 1 == len(archives) or len(archives[last + 1]) > limit
        assert len(tried) <= 5  # the least, the one that sizes speak for, and neighbours, of 14 that there are
        assert len(asked) < 9 * len(tried) or len(tried) < 3  # from one to the next only what differs
    with pytest.raises(UsageError, match=f"has {len(archives[0])} bytes, the target allows {len(archives[0]) - 1}"):
        fit_archive(data, len(archives[0]) - 1, lambda number, _: [len(file) for file in files[number]], chosen)


def test_what_fits_better_than_sizes_say() -> None:
    """Where all items happen to have as many stages none says its own: 40 bytes less than the sizes of the items alone have it."""
    few = [made(3 * i, 3) for i in range(10)] + [made(3 * i, 2) for i in range(30)]
    files = [[write(item.tokens.prefix(k), UNIFORM, item.info) for k in ((1, 2, 3) if i < 10 else (2,))] for i, item in enumerate(few)]
    middle = write_archive([Whole(own[1] if len(own) > 1 else own[0], item.key) for own, item in zip(files, few, strict=True)])
    found = fit_archive(write_archive(few), len(middle), lambda i, _: [len(file) for file in files[i]], lambda i, _, place: files[i][place])
    assert found == middle


def test_a_line_is_in_no_groups() -> None:
    """Its first axis is no place: a region of steps is none, and rows are not its first axis."""
    layout = Layout((Stage("band", (("step", 4), ("row", 3), ("col", 3)), 1024),), (1,), (("height", 48), ("width", 48)))
    tokens = Tokens(layout, (np.zeros((4, 3, 3), np.int32),))
    info = StreamInfo("image", b"model!", UNIFORM.id, signal=layout.signal)
    with pytest.raises(UsageError, match="no lines"):
        write(tokens, UNIFORM, info, "grouped")
    for form in ("solo", "chunked"):
        with pytest.raises(UsageError, match="a stretch of an axis that all stages share"):
            parse(write(tokens, UNIFORM, info, form)).region(layout, UNIFORM, 0, 1)
