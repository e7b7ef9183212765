"""What is installed, under which names, and that nobody else's packages are shadowed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

FOLDERS = ("tokenizers", "codecs", "metrics", "recipes")


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == len(set(archive.namelist()))
        return set(archive.namelist())


def sources(folder: Path) -> set[str]:
    return {path.relative_to(folder.parent).as_posix() for path in folder.rglob("*.py") if "__pycache__" not in path.parts}


def test_the_wheel_holds_one_package(wheel: set[str]) -> None:
    strangers = {name for name in wheel if not name.startswith(("smalti/", "smalti-"))}
    assert not strangers
    assert not {name for name in wheel if "__pycache__" in name or name.endswith(".pyc")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_wheel_holds_the_folders_of_the_top_level(wheel: set[str], repository: Path, folder: str) -> None:
    expected = {f"smalti/{name}" for name in sources(repository / folder)}
    assert expected
    assert {name for name in wheel if name.startswith(f"smalti/{folder}/") and name.endswith(".py")} == expected


def test_the_wheel_holds_the_face(wheel: set[str], repository: Path) -> None:
    real = [repository / "smalti", *(p for p in (repository / "smalti").iterdir() if p.is_dir() and p.name not in FOLDERS)]
    expected = {path.relative_to(repository).as_posix() for folder in real for path in folder.glob("*.py")}
    assert {"smalti/__init__.py", "smalti/__main__.py", "smalti/api.py"} <= expected <= wheel
    assert {"smalti/py.typed", "smalti/cli/__init__.py"} <= wheel


def test_the_wheel_holds_what_is_no_code(wheel: set[str], repository: Path) -> None:
    zoo = repository / "tokenizers" / "zoo"
    data = [path for path in zoo.rglob("*") if path.suffix in (".safetensors", ".json", ".md")]
    data += [path for path in (repository / "codecs" / "hyperprior" / "1").iterdir() if path.is_file()]
    data += [repository / "codecs" / "FORMAT.md", *(repository / "recipes").rglob("*.toml")]
    assert {f"smalti/{path.relative_to(repository).as_posix()}" for path in data} <= wheel
    assets = [path for path in (repository / "smalti" / "compare").rglob("*") if path.suffix in (".css", ".js", ".md")]
    assert {".css", ".js", ".md"} == {path.suffix for path in assets}
    assert {path.relative_to(repository).as_posix() for path in assets} <= wheel
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders_are_no_packages_of_their_own(repository: Path, folder: str) -> None:
    # with an __init__.py, they would win over an installed package of the same name wherever the root is on the path
    assert not (repository / folder / "__init__.py").exists()
    assert not (repository / "__init__.py").exists()


PROBE = """
import codecs, sysconfig, os
assert codecs.lookup("utf-8").name == "utf-8"
assert os.path.dirname(codecs.__file__) == sysconfig.get_paths()["stdlib"], codecs.__file__
import tokenizers, metrics, recipes
assert tokenizers.WHOSE == metrics.WHOSE == recipes.WHOSE == "theirs"
import smalti.tokenizers.errors
"""


@pytest.mark.parametrize("style", ["-c", "-c without frozen modules", "-m pytest", "PYTHONPATH=."])
def test_packages_of_others_win_at_the_root(repository: Path, tmp_path: Path, style: str) -> None:
    theirs = tmp_path / "site"
    for name in ("tokenizers", "metrics", "recipes"):
        (theirs / name).mkdir(parents=True)
        (theirs / name / "__init__.py").write_text("WHOSE = 'theirs'\n")
    script = tmp_path / "test_probe.py"
    script.write_text("def test_probe():\n" + "".join(f"    {line}\n" for line in PROBE.strip().splitlines()))
    # after the root on the path, as installed packages are
    path = [str(theirs)]
    command = {
        "-c": ["-c", PROBE],
        "-c without frozen modules": ["-X", "frozen_modules=off", "-c", PROBE],
        "-m pytest": ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-c", str(repository / "pyproject.toml"), str(script)],
        "PYTHONPATH=.": [str(tmp_path / "probe.py")],
    }[style]
    if style == "PYTHONPATH=.":
        (tmp_path / "probe.py").write_text(PROBE)
        path.insert(0, str(repository))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTHONSAFEPATH", None)
    for name in [name for name in environment if name.startswith("PYTEST_")]:
        del environment[name]
    run = subprocess.run([sys.executable, *command], cwd=repository, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_checkout_without_links_works(repository: Path, tmp_path: Path) -> None:
    # git writes a link as a small text file where the system has none
    (tmp_path / "smalti").mkdir()
    (tmp_path / "smalti" / "__init__.py").write_bytes((repository / "smalti" / "__init__.py").read_bytes())
    (tmp_path / "smalti" / "tokenizers").write_text("../tokenizers")
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "tokenizers" / "errors.py").write_bytes((repository / "tokenizers" / "errors.py").read_bytes())
    code = "import smalti; print(smalti.SmaltiError.__module__, smalti.__path__)"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.startswith("smalti.tokenizers.errors"), run.stderr
    assert str(tmp_path) in run.stdout
