"""Commands on films, with a toy tokenizer: what they write, keep, say and refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import smalti
from smalti.codecs.bitstream import parse
from smalti.codecs.media.video import read_video, write_video
from smalti.tokenizers.signals import Array, Audio, Video

Cli = Callable[..., Any]
UNEVEN = tuple(Fraction(3 * i + i % 2, 90) for i in range(61))
pytest.importorskip("av")


def clip(count: int = 61, height: int = 48, width: int = 64) -> list[Array]:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 120, (count, height, width, 3)).astype(np.uint8)
    for i, frame in enumerate(frames):
        frame[10:30, i % 40 : i % 40 + 20] = 220
    return list(frames)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    t = np.arange(16000 * 61 // 30) / 16000
    write_video(
        Video(clip(), UNEVEN, Fraction(16, 11), Audio((0.4 * np.sin(2000 * t)).astype(np.float32)[None], 16000)), tmp_path / "clip.mkv"
    )
    return tmp_path / "clip.mkv"


@pytest.fixture
def heard(sound_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model of sound that is found by what files say."""
    shutil.copytree(sound_model, tmp_path / "models" / "heard" / "1")
    monkeypatch.setenv("SMALTI_MODELS", str(tmp_path / "models"))
    return "heard"


def frames_of(path: Path) -> Array:
    return np.stack(list(read_video(path).frames))


def test_there_and_back(cli: Cli, source: Path, film_model: Path, heard: str) -> None:
    done = cli("tokenize", source, "-m", film_model, "--audio-model", heard, "--json")
    assert done.code == 0
    (item,) = done.json
    assert (item["frames"], item["height"], item["width"], item["stages"]) == (61, 48, 64, 2)
    assert item["bits_per_pixel"] == pytest.approx(8 * item["bytes"] / (61 * 48 * 64))
    file = parse(source.with_suffix(".smt").read_bytes())
    assert [info.modality for info in file.streams] == ["video", "audio"]

    about = cli("info", source.with_suffix(".smt"), "--json").json[0]["streams"]
    assert (about[0]["aspect"], about[0]["frames_per_second"]) == ("16/11", None)
    assert [field["name"] for field in about[0]["fields"]] == ["timing", "aspect"]
    assert about[1]["kbps"] > 0
    text = cli("info", source.with_suffix(".smt")).out
    assert "61 frames of 64 x 48 at times of their own, samples 16/11 as wide as high" in text

    back = source.with_name("back.mkv")
    done = cli("detokenize", source.with_suffix(".smt"), "-m", film_model, "-o", back)
    assert (done.code, done.err) == (0, "")
    film = read_video(back)
    stamps = read_video(source).timing
    assert (film.timing, film.aspect) == (stamps, Fraction(16, 11))
    assert film.audio is not None
    assert frames_of(back).shape == (61, 48, 64, 3)
    assert cli("verify", source.with_suffix(".smt"), "-m", film_model).code == 0
    assert cli("info", source.with_suffix(".smt")).out.count("kbps (of its tokens alone)") == 2

    for name in ("back.mp4", "back.gif"):
        assert cli("detokenize", source.with_suffix(".smt"), "-m", film_model, "-o", source.with_name(name)).code == (name == "back.gif")
        assert len(frames_of(source.with_name(name))) == (16 if name == "back.gif" else 61)  # a GIF has equal frames once, for longer
    said = cli("detokenize", source.with_suffix(".smt"), "-m", film_model, "--force", "-o", source.with_name("back.gif")).err
    assert "its sound is left out: a GIF has none" in said
    assert "samples 16/11 as wide as high are shown as square" in said
    folder = source.with_name("pictures")
    assert cli("detokenize", source.with_suffix(".smt"), "-m", film_model, "--frames", "-o", folder).code == 0
    pngs = sorted(folder.glob("*.png"))
    assert len(pngs) == 61
    assert np.array_equal(np.array(PIL.Image.open(pngs[60])), frames_of(back)[60])
    assert json.loads((folder / "timing.json").read_text())["aspect"] == "16/11"
    assert (folder / "sound.wav").is_file()
    piped = cli("detokenize", source.with_suffix(".smt"), "-m", film_model, "-o", "-")
    assert np.array_equal(np.stack(list(read_video(piped.stdout).frames)), frames_of(back))


def test_sound_that_is_left_out_is_told(cli: Cli, source: Path, film_model: Path, heard: str) -> None:
    left, kept = cli("tokenize", source, "-m", film_model), cli("tokenize", source, "-m", film_model, "--audio-model", heard, "--force")
    assert "its sound is left out" in left.err
    assert "left out" not in kept.err
    wrong = cli("tokenize", source, "-m", "shape", "--force").refusal()
    assert "a film, and shape@1 takes shapes; leave -m out, or name a model of films" in wrong


