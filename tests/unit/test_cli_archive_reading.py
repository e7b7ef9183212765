"""Archives on the command line and in Python: what is read of them, what is missing of them, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import smalti
from smalti.codecs.bitstream import Archive, Whole, write_archive


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def named(samples: Any, *keys: str) -> bytes:
    return write_archive([Whole(samples.solo.read_bytes(), key) for key in keys])


def test_a_damaged_name_is_none(cli: Any, samples: Any, tmp_path: Path) -> None:
    """Of a large item the name was once believed where its checksum failed: an item came out as another, with exit code 0."""
    path, chunked = tmp_path / "all.smt", samples.chunked.read_bytes()
    data = write_archive([Whole(chunked, "cat.png"), Whole(samples.solo.read_bytes(), "dog.png")])
    path.write_bytes(data.replace(b"cat.png", b"rat.png"))
    archive = smalti.open_archive(path)
    assert archive.names == ("", "dog.png")
    with pytest.warns(smalti.DamageWarning, match="its name in the archive is damaged"):
        archive.decompress(0, conceal=True)
    assert "has the name 'rat.png'" in cli("detokenize", path, "--key", "rat.png", "--conceal").refusal()
    ran = cli("detokenize", path, "--conceal")
    assert ran.code == 1
    assert "item 0: its name in the archive is damaged" in ran.err
    assert files_in(tmp_path / "all.out") == ["dog.png", "item-000000.png"]


def test_names_are_read_once(samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up all names of an archive once read each item once for each of them."""
    data = named(samples, *(f"{i}.png" for i in range(50)), "7.png")
    archive, read = smalti.open_archive(data), 0
    salvaged = Archive.salvaged

    def counting(self: Archive, number: int) -> Any:
        nonlocal read
        read += 1
        return salvaged(self, number)

    monkeypatch.setattr(Archive, "salvaged", counting)
    assert [archive.number(f"{i}.png") for i in range(50)] == list(range(50))  # the first one of a name
    assert read == 51
    low = Archive(data)
    item, read = Archive.item, 0

    def items(self: Archive, number: int) -> Any:
        nonlocal read
        read += 1
        return item(self, number)

    monkeypatch.setattr(Archive, "item", items)
    assert [low.find(f"{i}.png") for i in range(50)] == list(range(50))
    assert read == 51


def test_a_path_is_read_where_it_must_be(samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "all.smt"
    path.write_bytes(named(samples, *(f"{i}.png" for i in range(50))))
    expected = smalti.open(samples.solo)
    monkeypatch.setattr(smalti.api, "data_of", None)
    archive = smalti.open_archive(path)
    file = archive.items._source
    assert not isinstance(file, bytes)
    taken: list[int] = []
    monkeypatch.setattr(archive.items, "_read", _counting(archive.items._read, taken))
    assert archive.tokens(40) == expected
    assert sum(taken) < path.stat().st_size / 3
    del archive
    assert file.closed
    path.write_bytes(named(samples, "a.png")[:-1])  # without its index it is read whole
    assert smalti.open_archive(path).names == ("a.png",)


def _counting(read: Any, taken: list[int]) -> Any:
    def counted(start: int, count: int) -> bytes:
        taken.append(count)
        return bytes(read(start, count))

    return counted


def test_an_archive_of_more_than_can_be_read_is_not_made(samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and heads count too."""
    data = samples.chunked.read_bytes()
    monkeypatch.setattr("smalti.archives.MAX_FILE_BYTES", 3 * len(data) + 350)
    monkeypatch.setattr("smalti.archives._FILE_ROOM", 0)
    draft = smalti.archives.ArchiveDraft()
    for i in range(3):
        draft.add(data, f"{i}")
    assert draft.data()[:4] == data[:4]
    draft = smalti.archives.ArchiveDraft()
    for i in range(3):
        draft.add(data, "n" * 200 + str(i))
    with pytest.raises(smalti.UsageError, match="write several archives"):
        draft.data()


def test_gaps_of_an_archive_without_index(cli: Any, samples: Any, tmp_path: Path) -> None:
    """What is missing is one line, and nothing is made of it."""
    path, solo = tmp_path / "all.smt", samples.solo.read_bytes()
    data = write_archive([Whole(solo, str(i)) if i % 100 else Whole(samples.chunked.read_bytes(), str(i)) for i in range(301)])
    places = Archive(data).places
    path.write_bytes(data[: places[1].start] + data[places[4].start : -1])
    ran = cli("detokenize", path)
    assert ran.code == 1
    assert ran.err.count("\n") == 3
    assert f"{path}: items 1..199 are missing\n" in ran.err
    assert f"{path}: its end is lost, with the index" in ran.err
    assert len(files_in(tmp_path / "all.out")) == 102
    assert [entry["item"] for entry in cli("info", path, "--json").json[0]["entries"]][:3] == [0, 200, 201]


def test_what_needs_no_model_is_cut_without(cli: Any, samples: Any, tmp_path: Path) -> None:
    """Chunked items drop chunks, and items of fewer stages stay: neither asks for a model."""
    path, short = tmp_path / "all.smt", tmp_path / "short.smt"
    path.write_bytes(write_archive([Whole(samples.foreign_chunked.read_bytes(), "a.png")]))
    assert cli("cut", path, "--stages", 1, "-o", short).out.endswith(" 1 item of 1 stage " + f"({path} has {path.stat().st_size} bytes)\n")
    path.write_bytes(write_archive([Whole(samples.foreign.read_bytes(), "a.png")]))
    ran = cli("cut", path, "--stages", 2, "-o", short, "--force")
    assert ran.out.endswith("bytes; the same: no item is shorter now)\n")
    assert short.read_bytes() == path.read_bytes()
    assert "not installed" in cli("cut", path, "--stages", 1, "-o", short, "--force").refusal()
