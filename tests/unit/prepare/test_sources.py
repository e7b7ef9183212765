"""Folders, lists, tar files, tables and URLs as items with keys."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.codecs.media.images import read_image
from smalti.prepare.inputs import Input, Inputs, freeze, hash_of, is_held_out, sorted_runs
from smalti.prepare.patterns import expanded
from smalti.prepare.places import Places
from smalti.prepare.reading import Reader
from smalti.prepare.sources import Source, Takes, source_of
from smalti.tokenizers.errors import BitstreamError, SignalError, SmaltiError, UsageError
from smalti.tokenizers.signals import Image

IMAGES = Takes(("image",))


def keys(source: Source, takes: Takes = IMAGES) -> list[str]:
    return [item.key for item in source.items(takes)]


def pixels(source: Source, item: Input) -> np.ndarray:
    signal = Reader(source.root, source.column).read(item, "image").signal
    assert isinstance(signal, Image)
    return signal.pixels


def test_a_folder_by_name(photos: Path) -> None:
    source = source_of(str(photos))
    found = list(source.items(IMAGES))
    assert [item.key for item in found][:2] == ["00.png", "02.png"]
    assert [item.key for item in found] == sorted((item.key for item in found), key=lambda key: key.split("/"))
    assert len(found) == 12
    assert source.left_out == {".txt": 1}
    assert all(item.size == (photos / item.key).stat().st_size for item in found)
    assert np.array_equal(pixels(source, found[0]), read_image(photos / "00.png").pixels)


def test_names_that_no_text_holds(tmp_path: Path) -> None:
    names = [b"a\nb.png", b"\xff\xfe.png", b'q"uo\\te.png', "ü.png".encode()]
    for name in names:
        with open(bytes(tmp_path) + b"/" + name, "wb") as file:
            file.write(b"x")
    places = Places(tmp_path / "out")
    places.folder.mkdir()
    frozen = freeze(places, source_of(str(tmp_path)).items(IMAGES), 1)
    inputs = Inputs(places, frozen.count)
    found = {inputs[i].key for i in range(4)}
    assert {key.encode("utf-8", "surrogateescape") for key in found} == set(names)
    assert all(inputs[inputs.find(key) or 0].key == key for key in found)


def test_a_list_of_paths(photos: Path, tmp_path: Path) -> None:
    lines = ["00.png", "", f"{photos}/b/01.png", "missing.png", "about.txt"]
    (photos.parent / "list.txt").write_text("\n".join(lines))
    source = source_of(str(photos.parent / "list.txt"))
    source.root = str(photos)
    found = list(source.items(IMAGES))
    assert [item.key for item in found] == [lines[0], lines[2], lines[3]]
    assert np.array_equal(pixels(source, found[1]), read_image(photos / "b" / "01.png").pixels)
    with pytest.raises(SignalError, match="no such file"):
        pixels(source, found[2])


def tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_tar_files_by_their_samples(photos: Path, tmp_path: Path) -> None:
    for i in range(3):
        png = (photos / f"0{2 * i}.png").read_bytes()
        tar(tmp_path / f"s-{i:03d}.tar", {f"x/{i}.png": png, f"x/{i}.json": b"{}", f"{i}b.png": png[::-1]})
    source = source_of(str(tmp_path / "s-{000..002}.tar"))
    found = list(source.items(IMAGES))
    assert [item.key for item in found] == [f"s-{i:03d}.tar/{name}" for i in range(3) for name in (f"x/{i}.png", f"{i}b.png")]
    assert source.left_out == {".json": 3}
    assert np.array_equal(pixels(source, found[2]), read_image(photos / "02.png").pixels)
    assert keys(source_of(str(tmp_path / "s-*.tar"))) == [item.key for item in found]
    with pytest.raises(SignalError, match="no known image"):
        pixels(source, found[1])
    sizes = source.to_json("given")["files"]
    with (tmp_path / "s-002.tar").open("ab") as file:
        file.write(b"more")
    reader = Reader(source.root, "", sizes)
    reader.read(found[0], "image")
    with pytest.raises(SignalError, match=r"s-002\.tar: 10244 bytes, expected 10240 as when the plan was made"):
        reader.read(found[4], "image")
    torn = (tmp_path / "s-000.tar").read_bytes()[:-10240]
    (tmp_path / "torn.tar").write_bytes(torn[: 512 + 20])
    with pytest.raises(SignalError, match=r"torn\.tar: (cut short|no tar file)"):
        keys(source_of(str(tmp_path / "torn.tar")))
    (tmp_path / "no.tar").write_bytes(b"no tar at all" * 99)
    with pytest.raises(SignalError, match=r"no\.tar: no tar file"):
        keys(source_of(str(tmp_path / "no.tar")))


def test_a_tar_that_stops_halfway_is_no_shorter_tar(photos: Path, tmp_path: Path) -> None:
    """A damaged header, and an end that is not marked, are both the end to Python's reader: items would be lost without a word."""
    png = (photos / "00.png").read_bytes()
    tar(tmp_path / "a.tar", {f"{i}.png": png for i in range(3)})
    whole = (tmp_path / "a.tar").read_bytes()
    step = 512 + -(-len(png) // 512) * 512
    (tmp_path / "flipped.tar").write_bytes(whole[: step + 5] + bytes([whole[step + 5] ^ 1]) + whole[step + 6 :])
    with pytest.raises(SignalError, match=rf"flipped\.tar: damaged, no header of a member at byte {step}"):
        keys(source_of(str(tmp_path / "flipped.tar")))
    (tmp_path / "unmarked.tar").write_bytes(whole[: 2 * step])
    with pytest.raises(SignalError, match=rf"unmarked\.tar: cut short, no end is marked after {2 * step} bytes"):
        keys(source_of(str(tmp_path / "unmarked.tar")))
    (tmp_path / "unmarked.tar").write_bytes(whole[: 2 * step] + bytes(1024))
    assert len(keys(source_of(str(tmp_path / "unmarked.tar")))) == 2


def test_links_that_are_not_followed_are_counted(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "folder").symlink_to(photos / "b")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "in" / "file.png").symlink_to(photos / "00.png")
    source = source_of(str(tmp_path / "in"))
    assert keys(source) == ["file.png"]
    assert source.left_out == {"link to a folder": 1, "broken link": 1}