def test_a_stretch_says_what_it_decodes_before(cli: Cli, source: Path, film_model: Path) -> None:
    cli("tokenize", source, "-m", film_model)
    smt, whole, part = source.with_suffix(".smt"), source.with_name("whole.mkv"), source.with_name("part.mkv")
    cli("detokenize", smt, "-m", film_model, "-o", whole)
    done = cli("detokenize", smt, "-m", film_model, "-o", part, "--start", "1s", "--end", "1.5s")
    assert done.code == 0
    first, stop = 30, 45
    assert f"frames {first} to {stop - 1}: decoded " in done.err
    assert "of them ahead of the first that is wanted" in done.err
    assert np.array_equal(frames_of(part), frames_of(whole)[first:stop])
    assert "nothing lies from 9 s" in cli("detokenize", smt, "-m", film_model, "-o", part, "--force", "--start", "9s").refusal()


def test_cut_keeps_times_and_sound(cli: Cli, source: Path, film_model: Path, heard: str) -> None:
    cli("tokenize", source, "-m", film_model, "--audio-model", heard)
    smt, short = source.with_suffix(".smt"), source.with_name("short.smt")
    assert cli("cut", smt, "--stages", 1, "-o", short).code == 0
    assert short.stat().st_size < smt.stat().st_size
    assert cli("detokenize", short, "-m", film_model, "-o", source.with_name("short.mkv")).code == 0
    back = read_video(source.with_name("short.mkv"))
    assert (len(list(back.frames)), back.timing) == (61, read_video(source).timing)
    assert back.audio is not None


def test_bytes_count_the_sound_too(cli: Cli, source: Path, film_model: Path, heard: str) -> None:
    smt, asked, same = source.with_suffix(".smt"), source.with_name("asked.mkv"), source.with_name("same.mkv")
    cli("tokenize", source, "-m", film_model, "--audio-model", heard)
    for stages in (1, 3):
        short = source.with_name(f"{stages}.smt")
        room = cli("cut", smt, "--stages", stages, "-o", short, "--json").json["bytes"]
        (done,) = cli("detokenize", smt, "-m", film_model, "--bytes", room, "-o", asked, "--force", "--json").json
        assert done["stages"] == min(stages, 2)
        assert cli("detokenize", short, "-m", film_model, "-o", same, "--force").code == 0
        assert np.array_equal(frames_of(asked), frames_of(same))
        given, expected = read_video(asked).audio, read_video(same).audio
        assert given is not None
        assert expected is not None
        assert np.array_equal(given.samples, expected.samples)
    least = source.with_name("1.smt").stat().st_size
    said = cli("detokenize", smt, "-m", film_model, "--bytes", least - 1, "-o", asked, "--force").refusal()
    assert f"has {least} bytes, the target allows {least - 1}" in said


def test_cut_leaves_what_decodes(cli: Cli, source: Path, film_model: Path, heard: str) -> None:
    from smalti.tokenizers import zoo

    tokenizer = zoo.load(str(film_model))
    both = source.with_name("models") / "both" / "1"
    zoo.save(type(tokenizer)(replace(tokenizer.config, least=2)), both)
    smt, short, archive = source.with_suffix(".smt"), source.with_name("short.smt"), source.with_name("all.smt")
    cli("tokenize", source, "-m", both, "--audio-model", heard, "-o", smt)
    cli("tokenize", source, "-m", both, "--audio-model", heard, "--archive", archive)
    for file in (smt, archive):
        said = cli("cut", file, "--stages", 1, "-o", "-").refusal()
        assert said.endswith("the first 1 stages do not decode on their own; choose one of 2, 3, 4")
        least = cli("cut", file, "--stages", 2, "-o", "-").stdout
        assert f"has {len(least)} bytes, the target allows {len(least) - 1}" in cli("cut", file, "--bytes", len(least) - 1).refusal()
        assert cli("cut", file, "--bytes", len(least), "-o", "-").stdout == least
        assert cli("cut", file, "--bytes", file.stat().st_size - 1, "--json", "-o", short, "--force").json["bytes"] > len(least)
        assert cli("cut", file, "--stages", 3, "-o", short, "--force").code == 0
        assert cli("detokenize", short, "-o", f"{source.parent}/{file.stem}.out/").code == 0
    shutil.rmtree(both)
    assert cli("cut", smt, "--stages", 1, "-o", short, "--force").code == 0  # of a model that nobody has, nothing more is known


