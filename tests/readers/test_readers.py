"""Packs as the trainers' own readers see them: every id, in order, and where documents end.

The readers stand in an environment of their own (CONTRIBUTING.md says how); a test skips where its reader is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.prepare.codes import Codes
from smalti.prepare.imported import write_codes
from smalti.prepare.packs import Pack, PackOptions, write_pack
from smalti.prepare.packs.formats.megatron import merge
from smalti.prepare.plan import PlannedModel
from smalti.prepare.reader import PackReader, open_pack
from smalti.tokenizers.tokens import Layout, Stage, Tokens

pytestmark = [pytest.mark.readers, pytest.mark.filterwarnings("ignore")]
ROW = 64
VOCABS = {"uint16": 300, "int32": 70_000}


@pytest.fixture(scope="module", params=sorted(VOCABS))
def codes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Codes:
    """Sixty pictures, some longer than a row; ids of two and of four bytes."""
    random, vocab = np.random.default_rng(0), VOCABS[request.param]
    items = []
    for i in range(60):
        rows, columns = random.integers(1, 8, 2).tolist()
        stages = tuple(Stage(f"level{k}", (("row", rows), ("col", columns)), vocab) for k in range(2))
        arrays = tuple(random.integers(0, vocab, stage.shape, dtype=np.int32) for stage in stages)
        items.append((f"folder/{i}.x.png", 0, Tokens(Layout(stages, (1, 2), (("height", rows), ("width", columns))), arrays)))
    models = [PlannedModel("tiny", "tiny@1", "image-grid", "image", "a" * 64, {}, "")]
    return write_codes(tmp_path_factory.mktemp("readers") / "OUT", models, items)


def packed(codes: Codes, form: str, packing: str, **more: Any) -> Pack:
    options = PackOptions(f"{form}-{packing}", packing=packing, context=ROW - 1, format=form, **more)
    return write_pack(codes, options)


def truth(codes: Codes, packing: str) -> PackReader:
    """The same stream by our reader, whose documents are checked against the codes elsewhere."""
    options = PackOptions(f"truth-{packing}", packing=packing, context=ROW - 1, format="datatrove")
    return open_pack(write_pack(codes, options).folder)


def whole(reader: PackReader) -> np.ndarray:
    return reader.ids.read(0, len(reader.ids)).astype(np.int64)


@pytest.mark.parametrize("packing", ["documents", "best-fit"])
def test_megatron(codes: Codes, packing: str, tmp_path: Path) -> None:
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset", reason="needs megatron-core")
    pack, expected = packed(codes, "megatron", packing, shard_bytes=2500), truth(codes, packing)
    prefixes = [pack.folder / file.path.removesuffix(".bin") for file in pack.files if file.ids]
    assert len(prefixes) > 1
    found = [indexed.IndexedDataset(str(prefix)) for prefix in prefixes]
    ids = np.concatenate([dataset[i] for dataset in found for i in range(len(dataset))])
    assert np.array_equal(ids, whole(expected))
    assert all(ids.dtype == pack.vocabulary.dtype for dataset in found for ids in [dataset[0]])
    lengths = [int(n) for dataset in found for n in dataset.sequence_lengths]
    assert lengths == (expected.records["count"].tolist() if packing == "documents" else [ROW] * pack.sequences)
    merge(prefixes, tmp_path / "merged")
    one = indexed.IndexedDataset(str(tmp_path / "merged"))
    assert np.array_equal(np.concatenate([one[i] for i in range(len(one))]), ids)
    assert one.document_indices.tolist() == list(range(len(one) + 1))


def test_megatron_writes_the_same_bytes(codes: Codes, tmp_path: Path) -> None:
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset", reason="needs megatron-core")
    torch = pytest.importorskip("torch")
    pack = packed(codes, "megatron", "documents", shard_bytes=2500)
    reader, at = open_pack(pack.folder), 0
    for file in (file for file in pack.files if file.ids):
        prefix = pack.folder / file.path.removesuffix(".bin")
        builder = indexed.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=pack.vocabulary.dtype.type)
        while at < len(reader) and int(reader.records["start"][at]) < int(reader.ids.starts[1 + len(list(tmp_path.glob("done*")))]):
            builder.add_item(torch.from_numpy(reader.document_ids(at).astype(np.int32)))
            builder.end_document()
            at += 1
        builder.finalize(str(tmp_path / "theirs.idx"))
        assert (tmp_path / "theirs.bin").read_bytes() == prefix.with_name(prefix.name + ".bin").read_bytes()
        assert (tmp_path / "theirs.idx").read_bytes() == prefix.with_name(prefix.name + ".idx").read_bytes()
        (tmp_path / f"done{at}").touch()
    assert at == len(reader)


@pytest.mark.parametrize("packing", ["documents", "concat", "best-fit"])
def test_datatrove(codes: Codes, packing: str) -> None:
    dataset = pytest.importorskip("datatrove.utils.dataset", reason="needs datatrove")
    pack = packed(codes, "datatrove", packing)
    reader = open_pack(pack.folder)
    (file,) = (file for file in pack.files if file.ids)
    size = pack.vocabulary.dtype.itemsize
    found = dataset.DatatroveFileDataset(str(pack.folder / file.path), ROW - 1, token_size=size, return_positions=True)
    assert len(found) == pack.ids // ROW
    ids = whole(reader)
    for i in range(len(found)):
        item = found[i]
        assert np.array_equal(item["input_ids"].numpy(), ids[i * ROW : (i + 1) * ROW])
        segments = reader.segments(i * ROW, ROW)
        begins = np.flatnonzero(np.diff(segments, prepend=-9))  # of documents and padding
        expected = np.arange(ROW) - np.repeat(begins, np.diff(np.append(begins, ROW)))
        assert np.array_equal(item["positions"].numpy(), expected)
    folder = dataset.DatatroveFolderDataset(str(pack.folder), ROW - 1, filename_pattern="*.ds", token_size=size, shuffle=False)
    assert len(folder) == len(found)


@pytest.mark.parametrize("packing", ["concat", "best-fit"])
def test_litdata(codes: Codes, packing: str) -> None:
    litdata = pytest.importorskip("litdata", reason="needs litdata")
    pack, expected = packed(codes, "litdata", packing, shard_bytes=2500), truth(codes, packing)
    assert sum(1 for file in pack.files if file.ids) > 1
    found = litdata.StreamingDataset(str(pack.folder), item_loader=litdata.TokensLoader(block_size=ROW), shuffle=False)
    assert len(found) == pack.sequences
    assert np.array_equal(np.concatenate([found[i].numpy().astype(np.int64) for i in range(len(found))]), whole(expected))


@pytest.mark.parametrize("packing", ["documents", "best-fit"])
def test_streaming(codes: Codes, packing: str) -> None:
    streaming = pytest.importorskip("streaming", reason="needs mosaicml-streaming")
    streaming.base.util.clean_stale_shared_memory()
    pack, expected = packed(codes, "mds", packing, shard_bytes=2500), truth(codes, packing)
    assert sum(1 for file in pack.files if file.ids) > 1
    found = streaming.StreamingDataset(local=str(pack.folder), shuffle=False, batch_size=1, validate_hash="sha256")
    rows = [found[i] for i in range(len(found))]
    assert np.array_equal(np.concatenate([row["input_ids"] for row in rows]), whole(expected))
    if packing == "documents":
        assert [row["key"] for row in rows] == [f"folder/{i}.x.png" for i in range(60)]
        assert {row["modality"] for row in rows} == {"image"}


@pytest.mark.parametrize("packing", ["documents", "best-fit"])
def test_webdataset(codes: Codes, packing: str) -> None:
    webdataset = pytest.importorskip("webdataset", reason="needs webdataset")
    pack, expected = packed(codes, "webdataset", packing, shard_bytes=2500), truth(codes, packing)
    tars = [str(pack.folder / file.path) for file in pack.files if file.ids]
    assert len(tars) > 1
    rows = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    assert np.array_equal(np.concatenate([row["ids.npy"] for row in rows]), whole(expected))
    if packing == "documents":
        assert [row["json"]["key"] for row in rows] == [f"folder/{i}.x.png" for i in range(60)]


def test_parquet(codes: Codes) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    pack, expected = packed(codes, "parquet", "documents"), truth(codes, "documents")
    (table,) = (parquet.read_table(pack.folder / file.path) for file in pack.files if file.ids)
    assert np.array_equal(np.concatenate(table["input_ids"].to_pylist()), whole(expected))
    assert table["key"].to_pylist() == [f"folder/{i}.x.png" for i in range(60)]
