"""Refusals say what to do instead, before long work is done; what was named so is called so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smalti.codecs.bitstream import Whole, write_archive

SOLO_SOURCES = (b"\xff\xd8\xff\xe0 picture", b"\x89PNG\r\n\x1a\n picture")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bytes", 900, "--bpp", 0.1], "found --bytes and --bpp"),
        (["--bytes", "abc"], "'abc' is not a valid whole number"),
        (["--bpp", "abc"], "'abc' is not a valid number"),
        (["--kbps", 3], "--kbps is a rate of sounds; give --bpp, --bytes or --stages"),
        (["-m", "image-grid-32"], "did you mean 'image-grid-8'? `smalti models` lists them"),
        (["-o", "out.png"], "out.png: the result is tokens and no .png file; give it a name that ends in .smt"),
        (["-o", "out.wav", "--format", "npy"], "give it a name that ends in .npy"),
    ],
)
def test_tokenize(cli: Any, samples: Any, arguments: list[Any], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    if "-m" not in arguments:
        arguments = [*arguments, "-m", samples.tiny]
    assert said in cli("tokenize", samples.photo, *arguments).refusal()
    assert list(tmp_path.iterdir()) == []


def test_a_token_file_is_not_tokenized(cli: Any, samples: Any) -> None:
    assert "solo.smt: a token file already; `smalti detokenize`" in cli("tokenize", samples.solo, "--force").refusal()


def test_too_few_bytes(cli: Any, samples: Any, tmp_path: Path) -> None:
    refused = cli("tokenize", samples.photo, "-m", samples.tiny, "--bytes", 9, "-o", tmp_path / "a.smt").refusal()
    assert refused.endswith("the target allows 9; ask for more, or take a model with more stages: of pictures image-line")
    refused = cli("tokenize", samples.photo, "-m", samples.tiny, "--bpp", 0.0001, "-o", tmp_path / "a.smt").refusal()
    least = refused.rpartition("ask for ")[2].partition(" bits per pixel or more")[0]
    assert cli("tokenize", samples.photo, "-m", samples.tiny, "--bpp", least, "-o", tmp_path / "a.smt").code == 0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty (0 bytes), expected a .smt file"),
        (SOLO_SOURCES[0], "ff d8 ff e0, expected 89 53 4d 54: a JPEG, of which `smalti tokenize` makes a .smt file"),
        (SOLO_SOURCES[1], "a PNG, of which"),
        (b"ordinary text", "expected 89 53 4d 54"),
    ],
)
def test_what_is_no_token_file(cli: Any, data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.smt"
    path.write_bytes(data)
    assert said in cli("detokenize", path).refusal()
    assert said in cli("verify", path).out


def test_more_stages_than_there_are(cli: Any, samples: Any) -> None:
    for command in ("detokenize", "cut"):
        assert cli(command, samples.solo, "--stages", 7, "-o", "-").refusal().endswith("solo.smt: it holds 2 stages, asked for 7")


def test_the_way_back_from_a_prior(cli: Any, model: str, samples: Any, tmp_path: Path) -> None:
    masked = tmp_path / "masked.smt"
    assert cli("transcode", samples.solo, "--prior", "masked", "-o", masked).code == 0
    assert "  prior        masked (" in cli("info", masked).out
    assert cli("transcode", masked, "-o", tmp_path / "own.smt").code == 0
    assert "  prior        the model's own\n" in cli("info", tmp_path / "own.smt").out
    refused = cli("transcode", masked, "--prior", "static", "-o", tmp_path / "x.smt").refusal()
    assert refused.endswith("or leave it out for the model's own")


def test_one_set(cli: Any, samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "all.smt"
    path.write_bytes(write_archive([Whole(samples.solo.read_bytes())] * 2))
    assert "  items        2, with 1 set of parameters\n" in cli("info", path).out


def test_the_demo_leaves_its_photo(cli: Any, model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("demo").code == 0
    assert (tmp_path / "smalti-demo" / "photo.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
