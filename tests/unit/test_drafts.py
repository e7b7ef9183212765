"""Writes that are stopped: a full disk, a limit on sizes, a process that is killed. The old file stays whole."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from smalti.codecs.media import drafts
from smalti.codecs.media.files import write_atomically
from smalti.tokenizers.errors import UsageError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and limits of POSIX")

HALF = """
import sys
from smalti.codecs.media.files import write_atomically

def half(file):
    file.write(b"x" * 100_000)
    file.flush()
    print("half", flush=True)
    sys.stdin.read()

write_atomically(sys.argv[1], half)
"""
LIMITED = """
import resource, sys
from smalti.codecs.media.files import write_atomically
from smalti.tokenizers.errors import UsageError

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomically(sys.argv[1], b"x" * 100_000)
except UsageError as error:
    print(error)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "a.smt"
    path.write_bytes(b"old")
    return path


def killed_on_the_way(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HALF, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.kill()


def test_a_killed_write_leaves_the_old_file_and_the_next_one_cleans_up(old: Path) -> None:
    killed_on_the_way(old)
    assert old.read_bytes() == b"old"
    (draft,) = (name for name in names(old.parent) if name != "a.smt")
    assert draft.startswith(".smalti-")
    assert draft.endswith(".part")
    write_atomically(old.with_name("b.smt"), b"another place")
    assert draft in names(old.parent)
    write_atomically(old, b"new")
    assert old.read_bytes() == b"new"
    assert names(old.parent) == ["a.smt", "b.smt"]


def test_the_draft_of_a_writer_at_work_is_not_touched(old: Path) -> None:
    def slow(file: BinaryIO) -> None:
        file.write(b"slow")
        file.flush()
        during.append(names(old.parent))
        write_atomically(old, b"quick")
        assert old.read_bytes() == b"quick"
        during.append(names(old.parent))

    during: list[list[str]] = []
    write_atomically(old, slow)
    assert during[0] == during[1]
    assert len(during[0]) == 2
    assert old.read_bytes() == b"slow"
    assert names(old.parent) == ["a.smt"]


def test_more_writers_than_names(old: Path) -> None:
    def deeper(depth: int) -> None:
        write_atomically(old, lambda file: deeper(depth - 1) if depth else file.write(b"deepest"))
        if depth == 0:
            assert old.read_bytes() == b"deepest"

    deeper(drafts.SLOTS + 2)
    assert names(old.parent) == ["a.smt"]


def test_strangers_under_a_drafts_name_stay(old: Path) -> None:
    seen: list[Path] = []
    write_atomically(old, lambda file: seen.extend(p for p in old.parent.iterdir() if p != old))
    (old.parent / "precious").write_bytes(b"precious")
    seen[0].symlink_to("precious")
    write_atomically(old, b"new")
    assert names(old.parent) == sorted([seen[0].name, "a.smt", "precious"])
    assert (old.parent / "precious").read_bytes() == b"precious"


def test_a_limit_on_sizes(old: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", LIMITED, str(old)], capture_output=True, text=True, check=True)
    assert "cannot be written (File too large)" in ran.stdout
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["a.smt"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk(old: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Many file systems say so only when the bytes are to reach the disk."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(drafts.os, call, full)
        with pytest.raises(UsageError, match=r"a\.smt: cannot be written \(No space left on device\)"):
            write_atomically(old, b"new")
    assert old.read_bytes() == b"old"
    assert names(old.parent) == ["a.smt"]


def test_bytes_reach_the_disk_before_the_name(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"file of {os.fstat(handle).st_size}")
        real_fsync(handle)

    def replace(source: Path, target: Path) -> None:
        calls.append("name")
        real_replace(source, target)

    monkeypatch.setattr(drafts.os, "fsync", fsync)
    monkeypatch.setattr(drafts.os, "replace", replace)
    write_atomically(old, b"newer")
    assert calls == ["file of 5", "name", "folder"]
