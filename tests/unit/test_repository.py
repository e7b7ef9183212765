"""Habits of the repository that are quicker tested than remembered."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("tokenizers", "codecs", "metrics", "recipes")
OURS = (*FOLDERS, "smalti", "tests", ".ci")
BINARY = {".safetensors", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".smt", ".npy", ".npz"}


def files(repository: Path) -> Iterator[Path]:
    """The files of the project: those of its folders, links not followed, and those at the top level."""
    top = {"", ".md", ".toml", ".txt", ".yaml"}  # what a user leaves lying there, photos say, is not ours
    yield from (path for path in repository.iterdir() if path.is_file() and path.suffix in top and path.name != ".git")
    for folder in OURS:
        for place, folders, names in os.walk(repository / folder):
            folders[:] = [name for name in folders if name != "__pycache__"]
            yield from (Path(place, name) for name in names)


def test_source_files_are_rooms(repository: Path) -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files(repository) if path.suffix == ".py"}
    assert len(sizes) > 20
    long = {str(path.relative_to(repository)): size for path, size in sizes.items() if size > 420}
    assert not long, f"about 400 lines at most; split these: {long}"


def test_no_registry_and_no_machine_is_named(repository: Path) -> None:
    # spelled in pieces, so that this file does not hold the words itself
    hosts = ("pypi" + r"\.org", "python" + "hosted", "registry" + r"\.npmjs", "anaconda" + r"\.org", "deb" + r"\.debian", "hf" + "-mirror")
    places = "(?<![\\w.])/" + "(?:work|root)" + "/"
    pattern = re.compile("|".join((*hosts, places)))
    wrong = []
    for path in files(repository):
        if path.suffix in BINARY:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        wrong += [
            f"{path.relative_to(repository)}:{n}: {line.strip()}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)
        ]
    assert not wrong, "\n".join(wrong)


def test_the_four_links_are_the_only_ones(repository: Path) -> None:
    links = set()
    for folder in OURS:
        for place, folders, names in os.walk(repository / folder):
            links |= {path for name in (*folders, *names) if (path := Path(place, name)).is_symlink()}
    links |= {path for path in repository.iterdir() if path.is_symlink()}
    assert {path.relative_to(repository).as_posix() for path in links} <= {f"smalti/{name}" for name in FOLDERS}
    assert all(os.readlink(path) == f"../{path.name}" for path in links)


def test_weights_stay_small(repository: Path) -> None:
    sizes = {path: path.stat().st_size for path in files(repository)}
    assert max(sizes.values()) <= 12e6
    assert sum(size for path, size in sizes.items() if path.suffix == ".safetensors") <= 60e6


def test_nothing_that_patches_leave_behind_is_shipped(repository: Path) -> None:
    left = {".orig", ".rej"}
    assert left <= {line.removeprefix("*") for line in (repository / ".gitignore").read_text(encoding="utf-8").splitlines()}
    assert not [path for path in files(repository) if path.suffix in left]


def test_no_pickle_is_shipped(repository: Path) -> None:
    assert not [path for path in files(repository) if path.suffix in {".pt", ".pth", ".ckpt", ".pkl", ".bin"}]
