"""Packs: what is written, that it is whole or not there, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.prepare import open_codes, verifying
from smalti.prepare.codes import Codes
from smalti.prepare.imported import write_codes
from smalti.prepare.packs import Pack, PackOptions, open_manifest, verify, vocabulary_of, write_pack, write_packs, writing
from smalti.prepare.packs.formats import FORMATS, MAPPED
from smalti.prepare.packs.pack import problems_of
from smalti.prepare.plan import PlannedModel
from smalti.prepare.reader import PackReader, open_pack
from smalti.prepare.records import DocumentLayout, layout_of
from smalti.tokenizers.errors import BitstreamError, ModelError, UsageError
from smalti.tokenizers.tokens import Layout, Stage, Tokens

Make = Callable[..., Codes]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is read after a crash of the machine, and waiting for the disk would be most of the time."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def picture(random: np.random.Generator, rows: int, columns: int) -> Tokens:
    stages = tuple(Stage(f"level{k}", (("row", rows), ("col", columns)), 300) for k in range(2))
    made = Layout(stages, (1, 2), (("height", rows), ("width", columns)))
    return Tokens(made, tuple(random.integers(0, 300, stage.shape, dtype=np.int32) for stage in stages))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A prepared folder of pictures of any sizes, some larger than a row, in several units."""

    def made(count: int = 40, held_out: float = 0.0, letter: str = "a", seed: int = 0, name: str = "OUT") -> Codes:
        random = np.random.default_rng(seed)
        models = [PlannedModel("tiny", "tiny@1", "image-grid", "image", letter * 64, {}, "")]
        sizes = random.integers(1, 9, (count, 2)).tolist()
        items = [(f"folder/{i}.x.png", 0, picture(random, *size)) for i, size in enumerate(sizes)]
        return write_codes(tmp_path / name, models, items, held_out, unit=16)

    return made


def read_back(codes: Codes, pack: Pack) -> None:
    """Every chosen document is there once, and gives exactly its tokens."""
    reader = open_pack(pack.folder, deep=True)
    items = [int(item) for item in reader.records["item"]]
    assert len(items) == len(set(items)) == pack.documents
    for number, item in enumerate(items):
        key = codes.inputs[item].key
        assert reader.tokens(number) == codes[key].tokens
    held = [codes.is_held_out(codes.inputs[item].key) for item in items]
    assert all(held) if pack.subset == "held-out" else not any(held) if pack.subset == "train" else True


@pytest.mark.parametrize("form", MAPPED)
@pytest.mark.parametrize("packing", ["documents", "concat", "best-fit"])
def test_documents_come_back_from_every_mapped_format(make: Make, form: str, packing: str) -> None:
    codes = make()
    pack = write_pack(codes, PackOptions(packing=packing, context=63, format=form, shard_bytes=2000))
    shards = [file for file in pack.files if file.ids]
    assert len(shards) == 1 if form == "nanogpt" else len(shards) > 2
    assert pack.documents == 40
    assert pack.ids == sum(file.ids for file in shards)
    assert pack.padding == (0 if packing == "documents" else pack.ids - int(open_pack(pack.folder).records["count"].sum()))
    assert packing == "documents" or all(file.ids % 64 == 0 for file in shards)  # rows are whole in each file
    read_back(codes, pack)