def test_tables_by_their_rows(photos: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    data = [(photos / f"0{2 * i}.png").read_bytes() for i in range(4)]
    table = pa.table({"id": ["a", "b", "c", "d"], "image": [{"bytes": one, "path": f"{i}.png"} for i, one in enumerate(data)]})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=3)
    source = source_of(str(tmp_path / "t.parquet"))
    found = list(source.items(IMAGES))
    assert [item.key for item in found] == [f"t.parquet/0000000{i}" for i in range(4)]
    for item, one in zip(found, data, strict=True):
        assert np.array_equal(pixels(source, item), read_image(one).pixels)
    assert keys(source_of(str(tmp_path / "t.parquet"), key_column="id")) == ["a", "b", "c", "d"]
    assert [item.model for item in source_of(str(tmp_path / "t.parquet")).items(Takes(("audio", "image")))] == [1, 1, 1, 1]
    with pytest.raises(UsageError, match="no column of bytes; it has image"):
        keys(source_of(str(tmp_path / "t.parquet"), column="id"))
    with pytest.raises(SignalError, match="no row 7"):
        pixels(source, Input("x", 0, "t.parquet", row=7))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1nonsense")
    with pytest.raises(SignalError, match="no parquet file"):
        keys(source_of(str(tmp_path / "bad.parquet")))


def test_urls(photos: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    store = fsspec.filesystem("memory")
    store.pipe({"/prepared/b/1.png": (photos / "02.png").read_bytes(), "/prepared/a.png": b"x", "/prepared/.hidden/c.png": b"x"})
    source = source_of("memory://prepared")
    found = list(source.items(IMAGES))
    assert [(item.key, item.size) for item in found] == [("a.png", 1), ("b/1.png", (photos / "02.png").stat().st_size)]
    assert np.array_equal(pixels(source, found[1]), read_image(photos / "02.png").pixels)
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w") as archive:
        archive.add(photos / "04.png", "y.png")
    store.pipe("/prepared/s.tar", tar_bytes.getvalue())
    source = source_of("memory://prepared/*.tar")
    (item,) = source.items(IMAGES)
    assert item.key.endswith("s.tar/y.png")
    assert np.array_equal(pixels(source, item), read_image(photos / "04.png").pixels)
    with pytest.raises(SmaltiError, match="no such file or folder"):
        source_of("memory://prepared/none.tar")


def test_braces_and_stars() -> None:
    def glob(pattern: str) -> list[str]:
        return [pattern.replace("*", end) for end in ("b", "a")]

    assert expanded("s-{08..11}.tar", glob) == ["s-08.tar", "s-09.tar", "s-10.tar", "s-11.tar"]
    assert expanded("{x,y}/{0..1}", glob) == ["x/0", "x/1", "y/0", "y/1"]
    assert expanded("{x,y}/*", glob) == ["x/a", "x/b", "y/a", "y/b"]
    with pytest.raises(UsageError, match="expected a range"):
        expanded("{x}*", glob)
    with pytest.raises(UsageError, match="more than 1000000"):
        expanded("{0..999999999999}", glob)


def test_endings_and_models() -> None:
    both = Takes(("video", "image"))
    assert (both.of_name("a.GIF"), both.of_name("a.mp4"), both.of_name("a.wav")) == (1, 0, None)
    assert Takes(("video",)).of_name("a.gif") == 0
    assert Takes(("audio",)).of_name("a.mp4") == 0
    with pytest.raises(UsageError, match="two models of image"):
        Takes(("image", "image"))


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"ends in \.png"):
        source_of(str(tmp_path / "a.png"))
    with pytest.raises(SignalError, match="no such file or folder"):
        source_of(str(tmp_path / "none"))
    with pytest.raises(SignalError, match="no file has such a name"):
        source_of(str(tmp_path / "*.tar"))


