"""tokenize, detokenize and cut: where results go, targets, pipes, arrays."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import smalti
from smalti.codecs.bitstream import inspect


def size_of(data: bytes) -> tuple[int, int]:
    with PIL.Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == "RGB"
        return picture.size


@pytest.fixture
def photo(samples: Any, tmp_path: Path) -> Path:
    return Path(shutil.copy(samples.photo, tmp_path / "photo.png"))


def test_results_lie_beside_their_sources(cli: Any, photo: Path) -> None:
    ran = cli("tokenize", photo)
    smt = photo.with_suffix(".smt")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{smt}: {smt.stat().st_size} bytes, ")
    assert "40 tokens in 2 stages" in ran.out
    photo.unlink()
    ran = cli("detokenize", smt)
    assert (ran.code, ran.err, ran.out) == (0, "", f"{photo}: 80 x 56 from 2 stages\n")
    assert size_of(photo.read_bytes()) == (80, 56)


def test_existing_results_are_kept_without_force(cli: Any, photo: Path) -> None:
    smt = photo.with_suffix(".smt")
    smt.write_bytes(b"mine")
    assert "--force" in cli("tokenize", photo).refusal()
    assert smt.read_bytes() == b"mine"
    assert cli("tokenize", photo, "--force", "-q").code == 0
    assert smt.read_bytes() != b"mine"
    assert "--force" in cli("detokenize", smt).refusal()
    assert cli("cut", smt, "--stages", "1", "-o", smt, "--force").code == 0
    assert smalti.open(smt).layout.cuts == (1,)


@pytest.mark.parametrize("ending", ["new/", "there"])
def test_results_in_a_folder(cli: Any, samples: Any, tmp_path: Path, ending: str) -> None:
    (tmp_path / "there").mkdir()
    assert cli("tokenize", samples.photo, "-o", f"{tmp_path}/{ending}").code == 0
    assert inspect((tmp_path / ending / "photo.smt").read_bytes()).status == "whole"


def test_folders_become_folders(cli: Any, samples: Any, tmp_path: Path) -> None:
    for name in ("in/a.png", "in/deep/b.PNG", "in/.hidden/c.png", "in/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(samples.photo, tmp_path / name)
    ran = cli("tokenize", tmp_path / "in", "-o", tmp_path / "out", "--batch", "1", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert {item["target"] for item in ran.json} == {str(tmp_path / "out" / name) for name in ("a.smt", "deep/b.smt")}
    assert cli("detokenize", tmp_path / "out", "-o", tmp_path / "back").code == 0
    assert {path.relative_to(tmp_path / "back").as_posix() for path in (tmp_path / "back").rglob("*.*")} == {"a.png", "deep/b.png"}


def test_two_results_of_one_name(cli: Any, samples: Any, tmp_path: Path) -> None:
    for name in ("a.png", "a.webp"):
        shutil.copy(samples.photo, tmp_path / name)
    line = cli("tokenize", tmp_path, "-o", tmp_path / "out").refusal()
    assert "a.png" in line
    assert "a.webp" in line


def test_pipes_carry_bytes_both_ways(cli: Any, samples: Any) -> None:
    smt = cli("tokenize", "-", stdin=samples.photo.read_bytes())
    assert smt.code == 0
    assert smt.err.startswith("standard output: ")
    assert smt.stdout == samples.solo.read_bytes()
    shorter = cli("cut", "-", "--stages", "1", stdin=smt.stdout)
    assert inspect(shorter.stdout).streams[0].stages == 1
    back = cli("detokenize", "-", "-q", stdin=shorter.stdout)
    assert (back.code, back.err, size_of(back.stdout)) == (0, "", (80, 56))
    assert cli("detokenize", samples.solo, "-o", "-", "-q").stdout[:4] == b"\x89PNG"
    assert cli("info", "-", stdin=smt.stdout).out.startswith("standard input: .smt version 1.0, solo")
    assert cli("verify", "-", stdin=smt.stdout).out == "standard input: whole\n"


def test_one_pipe_holds_one_result(cli: Any, samples: Any) -> None:
    assert "-o" in cli("tokenize", samples.photo, samples.photo, "-o", "-").refusal()
    assert "-o" in cli("tokenize", samples.photo.parent, "-o", "-").refusal()
    for arguments in (["tokenize", samples.photo], ["detokenize", samples.solo], ["cut", samples.solo, "--stages", "1"]):
        assert "--json" in cli(*arguments, "-o", "-", "--json").refusal()


def test_json_is_all_there_is_on_standard_output(cli: Any, samples: Any, tmp_path: Path) -> None:
    (made,) = cli("tokenize", samples.photo, "-o", tmp_path / "a.smt", "--json").json
    assert made["bytes"] == (tmp_path / "a.smt").stat().st_size
    assert made["bits_per_pixel"] == pytest.approx(8 * made["bytes"] / (80 * 56))
    assert (made["width"], made["height"], made["stages"], made["tokens"], made["notes"]) == (80, 56, 2, 40, [])
    (back,) = cli("detokenize", tmp_path / "a.smt", "--json").json
    assert (back["width"], back["height"], back["target"]) == (80, 56, str(tmp_path / "a.png"))
    cut = cli("cut", tmp_path / "a.smt", "--stages", "1", "--json").json
    assert (cut["stages"], cut["target"]) == (1, str(tmp_path / "a.cut.smt"))
    assert cut["bytes"] == (tmp_path / "a.cut.smt").stat().st_size < cut["source_bytes"]


def test_quiet_is_quiet(cli: Any, samples: Any, tmp_path: Path) -> None:
    for arguments in (
        ["tokenize", samples.photo, "-o", tmp_path / "a.smt"],
        ["detokenize", tmp_path / "a.smt"],
        ["cut", tmp_path / "a.smt", "--stages", "1"],
        ["verify", tmp_path / "a.smt"],
    ):
        ran = cli(*arguments, "-q")
        assert (ran.code, ran.stdout, ran.err) == (0, b"", "")


@pytest.mark.parametrize("form", ["npy", "json"])
@pytest.mark.parametrize("stages", [1, 2])
def test_arrays_there_and_back(cli: Any, samples: Any, tmp_path: Path, form: str, stages: int) -> None:
    name = tmp_path / f"photo.{form}"
    assert cli("tokenize", samples.photo, "-o", name, "--format", form, "--stages", stages).code == 0
    file = cli("tokenize", samples.photo, "-o", "-", "--stages", stages).stdout
    tokens = smalti.open(file)
    if form == "npy":
        array = np.load(name)
        assert (array.dtype, array.shape) == (np.int32, (stages, 4, 5))
    else:
        array = [stage["tokens"] for stage in json.loads(name.read_text())["stages"]]
    assert np.array_equal(array, tokens.arrays)
    model = ["-m", "image-grid-16"] if form == "npy" else []
    assert cli("detokenize", name, *model, "-o", tmp_path / "a.png").code == 0
    piped = cli("detokenize", "-", *model, stdin=name.read_bytes())
    assert piped.stdout == (tmp_path / "a.png").read_bytes()
    # an array does not know the picture's size; this one has 4 x 5 whole strides
    assert size_of(piped.stdout) == ((80, 64) if form == "npy" else (80, 56))
    if form == "json":
        assert np.array_equal(np.asarray(PIL.Image.open(tmp_path / "a.png")), smalti.decompress(file).pixels)


def test_arrays_that_are_none(cli: Any, samples: Any, tmp_path: Path) -> None:
    def refused(name: str, data: bytes, *more: str) -> str:
        (tmp_path / name).write_bytes(data)
        line = cli("detokenize", tmp_path / name, "-o", tmp_path / "x.png", *more).refusal()
        assert line.startswith(f"{tmp_path / name}: ")
        assert not (tmp_path / "x.png").exists()
        return line

    def npy(array: np.ndarray) -> bytes:
        np.save(buffer := io.BytesIO(), array)
        return buffer.getvalue()

    assert "--model" in refused("a.npy", npy(np.zeros((1, 2, 2), np.int32)))
    model = ("-m", "image-grid-16")
    for array in (
        np.zeros((1, 2, 2), np.float32),
        np.full((1, 2, 2), 1 << 20),
        np.full((2, 2), -1),
        np.zeros((3, 1, 1), int),
        np.zeros(3, int),
    ):
        refused("a.npy", npy(array), *model)
    refused("a.npy", npy(np.zeros((1, 2, 2), np.int32))[:-1], *model)
    cli("tokenize", samples.photo, "-o", tmp_path / "a.json", "--format", "json")
    about = json.loads((tmp_path / "a.json").read_text())
    assert "not installed" in refused("b.json", json.dumps(about | {"fingerprint": "00" * 32}).encode())
    for wrong in ({"format": "2"}, {"fingerprint": 7}, {"signal": 3}, {"stages": []}, {"cuts": [9]}, {"signal": {"height": 9, "width": 9}}):
        refused("b.json", json.dumps(about | wrong).encode())
    assert "--stages" in refused("b.json", json.dumps(about).encode(), "--bytes", "100")


@pytest.mark.parametrize("how", ["--bytes", "--bpp"])
def test_targets_are_kept_and_used(cli: Any, samples: Any, tmp_path: Path, how: str) -> None:
    plain = ("tokenize", samples.photo, "-o", "-", "--tone-passes", "0")  # in tone, other stages are other tokens
    whole = cli(*plain).stdout
    first = len(cli(*plain, "--stages", "1").stdout)

    def tokenized(size: int) -> Any:
        limit = size if how == "--bytes" else repr(8 * size / (80 * 56))
        return cli(*plain, how, limit)

    for size, stages in ((len(whole) + 1, 2), (len(whole), 2), (len(whole) - 1, 1), (first, 1)):
        data = tokenized(size).stdout
        assert len(data) <= size
        assert smalti.open(data) == smalti.open(whole, stages=stages)
    assert f"the smallest file of this signal has {first} bytes, the target allows {first - 1}; ask" in tokenized(first - 1).refusal()


def test_cut_and_detokenize_by_bytes(cli: Any, samples: Any, tmp_path: Path) -> None:
    for source in (samples.solo, samples.chunked):
        whole = source.stat().st_size
        first = len(cli("cut", source, "--stages", "1", "-o", "-").stdout)
        for size, stages in ((whole, 2), (whole - 1, 1), (first, 1)):
            data = cli("cut", source, "--bytes", size, "-o", "-").stdout
            assert len(data) <= size
            assert smalti.open(data) == smalti.open(source, stages=stages)
        assert f"has {first} bytes" in cli("cut", source, "--bytes", first - 1, "-o", "-").refusal()
    (made,) = cli("detokenize", samples.solo, "-o", tmp_path / "a.png", "--bytes", samples.solo.stat().st_size - 1, "--json").json
    (same,) = cli("detokenize", samples.solo, "-o", tmp_path / "b.png", "--stages", "1", "--json").json
    assert made["stages"] == same["stages"] == 1
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert "smallest file" in cli("detokenize", samples.solo, "-o", tmp_path / "c.png", "--bytes", 9).refusal()
    assert "3" in cli("cut", samples.solo, "--stages", "3", "-o", "-").refusal()


def test_cut_runs_no_network(cli: Any, samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def fail(*arguments: object) -> None:
        raise AssertionError("a network ran")

    monkeypatch.setattr(torch.nn.Module, "__call__", fail)
    for source in (samples.solo, samples.chunked):
        assert cli("cut", source, "--stages", "1", "-o", "-").code == 0
    with pytest.raises(AssertionError, match="a network ran"):
        smalti.decompress(samples.solo)


def test_cut_of_a_chunked_file_needs_no_model(cli: Any, samples: Any) -> None:
    for arguments in (["--stages", "1"], ["--bytes", samples.foreign_chunked.stat().st_size - 1]):
        ran = cli("cut", samples.foreign_chunked, *arguments, "-o", "-")
        assert (ran.code, inspect(ran.stdout).status, inspect(ran.stdout).streams[0].stages) == (0, "whole", 1)
    assert "not installed" in cli("cut", samples.foreign, "--stages", "1", "-o", "-").refusal()


def test_another_prior_same_tokens(cli: Any, samples: Any, tmp_path: Path) -> None:
    data = cli("tokenize", samples.photo, "-o", "-", "--prior", "uniform").stdout
    assert smalti.open(data) == smalti.open(samples.solo)
    assert cli("info", "-", "--json", stdin=data).json[0]["streams"][0]["prior"] == "uniform"
    assert "no prior 'none'" in cli("tokenize", samples.photo, "-o", tmp_path / "a.smt", "--prior", "none").refusal()
    assert cli("tokenize", samples.photo, "-o", tmp_path / "a.smt", "--prior", samples.photo).refusal()
    assert not list(tmp_path.iterdir())


def test_the_ending_chooses_the_picture(cli: Any, samples: Any, tmp_path: Path) -> None:
    for name, kind in (("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP"), ("a.png", "PNG")):
        assert cli("detokenize", samples.solo, "-o", tmp_path / name, "--threads", "1", "--device", "cpu").code == 0
        with PIL.Image.open(tmp_path / name) as picture:
            assert picture.format == kind
    for name in ("a.gif", "a"):
        assert ".webp" in cli("detokenize", samples.solo, "-o", tmp_path / name).refusal()