def test_packing_within_a_window_crosses_units(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = make()
    monkeypatch.setattr(writing, "WINDOW", 7)
    monkeypatch.setattr(writing, "WINDOW_IDS", 300)
    for packing in ("documents", "concat", "best-fit"):
        pack = write_pack(codes, PackOptions(packing, packing=packing, context=31))
        assert pack.documents > 7  # documents of several windows
        read_back(codes, pack)


@pytest.mark.parametrize("packing", ["concat", "best-fit"])
def test_what_no_document_fills_is_padding(make: Make, packing: str) -> None:
    reader = open_pack(write_pack(make(), PackOptions(packing=packing, context=99)).folder)
    ids, segments = reader.ids.read(0, len(reader.ids)), reader.segments(0, len(reader.ids))
    assert np.array_equal(ids == reader.pack.vocabulary.special("pad"), segments < 0)
    assert int((segments < 0).sum()) == reader.pack.padding
    ends = np.flatnonzero(ids == reader.pack.vocabulary.special("eod")) + 1
    assert np.array_equal(ends, np.sort(reader.records["start"] + reader.records["count"]))


@pytest.mark.parametrize("window", [7, 2**14])
def test_datatrove_knows_where_documents_end(make: Make, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WINDOW", window)
    codes = make()
    for packing in ("concat", "best-fit"):
        pack = write_pack(codes, PackOptions(packing, packing=packing, context=63, format="datatrove"))
        records = open_pack(pack.folder).records
        ends = np.fromfile(pack.folder / "00000.ds.index", "<u8")
        expected = set((records["start"] + records["count"]).tolist()) | {pack.ids}
        assert set(ends.tolist()) >= expected
        padded = set(ends.tolist()) - expected  # and where padding between documents ends: at rows
        assert all(end % 64 == 0 for end in padded)
        assert packing == "best-fit" or not padded


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_the_same_codes_give_the_same_bytes(make: Make, form: str) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow (extra prepare)")
    first, again = (write_pack(make(name=name), PackOptions(format=form, context=50, shard_bytes=3000)) for name in ("A", "B"))
    assert [(file.path, file.sha256) for file in first.files] == [(file.path, file.sha256) for file in again.files]
    assert first.digest == again.digest
    verify(first)


def test_training_and_held_out_documents_are_packed_apart(make: Make) -> None:
    codes = make(held_out=0.3)
    train, rest = write_packs(codes, PackOptions("lm", context=63))
    assert (train.folder.name, rest.folder.name) == ("lm", "lm-held-out")
    assert train.documents + rest.documents == 40
    assert rest.documents > 3
    assert train.vocabulary == rest.vocabulary
    for pack in (train, rest):
        read_back(codes, pack)


def test_of_few_documents_none_may_be_held_out(make: Make) -> None:
    assert [pack.subset for pack in write_packs(make(3, held_out=0.001), PackOptions())] == ["train"]


def test_nothing_is_held_out_unless_asked(make: Make) -> None:
    assert [pack.subset for pack in write_packs(make(), PackOptions())] == ["all"]


def test_a_vocabulary_is_used_again(make: Make) -> None:
    wide = build_wide(make())
    pack = write_pack(make(name="B", seed=1), PackOptions(vocabulary=wide))
    assert pack.vocabulary == wide
    read_back(open_codes(pack.folder.parent.parent), pack)


def build_wide(codes: Codes) -> Any:
    from smalti.prepare.packs.vocabulary import build

    found = vocabulary_of(codes)
    stages = tuple(Stage(name, (("row", 1), ("col", 1)), 70_000) for name in ("level0", "level1"))
    wide = build([("image", Layout(stages, (2,))), ("audio", Layout(stages, (2,)))])
    assert found.dtype.itemsize < wide.dtype.itemsize
    return wide


def test_a_pack_that_stands_there_is_left_alone(make: Make) -> None:
    codes = make()
    pack = write_pack(codes, PackOptions())
    before = {path.name: path.stat().st_mtime_ns for path in pack.folder.iterdir()}
    assert write_pack(codes, PackOptions()) == pack
    assert {path.name: path.stat().st_mtime_ns for path in pack.folder.iterdir()} == before


def test_another_pack_is_written_over_only_when_forced(make: Make) -> None:
    codes = make()
    first = write_pack(codes, PackOptions())
    with pytest.raises(UsageError, match=r"another pack, or none of ours, stands there.*--repack"):
        write_pack(codes, PackOptions(pattern="delay"))
    assert open_manifest(first.folder) == first
    second = write_pack(codes, PackOptions(pattern="delay"), force=True)
    assert open_manifest(first.folder).pattern == second.pattern == "delay"
    assert [path.name for path in codes.places.packs.iterdir()] == ["tokens"]


def test_what_fails_leaves_nothing_and_what_was_killed_is_cleared_away(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = make()
    with monkeypatch.context() as patch:
        patch.setattr(writing, "best_fit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_pack(codes, PackOptions())
    assert list(codes.places.packs.iterdir()) == []
    killed = codes.places.packs / ".tokens.part"
    killed.mkdir()
    (killed / "shard-00000.part").write_bytes(b"half")
    pack = write_pack(codes, PackOptions())
    assert [path.name for path in codes.places.packs.iterdir()] == ["tokens"]
    # killed between the two names: the old one comes back
    pack.folder.rename(codes.places.packs / ".tokens.old")
    with pytest.raises(UsageError, match="no pack"):
        open_manifest(pack.folder)
    write_pack(codes, PackOptions())
    assert open_manifest(pack.folder) == pack


def test_a_subset_without_documents_is_refused(make: Make) -> None:
    with pytest.raises(UsageError, match="no documents for subset held-out"):
        write_pack(make(), PackOptions(subset="held-out"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "../x"}, "a pack is named by"),
        ({"pattern": "spiral"}, "no pattern 'spiral'; choose one of flatten, delay, coarse-first"),
        ({"packing": "crop"}, "no packing 'crop'"),
        ({"format": "hdf5"}, "no format 'hdf5'; choose one of megatron"),
        ({"subset": "most"}, "no subset 'most'"),
        ({"context": 0}, "a context has 1.."),
        ({"shard_bytes": 0}, "at least 1 byte"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PackOptions(**options)


def test_ids_that_nanogpt_cannot_hold_are_refused(make: Make) -> None:
    codes = make()
    with pytest.raises(UsageError, match="nanoGPT's files hold ids below 65,536"):
        write_pack(codes, PackOptions(format="nanogpt", vocabulary=build_wide(codes)))


def damaged(pack: Pack, ending: str, change: Callable[[bytearray], bytes | bytearray]) -> Path:
    (path,) = (pack.folder / file.path for file in pack.files if file.path.endswith(ending))
    path.write_bytes(change(bytearray(path.read_bytes())))
    return path


def flipped(data: bytearray) -> bytearray:
    data[len(data) // 2] ^= 1
    return data


@pytest.mark.parametrize("ending", [".bin", "documents.idx", "layouts.json"])
def test_half_a_file_is_refused_at_once(make: Make, ending: str) -> None:
    pack = write_pack(make(), PackOptions())
    path = damaged(pack, ending, lambda data: data[: len(data) // 2])
    with pytest.raises(BitstreamError, match=rf"{path.name}: \d+ bytes, expected \d+ bytes; write the pack again"):
        open_pack(pack.folder)
    path.unlink()
    with pytest.raises(BitstreamError, match=f"{path.name}: missing"):
        open_pack(pack.folder)


@pytest.mark.parametrize("ending", [".bin", "-" * 0 + ".idx", "layouts.json"])
def test_a_flipped_bit_is_found_by_reading_all(make: Make, ending: str) -> None:
    pack = write_pack(make(), PackOptions())
    name = next(file.path for file in pack.files if file.path.endswith(ending))
    (pack.folder / name).write_bytes(flipped(bytearray((pack.folder / name).read_bytes())))
    open_manifest(pack.folder)  # of the right size
    with pytest.raises(BitstreamError, match=f"{name}: damaged, its hash is"):
        open_pack(pack.folder, deep=True)


def test_packs_of_a_folder_are_verified(make: Make, tmp_path: Path) -> None:
    codes = make()
    pack = write_pack(codes, PackOptions())
    write_pack(codes, PackOptions("other"))
    assert problems_of(codes.places.packs, codes.digest, deep=True) == []
    assert problems_of(tmp_path / "nowhere", codes.digest) == []
    (line, _) = problems_of(codes.places.packs, "f" * 64)
    assert f"made of codes {codes.digest[:12]}, the folder holds ffffffffffff; smalti prepare --repack" in line
    (line,) = verifying.verify(codes.places.folder, deep=True).problems
    assert "tiny" in line  # all that is wrong: no such model is installed, so nothing can be encoded again
    damaged(pack, ".bin", flipped)
    assert verifying.verify(codes.places.folder).problems == ()
    (line,) = verifying.verify(codes.places.folder, deep=True).problems
    assert "damaged, its hash is" in line
    damaged(pack, ".bin", lambda data: data[:9])
    (line,) = verifying.verify(codes.places.folder).problems
    assert "9 bytes, expected" in line


def test_a_manifest_that_was_changed_is_refused(make: Make) -> None:
    pack = write_pack(make(), PackOptions())
    path = pack.folder / "pack.json"
    said = json.loads(path.read_bytes())
    for change in (
        {"identity": "0" * 64},
        {"ids": -1},
        {"ids": "many"},
        {"pack": "smalti.pack.9"},
        {"files": [said["files"][0] | {"path": "../../x"}]},
        {"files": [said["files"][0] | {"sha256": "x"}]},
        {"files": 3},
        {"models": [{"name": 3}]},
        {"format": "hdf5"},
        {"bos": "yes"},
        {"surprise": 1},
    ):
        path.write_text(json.dumps(said | change))
        with pytest.raises(BitstreamError, match="no manifest of a pack"):
            open_manifest(pack.folder)
    path.write_text("{")
    with pytest.raises(BitstreamError, match="damaged"):
        open_manifest(pack.folder)


def test_tokens_of_another_model_are_refused(make: Make) -> None:
    pack = write_pack(make(), PackOptions())
    assert isinstance(open_pack(pack.folder, "a" * 64), PackReader)
    with pytest.raises(ModelError, match=r"by tiny@1 \(aaaaaaaaaaaa\), the model given is bbbbbbbbbbbb"):
        open_pack(pack.folder, "b" * 64)
    with pytest.raises(ModelError, match="holds no tokens of audio, only of image"):
        open_pack(pack.folder, "a" * 64, "audio")


def test_other_formats_have_readers_of_their_own(make: Make) -> None:
    pack = write_pack(make(), PackOptions(format="mds"))
    with pytest.raises(UsageError, match="written for mds's own reader; ours maps megatron"):
        open_pack(pack.folder)


def test_a_folder_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no pack, expected pack\.json in it"):
        open_pack(tmp_path)


def test_codes_that_lie_are_not_packed(make: Make) -> None:
    codes = make()
    path = codes.places.unit(1, "codes")
    array = np.fromfile(path, "<u2")
    array[5] = 300
    array.tofile(path)
    with pytest.raises(BitstreamError, match="outside its stage's vocabulary"):
        write_pack(open_codes(codes.places.folder), PackOptions())


def test_layouts_that_lie_are_refused_before_their_tables_are_made(make: Make) -> None:
    """A layout of 2^40 tokens would take a table of terabytes."""
    codes = make()
    pack = write_pack(codes, PackOptions())
    path = codes.places.unit(1, "json")
    said = json.loads(path.read_bytes())
    for entry in said["layouts"]:
        entry["stages"][0]["axes"] = [["row", 2**20], ["col", 2**20]]
    path.write_text(json.dumps(said))
    with pytest.raises(BitstreamError, match="unit 1: document 0 does not fit its layout"):
        write_pack(open_codes(codes.places.folder), PackOptions("again"))
    reader = PackReader(pack)
    vars(reader)["layouts"] = tuple(DocumentLayout(entry["model"], layout_of(entry)) for entry in said["layouts"]) * 9
    with pytest.raises(BitstreamError, match=r"layouts\.json: 1099511\d+ tokens in \d+ ids of document 0"):
        reader.tokens(0)


def test_a_layout_of_a_model_that_is_not_there_is_refused(make: Make) -> None:
    codes = make()
    path = codes.places.unit(1, "json")
    said = json.loads(path.read_bytes())
    said["layouts"][0]["model"] = 7
    path.write_text(json.dumps(said))
    with pytest.raises(BitstreamError, match="names a model that the plan does not have"):
        open_codes(codes.places.folder).document(20)


def test_tables_have_one_list_a_document(make: Make) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (extra prepare)")
    codes = make()
    documents = write_pack(codes, PackOptions("documents", packing="documents", format="parquet", shard_bytes=3000))
    mapped = open_pack(write_pack(codes, PackOptions("mapped", packing="documents")).folder)
    rows = [row for file in documents.files if file.ids for row in parquet.read_table(documents.folder / file.path).to_pylist()]
    assert [row["key"] for row in rows] == [f"folder/{i}.x.png" for i in range(40)]
    assert [row["input_ids"] for row in rows] == [mapped.document_ids(i).tolist() for i in range(40)]
    assert [row["shapes"] for row in rows] == [[list(a.shape) for a in mapped.tokens(i).arrays] for i in range(40)]
    packed = write_pack(codes, PackOptions("rows", context=63, format="parquet"))
    (table,) = (parquet.read_table(packed.folder / file.path) for file in packed.files if file.ids)
    assert table.column_names == ["input_ids"]
    assert {len(row) for row in table["input_ids"].to_pylist()} == {64}