def test_two_items_of_one_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.png and y\.png would both have the key 'a'"):
        freeze(Places(tmp_path), [Input("a", 0, "x.png"), Input("b", 0, "b.png"), Input("a", 0, "y.png")], 1)


def test_runs_are_merged_as_if_sorted_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from smalti.prepare import inputs

    monkeypatch.setattr(inputs, "RUN", 7)
    values = [int(value) for value in np.random.default_rng(0).permutation(50)]
    found = list(sorted_runs(values, lambda value: b"%03d" % value, int, tmp_path))
    assert found == list(range(50))


def test_an_index_finds_every_key_and_no_other(tmp_path: Path) -> None:
    names = [f"{i}/x.png" for i in range(700)]
    frozen = freeze(Places(tmp_path), (Input(name, 0, name, i) for i, name in enumerate(names)), 1)
    inputs = Inputs(Places(tmp_path), frozen.count)
    assert [inputs.find(name) for name in names] == list(range(700))
    assert inputs.find("no such") is None
    assert [inputs[i] for i in (0, 699)] == [Input("0/x.png", 0, "0/x.png", 0), Input("699/x.png", 0, "699/x.png", 699)]
    lines = (tmp_path / "inputs.jsonl").read_bytes()
    (tmp_path / "inputs.jsonl").write_bytes(lines.replace(b'"key": "5/', b'"key": 55/'))
    with pytest.raises(BitstreamError, match="item 5 is damaged"):
        Inputs(Places(tmp_path), frozen.count)[5]
    with pytest.raises(BitstreamError, match=r"inputs\.index: 5608 bytes, expected 5600"):
        Inputs(Places(tmp_path), 699)


@pytest.mark.parametrize(("name", "place"), [("inputs.index", 8 * 300), ("inputs.keys", 16 * 300), ("inputs.keys", 16 * 300 + 8)])
def test_an_index_that_leads_elsewhere_is_found(tmp_path: Path, name: str, place: int) -> None:
    names = [f"{i}/x.png" for i in range(700)]
    freeze(Places(tmp_path), (Input(name, 0, name, i) for i, name in enumerate(names)), 1)
    Inputs(Places(tmp_path), 700).check()
    data = bytearray((tmp_path / name).read_bytes())
    data[place] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BitstreamError, match=f"{name}: damaged at item"):
        Inputs(Places(tmp_path), 700).check()


def test_what_is_held_out_hangs_on_the_key_alone() -> None:
    names = [f"{i}.png" for i in range(4000)]
    held = {name for name in names if is_held_out(name, 0.1)}
    assert 320 < len(held) < 480
    assert held >= {name for name in names if is_held_out(name, 0.05)}
    assert not any(is_held_out(name, 0) for name in names)
    assert all(is_held_out(name, 1) for name in names)
    assert hash_of("a") == int.from_bytes(bytes.fromhex("ca978112ca1bbdca"), "little")  # SHA-256 of "a" begins so


def test_items_are_json_for_other_programs(tmp_path: Path) -> None:
    freeze(Places(tmp_path), [Input("k", 0, "p", 3, 512), Input("l", 0, "p", row=4)], 1)
    lines = [json.loads(line) for line in (tmp_path / "inputs.jsonl").read_text().splitlines()]
    assert lines == [{"key": "k", "model": 0, "path": "p", "bytes": 3, "offset": 512}, {"key": "l", "model": 0, "path": "p", "row": 4}]


def test_a_source_of_nothing_is_refused(prepare: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(UsageError, match=r"nothing in it that .* takes"):
        prepare(tmp_path / "in", tmp_path / "out", tiny)