def test_what_is_broken_is_said_and_the_rest_written(cli: Cli, source: Path, film_model: Path) -> None:
    data = source.read_bytes()
    broken = source.with_name("broken.mkv")
    broken.write_bytes(data[: len(data) // 2])
    done = cli("tokenize", broken, "-m", film_model, "--json")
    assert done.code == 1
    assert "cut short: " in done.err
    assert 10 < done.json[0]["frames"] < 60
    broken.write_bytes(b"\x1aE\xdf\xa3 and then nothing of a film")
    refusal = cli("tokenize", broken, "-m", film_model, "--force").refusal()
    assert refusal.startswith(f"{broken}: damaged or cut short")


def test_evaluate(cli: Cli, source: Path, film_model: Path) -> None:
    done = cli("evaluate", film_model, source, "--json")
    assert done.code == 0
    found = done.json
    assert (found["films"], found["frames"]) == (1, 61)
    assert [rate["stages"] for rate in found["rates"]] == [1, 2]
    coarse, fine = found["rates"]
    assert coarse["bits_per_pixel"] < fine["bits_per_pixel"]
    assert coarse["scores"]["video-psnr"] < fine["scores"]["video-psnr"]
    assert [stage["size"] for stage in found["codebooks"]] == [16, 16]
    assert "films" in cli("evaluate", film_model, source, "--kbps", 1000).out
    assert "--bytes is for models of shapes" in cli("evaluate", film_model, source, "--bytes", 9).refusal()
    assert "psnr is no metric of films" in cli("evaluate", film_model, source, "--metric", "psnr").refusal()


def test_a_picture_is_a_film_of_one_frame(cli: Cli, source: Path, film_model: Path) -> None:
    picture, smt, back = (source.with_name(name) for name in ("a.png", "a.smt", "b.png"))
    PIL.Image.fromarray(clip(1)[0]).save(picture)
    (item,) = cli("tokenize", picture, "-m", film_model, "--json").json
    assert (item["frames"], item["height"], item["width"]) == (1, 48, 64)
    assert cli("detokenize", smt, "-m", film_model, "-o", back).code == 0
    assert cli("detokenize", smt, "-m", film_model, "-o", source.with_name("b.mkv")).code == 0
    assert np.array_equal(np.asarray(PIL.Image.open(back)), frames_of(source.with_name("b.mkv"))[0])
    assert smalti.decompress(smalti.compress(picture, film_model), film_model).timing == 1
    cli("tokenize", source, "-m", film_model)
    said = cli("detokenize", source.with_suffix(".smt"), "-m", film_model, "-o", source.with_name("c.png")).refusal()
    assert "c.png: a picture, and the film has 61 frames" in said
    assert not source.with_name("c.png").exists()


def test_refusals(cli: Cli, source: Path, film_model: Path, sound_model: Path, model: str) -> None:
    picture = source.with_name("a.png")
    PIL.Image.new("RGB", (16, 16)).save(picture)
    said = cli("tokenize", source, picture).refusal()
    assert said == f"{picture} and {source}: a picture and a film; name a model with -m, or give them one at a time"
    assert "a model of sound goes with one of films" in cli("tokenize", picture, "-m", model, "--audio-model", sound_model).refusal()
    assert "is no model of sound" in cli("tokenize", source, "-m", film_model, "--audio-model", film_model).refusal()
    cli("tokenize", source, "-m", film_model)
    smt = source.with_suffix(".smt")
    assert (
        "films are written as .mkv, .mp4, .gif" in cli("detokenize", smt, "-m", film_model, "-o", source.with_name("a.png.wav")).refusal()
    )
    assert "does not go through a pipe" in cli("detokenize", smt, "-m", film_model, "--frames", "-o", "-").refusal()
    gif = source.with_name("b.gif")
    write_video(Video(clip(5), Fraction(10)), gif)
    assert cli("tokenize", gif, "-m", film_model, "--json").json[0]["frames"] == 5
    folder = source.with_name("folder")
    folder.mkdir()
    shutil.copy(source, folder)
    assert len(cli("tokenize", folder, "-m", film_model, "-o", source.with_name("out"), "--json").json) == 1
    archive = source.with_name("all.smt")
    assert cli("tokenize", folder, "-m", film_model, "--archive", archive).code == 0
    assert cli("detokenize", archive, "-m", film_model, "-o", source.with_name("unpacked")).code == 0
    assert len(frames_of(source.with_name("unpacked") / "clip.mkv")) == 61
