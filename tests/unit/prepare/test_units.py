"""How items become batches, what a dead worker was at, and what the tokens of a stage say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.prepare.batches import Batcher, Waiting, shape_of, waiting_for
from smalti.prepare.commit import Draft, Failure
from smalti.prepare.journal import Journal, in_flight, left_behind, quarantine, quarantined
from smalti.prepare.places import Places
from smalti.prepare.reading import Read
from smalti.prepare.records import Commit, DocumentLayout
from smalti.prepare.stats import Statistics, degenerate
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import BitstreamError, SmaltiError, UsageError
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Layout, Stage, Tokens


def picture(height: int, width: int) -> Read:
    return Read(Image(np.zeros((height, width, 3), np.uint8)))


def test_batches_follow_the_plan(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from smalti.prepare import batches

    tokenizer = zoo.load(str(tiny))
    sizes = [(8, 8), (16, 8), (8, 7), (8, 8), (16, 8), (8, 8)]
    items = [waiting_for(i, 0, picture(*size)) for i, size in enumerate(sizes)]

    def made(most: int) -> list[list[int]]:
        batcher = Batcher(most)
        full = [batch for item in items for batch in batcher.add(item, shape_of(tokenizer, item.read.signal))]
        return [[waiting.item for waiting in batch] for batch in (*full, *batcher.rest())]

    assert made(2) == [[0, 2], [1, 4], [3, 5]]  # 8 x 7 pixels have the grid of 8 x 8
    assert made(3) == [[0, 2, 3], [1, 4], [5]]
    monkeypatch.setattr(batches, "MOST_ELEMENTS", 900)
    assert made(9) == [[0, 2, 3], [1, 4], [5]]  # the longest wait gives way where memory ends


def test_items_of_a_kind_of_their_own_go_alone() -> None:
    from smalti.prepare.identity import made_up

    batcher = Batcher(4)
    assert shape_of(None, made_up("shape")) is None  # type: ignore[arg-type]
    waiting = Waiting(7, 0, Read(made_up("shape")), 24)
    assert list(batcher.add(waiting, None)) == [[waiting]]
    assert list(batcher.rest()) == []


def test_what_a_dead_worker_was_at(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.journal.mkdir()
    journal = Journal(places, "unit-000003")
    with journal.during([5]):
        assert in_flight(places, "unit-000003") == [5]
        with journal.during([5, 6]):
            assert in_flight(places, "unit-000003") == [5, 6]
        assert in_flight(places, "unit-000003") == [5]
    assert in_flight(places, "unit-000003") == []
    with pytest.raises(UsageError), journal.during([8]):
        raise UsageError("an error is no death")
    assert in_flight(places, "unit-000003") == []
    with journal.during([9]):  # and dies
        assert left_behind(places) == [("unit-000003", [9])]
    journal.close()
    assert in_flight(places, "unit-000004") == []


def test_a_long_journal_is_read_to_its_end(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.journal.mkdir()
    lines = b"".join(b"+%010d\n-%010d\n" % (item, item) for item in range(750_000))  # more than 16 MiB
    (places.journal / "unit-000000.log").write_bytes(lines + b"+800000\n+9")
    assert in_flight(places, "unit-000000") == [800_000]


def test_what_is_kept_out(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.journal.mkdir()
    failure = Failure(12, "k.png", "worker", "Killed", "SIGSEGV")
    quarantine(places, failure)
    assert quarantined(places, range(10, 20)) == {12: failure}
    assert quarantined(places, range(0, 10)) == {}
    (places.journal / "item-13.json").write_text("{}")
    with pytest.raises(BitstreamError, match=r"item-13\.json: damaged"):
        quarantined(places, range(10, 20))


def tokens(vocab: int, values: Any) -> Tokens:
    array = np.array(values, np.int32)
    return Tokens(Layout((Stage("grid", (("row", array.shape[0]), ("col", array.shape[1])), vocab),), (1,)), (array,))


def test_a_commit_names_what_was_written(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.codes.mkdir()
    with Draft(places) as draft:
        draft.add(4, 0, tokens(70000, [[69999, 1]]), ("torn",))
        draft.add(3, 0, tokens(9, [[1, 2], [3, 4]]))
        made = draft.commit("plan", 1, 3, 3, [Failure(5, "c", "read", "SignalError", "no")])
    assert Commit.read(places.unit(1, "json")) == made
    assert (made.dtype, made.documents, made.tokens, made.errors) == ("int32", 2, 6, 1)
    assert np.frombuffer(places.unit(1, "codes").read_bytes(), "<i4").tolist() == [1, 2, 3, 4, 69999, 1]
    assert json.loads(places.unit(1, "errors.jsonl").read_text())["key"] == "c"
    assert made.notes == ((), ("torn",))
    with Draft(places) as draft:
        draft.add(3, 0, tokens(9, [[1, 2], [3, 5]]))
        with pytest.raises(BitstreamError, match="a commit of other codes stands there already"):
            draft.commit("plan", 1, 3, 1, [])
    assert Commit.read(places.unit(1, "json")) == made
    assert np.frombuffer(places.unit(1, "codes").read_bytes(), "<i4").tolist() == [1, 2, 3, 4, 69999, 1]


def test_no_draft_stays(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.codes.mkdir()
    masked = Tokens(tokens(9, [[0, 0]]).layout, (np.zeros((1, 2), np.int32),), (np.array([[True, False]]),))
    with Draft(places) as draft, pytest.raises(SmaltiError, match="only some regions"):
        draft.add(0, 0, masked)
    assert list(places.codes.iterdir()) == []


@pytest.mark.parametrize("vocab", [65536, 65537])
def test_uint16_holds_65536_entries(tmp_path: Path, vocab: int) -> None:
    places = Places(tmp_path)
    places.codes.mkdir()
    with Draft(places) as draft:
        draft.add(0, 0, tokens(vocab, [[vocab - 1]]))
        made = draft.commit("plan", 0, 0, 1, [])
    assert made.dtype == ("uint16" if vocab == 65536 else "int32")
    assert int(np.frombuffer(places.unit(0, "codes").read_bytes(), "<u2" if vocab == 65536 else "<i4")[0]) == vocab - 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "smalti.codes.9"}, "format"),
        ({"documents": 3}, "3 documents and 0 errors of 1 items"),
        ({"tokens": 7}, "do not fit together"),
        ({"dtype": "float64"}, "dtype"),
        ({"layouts": [{"model": 0}]}, "stages"),
        ({"files": {}}, "files"),
        ({"unit": 1.5}, "float"),
    ],
)
def test_a_damaged_commit_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    places = Places(tmp_path)
    places.codes.mkdir()
    with Draft(places) as draft:
        draft.add(0, 0, tokens(9, [[1, 2]]))
        found = draft.commit("plan", 0, 0, 1, []).to_json()
    with pytest.raises(BitstreamError, match=said):
        Commit.of(found | change, "unit-000000.json")


def test_statistics_are_those_of_all_documents() -> None:
    rng = np.random.default_rng(0)
    layout = Layout((Stage("a", (("row", 2), ("col", 3)), 50), Stage("b", (("row", 1),), 7)), (1, 2))
    other = Layout((Stage("a", (("row", 1), ("col", 1)), 50), Stage("b", (("row", 4),), 7)), (1, 2))
    documents = np.zeros(9, [("start", "<i8"), ("layout", "<i4")])
    parts: dict[str, list[np.ndarray]] = {"a": [], "b": []}
    codes: list[np.ndarray] = []
    for i in range(9):
        documents[i] = (sum(map(len, codes)), i % 2)
        for stage in (layout, other)[i % 2].stages:
            codes.append(rng.integers(0, stage.vocab, stage.count))
            parts[stage.name].append(codes[-1])
    statistics = Statistics()
    entries = (DocumentLayout(0, layout), DocumentLayout(0, other))
    statistics.add_unit(np.concatenate(codes).astype(np.uint16), documents, entries, "x")
    for found in statistics.of_model(0):
        values = np.concatenate(parts[found["name"]])
        counts = np.bincount(values)
        shares = counts[counts > 0] / len(values)
        assert found["tokens"] == len(values)
        assert found["documents"] == 9
        assert found["top_share"] == pytest.approx(shares.max(), abs=1e-6)
        assert found["entropy_bits"] == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-6)
        assert found["used"] == pytest.approx(len(shares) / min(found["vocab"], len(values)), abs=1e-6)
    small = DocumentLayout(0, Layout((Stage("a", (("row", 1),), 40),), (1,)))
    with pytest.raises(BitstreamError, match="a code of 49 in stage a of 40 entries"):
        statistics.add_unit(np.array([49], np.uint16), documents[:1], (small,), "x")


def test_what_says_hardly_anything() -> None:
    good = {"name": "a", "vocab": 1024, "tokens": 5000, "top_share": 0.1, "used": 0.9, "entropy_bits": 9.0}
    grey = good | {"top_share": 0.51, "entropy_bits": 1.2}
    assert degenerate([good]) == ""
    assert degenerate([grey]).startswith("51% of its tokens are the most frequent one of their stage, and all say 12.0% of")
    assert degenerate([grey | {"vocab": 31, "top_share": 0.7}]) == ""  # coefficients of shapes: mostly 0, and yet 24 % of their bits
    assert degenerate([good | {"used": 0.009}]) == "0.90% of its entries are used"
    assert degenerate([grey | {"top_share": 1.0, "tokens": 10}]) == ""  # too few to tell
    assert degenerate([good | {"top_share": 0.99}, good, good]) == ""  # of a still film, its motion
    assert degenerate([grey | {"top_share": 0.99}, grey | {"top_share": 0.8}, grey]) != ""
    assert degenerate([grey | {"top_share": 1.0, "vocab": 1}, good | {"tokens": 1000}]) == ""  # the only entry that there is
