"""Bad input: one line, exit code 2, nothing left behind; and with several sources, the others are done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import smalti
from smalti.tokenizers import zoo


def listing(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def place(tmp_path: Path, samples: Any) -> Iterator[Path]:
    """A folder of bad input, in which nothing appears or goes away."""
    (tmp_path / "text.png").write_text("I am no picture\n")
    (tmp_path / "cut.png").write_bytes(samples.photo.read_bytes()[:-500])
    (tmp_path / "empty.png").touch()
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    data = samples.solo.read_bytes()
    (tmp_path / "damaged.smt").write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    (tmp_path / "short.smt").write_bytes(data[:-1])
    (tmp_path / "empty.smt").touch()
    before = listing(tmp_path)
    yield tmp_path
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing.png", "no such file"),
        ("text.png", "no known image"),
        ("cut.png", "damaged or cut short"),
        ("empty.png", "empty (0 bytes)"),
        ("folder", "no file in this folder ends in .avif, .bmp"),
    ],
)
def test_no_picture(cli: Any, place: Path, name: str, expected: str) -> None:
    line = cli("tokenize", place / name, "-o", place / "new" / "a.smt").refusal()
    assert line.startswith(f"{place / name}: ")
    assert expected in line


@pytest.mark.parametrize("name", ["missing.smt", "damaged.smt", "short.smt", "empty.smt", "text.png", "folder"])
def test_no_token_file(cli: Any, place: Path, name: str) -> None:
    for arguments in (["detokenize"], ["cut", "--stages", "1"]):
        assert cli(*arguments, place / name, "-o", place / "new" / "a.png").refusal().startswith(f"{place / name}: ")
    assert cli("info", place / name).refusal().startswith(f"{place / name}: ")


@pytest.mark.parametrize("arguments", [["tokenize"], ["detokenize"], ["cut", "--stages", "1"], ["info"]])
def test_empty_standard_input(cli: Any, place: Path, arguments: list[str]) -> None:
    assert cli(*arguments, "-").refusal().startswith("standard input: ")


@pytest.mark.parametrize("out", ["file/a", "file/deep/a", "folder/../file/a", "/proc/a", "/dev/null/a"])
def test_no_place_to_write(cli: Any, place: Path, samples: Any, out: str) -> None:
    for ending, arguments in (
        (".smt", ["tokenize", samples.photo]),
        (".png", ["detokenize", samples.solo]),
        (".smt", ["cut", samples.solo, "--stages", "1"]),
    ):
        assert out.rpartition("/")[0] in cli(*arguments, "-o", str(place / out) + ending).refusal()
        several = [arguments[0], arguments[1], samples.chunked if ending == ".png" else samples.photo, "-o", place / "file"]
        if arguments[0] != "cut":
            assert "file" in cli(*several).refusal()


def test_a_folder_in_the_way(cli: Any, place: Path, samples: Any) -> None:
    (place / "folder" / "photo.smt").mkdir()
    assert "a folder, expected" in cli("tokenize", samples.photo, "-o", place / "folder", "--force").refusal()
    (place / "folder" / "photo.smt").rmdir()


def test_the_wrong_model(cli: Any, place: Path, samples: Any) -> None:
    tiny = zoo.fingerprint_of(zoo.find(str(samples.tiny)))[:12]
    own = zoo.fingerprint_of(zoo.find("image-grid-16"))[:12]
    for arguments in (["detokenize"], ["cut", "--stages", "1"], ["verify"]):
        line = cli(*arguments, samples.solo, "-m", samples.tiny).refusal()
        assert f"written by model {own}, but tiny is {tiny}" in line
    assert "no model 'nobody'" in cli("detokenize", samples.solo, "-m", "nobody").refusal()
    assert "config.json" in cli("detokenize", samples.solo, "-m", place / "folder").refusal()


@pytest.mark.parametrize("limit", ["--kbps", "--bpp"])
def test_a_model_that_is_not_there_comes_before_what_it_might_take(cli: Any, place: Path, limit: str) -> None:
    """Else a slip of the pen in a name is answered with advice about rates."""
    assert "no model 'nobody'" in cli("tokenize", place / "none.wav", "-m", "nobody", limit, "3").refusal()


def test_a_model_that_is_not_there(cli: Any, place: Path, samples: Any) -> None:
    for arguments in (["detokenize"], ["cut", "--stages", "1"]):
        line = cli(*arguments, samples.foreign).refusal()
        assert line.startswith(f"{samples.foreign}: written by model {b'nobody'.hex()}, which is not installed (there is ")
        assert "image-grid-16@" in line
        assert "-m FOLDER" in line
    assert "model        not installed (6e6f626f6479)" in cli("info", samples.foreign).out


def test_a_model_folder_for_its_own_files(cli: Any, samples: Any, tmp_path: Path) -> None:
    smt = tmp_path / "a.smt"
    assert cli("tokenize", samples.photo, "-m", samples.tiny, "-o", smt).code == 0
    assert "not installed" in cli("detokenize", smt).refusal()
    assert cli("detokenize", smt, "-m", samples.tiny).code == 0
    assert cli("verify", smt, "-m", samples.tiny).out == f"{smt}: whole\n"


def test_broken_models(cli: Any, samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "models" / "zebra" / "1"  # looked at first
    shutil.copytree(samples.tiny, broken)
    (broken / "model.safetensors").write_bytes((broken / "model.safetensors").read_bytes()[:-1])
    assert "model.safetensors: not readable" in cli("tokenize", samples.photo, "-m", broken, "-o", tmp_path / "a.smt").refusal()
    # its neighbours are none the worse for it
    monkeypatch.setenv("SMALTI_MODELS", f"{zoo.find('image-grid-16').folder.parents[1]}:{tmp_path / 'models'}")
    assert cli("detokenize", samples.solo, "-o", tmp_path / "a.png").code == 0
    assert "image-grid-16@" in cli("info", samples.solo).out
    (broken / "model.safetensors").unlink()
    listed = cli("models")
    assert listed.code == 0
    assert "image-grid-16@" in listed.out
    assert "zebra@1" in listed.out
    assert "model.safetensors: not found" in listed.err


def test_cuda_without_cuda(cli: Any, place: Path, samples: Any) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    for arguments in (["tokenize", samples.photo, "-o", place / "a.smt"], ["detokenize", samples.solo, "-o", place / "a.png"]):
        assert "--device cpu" in cli(*arguments, "--device", "cuda").refusal()


def test_one_bad_picture_among_several(cli: Any, samples: Any, place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out")
    ran = cli("tokenize", place / "text.png", samples.photo, place / "missing.png", "-o", out, "--json")
    assert ran.code == 1
    assert [item["source"] for item in ran.json] == [str(samples.photo)]
    assert [line.split(":")[1] for line in ran.err.splitlines()] == [f" {place / 'text.png'}", f" {place / 'missing.png'}"]
    assert all(line.startswith("smalti: ") for line in ran.err.splitlines())
    assert {path.name for path in listing(out)} == {"photo.smt"}


def test_one_bad_token_file_among_several(cli: Any, samples: Any, place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out")
    ran = cli("detokenize", place / "short.smt", samples.solo, samples.foreign, "-o", out)
    assert (ran.code, ran.err.count("smalti: "), ran.err.count("\n")) == (1, 2, 2)
    assert {path.name for path in listing(out)} == {"solo.png"}
    ran = cli("info", place / "short.smt", samples.solo)
    assert (ran.code, ran.err.count("\n"), ran.out.count(".smt version")) == (1, 1, 1)


def test_nothing_but_bad_ones(cli: Any, place: Path, samples: Any) -> None:
    ran = cli("tokenize", place / "text.png", place / "cut.png", "-o", place / "new")
    assert (ran.code, ran.out, ran.err.count("smalti: ")) == (2, "", 2)
    ran = cli("detokenize", place / "short.smt", place / "damaged.smt", "-o", place / "new", "--json")
    assert (ran.code, ran.json, ran.err.count("smalti: ")) == (2, [], 2)


def test_a_target_too_small_for_one_of_several(cli: Any, samples: Any, data_folder: Path, tmp_path: Path) -> None:
    large = data_folder / "images" / "odd" / "gray.jpg"
    limit = samples.solo.stat().st_size
    ran = cli("tokenize", samples.photo, large, "-o", tmp_path, "--bytes", limit)
    assert ran.code == 1
    assert f"smalti: {large}: the smallest file of this signal has " in ran.err
    assert {path.name for path in listing(tmp_path)} == {"photo.smt"}
    assert smalti.open(tmp_path / "photo.smt") == smalti.open(samples.solo)
