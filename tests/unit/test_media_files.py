"""Reading with a limit, writing all or nothing, listing in a fixed order."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from smalti.codecs.media.files import check_place, list_files, list_images, open_file, read_bytes, write_atomically
from smalti.tokenizers.errors import SignalError, UsageError


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    assert read_bytes(path) == read_bytes(str(path), limit=5) == b"12345"
    with pytest.raises(SignalError, match=r"a\.bin: more than 4 bytes"):
        read_bytes(path, limit=4)


def test_what_fails_while_a_file_is_open_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"1")
    for error in (ValueError("of the reader"), FileNotFoundError("of another file")):
        with pytest.raises(type(error), match="of "), open_file(tmp_path / "a.bin"):
            raise error


def test_what_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SignalError, match=r"none\.png: no such file"):
        read_bytes(tmp_path / "none.png")
    with pytest.raises(SignalError, match=r": a folder, expected a file"):
        read_bytes(tmp_path)
    with pytest.raises(SignalError, match=r"cannot be read"):
        read_bytes("nul\0.png")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "shut.png")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so the mode bits cannot be tried
    with pytest.raises(SignalError, match=r"shut\.png: cannot be read \(Permission denied\)"):
        read_bytes(tmp_path / "shut.png")


def test_writing_replaces_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    seen = []

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    write_atomically(path, write)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"
    write_atomically(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyError("stop")

    def fill(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(KeyError, match="stop"):
        write_atomically(path, fail)
    with pytest.raises(UsageError, match=r"a\.bin: cannot be written \(No space left on device\)"):
        write_atomically(path, fill)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"its folder does not exist"):
        write_atomically(tmp_path / "no" / "a.bin", b"")
    with pytest.raises(UsageError, match=r": a folder, expected the name of a file"):
        write_atomically(tmp_path, b"")
    with pytest.raises(UsageError, match=r"cannot be written"):
        write_atomically("nul\0.bin", b"")
    with pytest.raises(UsageError, match=r"cannot be written"):
        write_atomically(tmp_path / ("x" * 300), b"")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="mode bits, links and devices of POSIX")
def test_modes_links_and_devices(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a.bin", b"a")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o644
    (tmp_path / "link").symlink_to("a.bin")
    write_atomically(tmp_path / "link", b"b")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.bin").read_bytes() == b"b"
    write_atomically("/dev/null", b"c")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_listing_is_sorted_recursive_and_by_suffix(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPG", "a/.hidden.png", ".git/x.png", "a.txt", "a b/c.webp", "B.png", "d.png/e.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["B.png", "a/z.JPG", "a b/c.webp", "b.png", "d.png/e.png"]
    assert [path.name for path in list_files(tmp_path, (".txt",))] == ["a.txt"]


def test_listing_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SignalError, match=r"no such folder, expected a folder"):
        list_images(tmp_path / "none")
    with pytest.raises(SignalError, match=r"a file, expected a folder"):
        list_images(tmp_path / "a.png")


def test_a_place_is_refused_before_there_is_anything_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_place(tmp_path / "a") == tmp_path / "a"
    assert list(tmp_path.iterdir()) == []
    for place, message in ((tmp_path, "a folder"), (tmp_path / "none" / "a", "its folder does not exist"), ("nul\0", "cannot be written")):
        with pytest.raises(UsageError, match=message):
            check_place(place)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write everywhere
    with pytest.raises(UsageError, match="permission denied"):
        check_place(tmp_path / "a")
