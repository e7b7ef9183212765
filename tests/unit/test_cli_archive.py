"""Archives on the command line and in Python: many signals into one file, one or all of them back, shorter ones, damage."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import smalti
from smalti.codecs.bitstream import Archive, Item, Whole, inspect, parse, recover, write_archive
from smalti.codecs.priors.uniform import UniformPrior

NAMES = ("a.png", "deep/b.png", "deep/c.webp")


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(PIL.Image.open(path))


@pytest.fixture
def folder(samples: Any, tmp_path: Path) -> Path:
    """Three pictures, and a file that is none."""
    made = tmp_path / "in"
    (made / "deep").mkdir(parents=True)
    shutil.copy(samples.photo, made / "a.png")
    photo = PIL.Image.open(samples.photo)
    photo.crop((0, 0, 48, 56)).save(made / "deep" / "b.png")
    photo.crop((8, 8, 40, 40)).save(made / "deep" / "c.webp", lossless=True)
    (made / "broken.png").write_bytes(b"no picture")
    return made


@pytest.fixture
def archive(cli: Any, samples: Any, folder: Path) -> Path:
    """The archive of these pictures by the tiny model."""
    (folder / "broken.png").unlink()
    path = folder.parent / "all.smt"
    assert cli("tokenize", folder, "-m", samples.tiny, "--archive", path, "-q").code == 0
    return path


def test_a_folder_there_and_back(cli: Any, samples: Any, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "all.smt"
    ran = cli("tokenize", folder, "-m", samples.tiny, "--archive", path, "--json")
    assert ran.code == 1
    assert ran.err.startswith(f"smalti: {folder}/broken.png: no known image")
    assert ran.err.count("\n") == 1
    made = ran.json
    assert (made["target"], made["bytes"]) == (str(path), path.stat().st_size)
    assert [(item["item"], item["name"]) for item in made["items"]] == list(enumerate(NAMES))
    assert made["bytes"] < sum(item["bytes"] for item in made["items"]) + sum(map(len, NAMES)) + 40
    assert files_in(path.parent) == ["all.smt"]
    (told,) = cli("info", path, "--json").json
    assert [entry["name"] for entry in told["entries"]] == list(NAMES)
    assert "item 1       deep/b.png, image, 48 x 56, 2 stages, " in cli("info", path).out
    assert cli("verify", path, "-m", samples.tiny).out == f"{path}: whole\n"

    call = ("detokenize", path, "-m", samples.tiny)
    shutil.copytree(folder, tmp_path / "new" / "all")  # as photos beside photos.smt: sources are not written over
    ran = cli(*call)
    assert (ran.code, ran.err) == (0, "")
    assert files_in(tmp_path / "new" / "all.out") == ["a.png", "deep/b.png", "deep/c.png"]
    for name in NAMES:
        alone = tmp_path / "alone.smt"
        assert cli("tokenize", folder / name, "-m", samples.tiny, "-o", alone, "--force").code == 0
        assert cli("detokenize", alone, "-m", samples.tiny, "--force").code == 0
        assert np.array_equal(pixels(tmp_path / "alone.png"), pixels(tmp_path / "new" / "all.out" / Path(name).with_suffix(".png")))
    assert "exists; --force" in cli(*call).refusal()
    assert cli(*call, "-o", tmp_path / "there", "--json").json[2]["name"] == "deep/c.webp"
    assert files_in(tmp_path / "there") == ["a.png", "deep/b.png", "deep/c.png"]


def test_one_item_by_name_or_number(cli: Any, samples: Any, archive: Path, tmp_path: Path) -> None:
    call = ("detokenize", archive, "-m", samples.tiny)
    (made,) = cli(*call, "--key", "deep/b.png", "--json").json
    assert (made["item"], made["name"], made["target"]) == (1, "deep/b.png", str(tmp_path / "all.out" / "deep" / "b.png"))
    assert files_in(tmp_path / "all.out") == ["deep/b.png"]
    piped = cli("detokenize", "-", "-m", samples.tiny, "--key", "1", "-o", "-", stdin=archive.read_bytes())
    assert piped.stdout == (tmp_path / "all.out" / "deep" / "b.png").read_bytes()
    assert cli(*call, "--key", 1, "-o", tmp_path / "x.png", "--stages", 1).out == f"{tmp_path}/x.png: 48 x 56 from 1 stage\n"
    assert "there is no item 3; this archive has 3" in cli(*call, "--key", 3).refusal()
    assert "has the name 'b.png'" in cli(*call, "--key", "b.png").refusal()
    assert "--key is for one archive" in cli("detokenize", samples.solo, "--key", 0).refusal()
    assert "--key is for one archive" in cli("detokenize", archive, archive, "--key", 0).refusal()
    assert "no such file" in cli("detokenize", tmp_path / "none.smt", "--key", 0).refusal()
    assert "or one of them with --key" in cli(*call, "-o", "-").refusal()
    assert "or one of them with --key" in cli("detokenize", "-", stdin=archive.read_bytes()).refusal()
    assert "pictures are written as" in cli(*call, "--key", 0, "-o", tmp_path / "x.wav").refusal()
    assert "times of a sound" in cli(*call, "--key", 0, "-o", tmp_path / "y.png", "--start", 1).refusal()


def test_archives_beside_other_files(cli: Any, samples: Any, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    shutil.copy(archive, tmp_path / "mixed" / "all.smt")
    assert cli("cut", archive, "--stages", 1, "-m", samples.tiny, "-o", tmp_path / "mixed" / "short.smt").code == 0
    assert cli("detokenize", tmp_path / "mixed", "-m", samples.tiny, "-o", tmp_path / "out").code == 0
    names = ["a.png", "deep/b.png", "deep/c.png"]
    assert files_in(tmp_path / "out") == [f"{which}/{name}" for which in ("all", "short") for name in names]


def test_what_no_archive_is_made_of(cli: Any, samples: Any, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.smt"
    call = ("tokenize", "-m", samples.tiny, "--archive")
    assert "ends in .smt" in cli(*call, folder / "a.png", folder / "deep/b.png", "--force").refusal()
    for more in (("-o", tmp_path / "x"), ("--format", "npy")):
        assert "--archive names the one file" in cli(*call, path, folder, *more).refusal()
    shutil.copy(samples.photo, folder / "deep" / "a.png")
    assert "would both be the item a.png" in cli(*call, path, folder / "a.png", folder / "deep/a.png").refusal()
    assert "no known image" in cli(*call, path, folder / "broken.png").refusal()
    assert "no such file" in cli(*call, path, tmp_path / "none.png").refusal()
    assert "--json" in cli(*call, "-", folder, "--json").refusal()
    assert not path.exists(), "nothing half made"
    path.write_bytes(b"mine")
    assert "exists; --force writes over it, --archive" in cli(*call, path, folder).refusal()
    assert path.read_bytes() == b"mine"
    assert cli(*call, path, folder, "--force", "-q").code == 1
    assert inspect(path.read_bytes()).items == 4


def test_names_of_several_sources(cli: Any, samples: Any, folder: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copy(samples.photo, tmp_path / ".hidden.png"))
    call = ("tokenize", "-m", samples.tiny, "--archive", "-", "--stages", 1)
    ran = cli(*call, folder / "deep", folder / "a.png", "-", odd, "--batch", 2, stdin=samples.photo.read_bytes())
    assert ran.code == 1, "a name was lost"
    assert f"{odd}: its name is no plain path" in ran.err
    assert "standard output: 5 items, " in ran.err
    found = smalti.open_archive(ran.stdout, samples.tiny)
    assert found.names == ("deep/b.png", "deep/c.webp", "a.png", "", "")
    assert found.tokens(3) == found.tokens("a.png") == found.tokens(4)


def test_targets_hold_for_each_item(cli: Any, samples: Any, folder: Path, tmp_path: Path) -> None:
    call = ("tokenize", folder / "deep", "-m", samples.tiny, "--archive", tmp_path / "all.smt", "--force", "--json")
    full = cli(*call).json["items"]
    room = full[0]["bytes"] - 1
    ran = cli(*call, "--bytes", room)
    assert [item["stages"] for item in ran.json["items"]] == [1, 2]
    assert all(item["bytes"] <= room for item in ran.json["items"])
    ran = cli(*call, "--bytes", full[1]["bytes"] - 1)
    assert (ran.code, [item["name"] for item in ran.json["items"]]) == (1, ["c.webp"])
    assert "b.png: the smallest file of this signal has" in ran.err
    assert "bits per pixel" not in cli("tokenize", folder / "deep", "-m", samples.tiny, "--archive", "-", "--bpp", 9).err


def test_cut_item_by_item(cli: Any, samples: Any, archive: Path, tmp_path: Path) -> None:
    call = ("cut", archive, "-m", samples.tiny, "-o", tmp_path / "short.smt", "--force")
    ran = cli(*call, "--stages", 1)
    assert ran.out.endswith(f" bytes, 3 items of 1 stage ({archive} has {archive.stat().st_size} bytes)\n")
    whole, short = (smalti.open_archive(path, samples.tiny) for path in (archive, tmp_path / "short.smt"))
    assert short.names == whole.names
    for number in range(3):
        assert short.tokens(number) == whole.tokens(number).prefix(1)
    size, least = archive.stat().st_size, (tmp_path / "short.smt").stat().st_size
    for limit in range(least, size + 1, 5):
        made = cli(*call, "--bytes", limit, "--json").json
        assert made["bytes"] == (tmp_path / "short.smt").stat().st_size <= limit
        assert inspect((tmp_path / "short.smt").read_bytes()).status == "whole"
    assert cli(*call, "--bytes", size).code == 0
    assert (tmp_path / "short.smt").read_bytes() == archive.read_bytes()
    assert f"has {least} bytes, the target allows {least - 1}" in cli(*call, "--bytes", least - 1).refusal()
    assert "hold 2 stages at most, asked for 3" in cli(*call, "--stages", 3).refusal()
    archive.write_bytes(archive.read_bytes()[:-1])
    assert "ends too early" in cli(*call, "--stages", 1).refusal()


def test_the_same_tokens_under_another_prior(cli: Any, samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "all.smt"
    path.write_bytes(write_archive([Whole(samples.solo.read_bytes(), "a.png"), Whole(samples.chunked.read_bytes(), "b.png")]))
    assert cli("transcode", path, "--prior", "uniform", "-o", tmp_path / "other.smt").code == 0
    whole, other = smalti.open_archive(path), smalti.open_archive(tmp_path / "other.smt")
    assert [whole.tokens(i) for i in (0, 1)] == [other.tokens(name) for name in ("a.png", "b.png")]
    assert cli("cut", path, "--stages", 1, "-o", tmp_path / "short.smt").code == 0
    assert [item.form for item in Archive((tmp_path / "short.smt").read_bytes())] == ["solo", "chunked"]


def hostile(samples: Any, *keys: str) -> bytes:
    return write_archive([Whole(samples.solo.read_bytes(), key) for key in keys])


def test_hostile_names_stay_in_the_folder(cli: Any, samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.smt"
    keys = ("../out.png", "/tmp/abs.png", "ok.png", "ok.png", "C:\\x.png", "", ".ssh/x")
    path.write_bytes(hostile(samples, *keys))
    (tmp_path / "to").mkdir()
    ran = cli("detokenize", path, "-o", tmp_path / "to")
    assert ran.code == 1
    assert f"{path}: item 0: its name '../out.png' is no safe relative path; written as item-000000.png\n" in ran.err
    assert "item 3: the place of its name 'ok.png' is taken by another item" not in ran.err
    assert ran.err.count("\n") == 4
    assert files_in(tmp_path) == [
        "bad.smt", "to/item-000000.png", "to/item-000001.png", "to/item-000004.png", "to/item-000005.png", "to/item-000006.png",
        "to/ok.png", "to/ok.png.png",
    ]  # fmt: skip
    (tmp_path / "to" / "item-000000.png").unlink()
    assert cli("detokenize", path, "--key", "../out.png", "-o", tmp_path / "to").code == 1
    assert files_in(tmp_path)[1] == "to/item-000000.png"


def damaged(samples: Any, at: Sequence[int] = (0, 1)) -> bytes:
    """Two pictures in short form, one in chunks, one in short form; of the second a byte of payload, of the third the last stage is hit."""
    solo, chunked = samples.solo.read_bytes(), samples.chunked.read_bytes()
    data = write_archive([Whole(solo, "a.png"), Whole(solo, "b.png"), Whole(chunked, "c.png"), Whole(solo, "d.png")])
    found = Archive(data)
    payload = found[1].content.payload  # type: ignore[union-attr]
    if 0 in at:
        data = flipped(data, data.index(payload, data.index(b"b.png")) + 3)
    if 1 in at:
        data = flipped(data, data.index(chunked) + len(chunked) - 20)
    return data


def test_damage_costs_one_item_and_is_concealed_where_it_can_be(cli: Any, samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "all.smt"
    path.write_bytes(damaged(samples))
    assert cli("verify", path).code == 1
    ran = cli("detokenize", path)
    assert ran.code == 1
    assert f"smalti: {path}: item 1: damaged, " in ran.err
    assert f"smalti: {path}: item 2 (c.png): " in ran.err
    assert ran.err.count("\n") == 2
    assert files_in(tmp_path / "all.out") == ["a.png", "d.png"]
    ran = cli("detokenize", path, "--conceal", "-o", tmp_path / "best", "--json")
    assert ran.code == 1
    assert f"smalti: {path}: item 1: damaged, " in ran.err
    assert f"{path}: item 2 (c.png): stage 2 of 2 left out\n" in ran.err
    assert files_in(tmp_path / "best") == ["a.png", "c.png", "d.png"]
    assert [item["stages"] for item in ran.json] == [2, 1, 2]
    assert cli("detokenize", path, "--key", "c.png", "-o", tmp_path / "x.png").code == 2
    assert cli("detokenize", path, "--key", "c.png", "-o", tmp_path / "x.png", "--conceal").code == 1
    assert np.array_equal(pixels(tmp_path / "x.png"), pixels(tmp_path / "best" / "c.png"))


def test_items_whose_tokens_are_others_are_found(cli: Any, samples: Any, tmp_path: Path) -> None:
    path, info = tmp_path / "all.smt", parse(samples.solo.read_bytes()).streams[0]
    wrong = Item(smalti.open(samples.solo), UniformPrior(), info, "b.png")  # by another prior than it says
    path.write_bytes(write_archive([Whole(samples.solo.read_bytes(), "a.png"), wrong]))
    assert cli("verify", path, "--fast").code == 0
    ran = cli("verify", path)
    assert ran.code == 1
    assert ran.out.startswith(f"{path}: damaged; item 1 (b.png): ")
    path.write_bytes(write_archive([wrong]))
    assert cli("verify", path).code == 2


def test_a_lost_index_costs_nothing(cli: Any, samples: Any, tmp_path: Path) -> None:
    path = tmp_path / "all.smt"
    data = damaged(samples, at=(1,))
    path.write_bytes(data[:-2])
    ran = cli("detokenize", path, "--conceal")
    assert ran.code == 1
    assert f"{path}: the chunk at " in ran.err
    assert files_in(tmp_path / "all.out") == ["a.png", "b.png", "c.png", "d.png"]
    assert [place.count for place in recover(data[:-2])[0].places] == [2, 1, 1]
    path.write_bytes(data[:20])
    assert cli("detokenize", path, "--conceal", "-o", tmp_path / "none/").code == 2


def test_stretches_of_sounds(cli: Any, sound_model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sounds = {f"{i}.wav": smalti.Audio(rng.uniform(-0.3, 0.3, (1, 8000 + i)).astype(np.float32), 8000) for i in range(2)}
    data = smalti.compress_archive(sounds, str(sound_model), kbps=3, device="cpu")
    (tmp_path / "all.smt").write_bytes(data)
    call = ("detokenize", tmp_path / "all.smt", "-m", sound_model, "--json")
    made = cli(*call, "--start", "0.25s", "--end", "0.5").json
    assert [(item["samples"], item["name"]) for item in made] == [(2000, "0.wav"), (2000, "1.wav")]
    assert files_in(tmp_path / "all.out") == ["0.wav", "1.wav"]
    (one,) = cli(*call, "--key", "1.wav", "-o", tmp_path / "x.flac").json
    assert one["samples"] == 8001
    part = smalti.open_archive(data, str(sound_model)).decompress("1.wav", start=0.25, end=0.5)
    assert isinstance(part, smalti.Audio)
    whole = smalti.decompress(data, str(sound_model), key=1)
    assert isinstance(whole, smalti.Audio)
    assert np.abs(part.samples - whole.samples[:, 2000:4000]).max() < 1e-4


def test_the_way_of_python(samples: Any, folder: Path, tmp_path: Path) -> None:
    files = [folder / "a.png", folder / "deep" / "c.webp"]
    data = smalti.compress_archive(files, samples.tiny, stages=1)
    assert data == smalti.compress_archive({path.name: smalti.read(path) for path in files}, samples.tiny, stages=1)
    (tmp_path / "all.smt").write_bytes(data)
    found = smalti.open_archive(tmp_path / "all.smt", samples.tiny)
    assert (len(found), found.names, found.problems) == (2, ("a.png", "c.webp"), ())
    own = smalti.open(smalti.compress(files[1], samples.tiny, stages=1), samples.tiny)
    assert own == found.tokens(1) == found.tokens("c.webp") == smalti.open(tmp_path / "all.smt", samples.tiny, key="c.webp")
    picture, same = found.decompress("c.webp"), smalti.decompress(data, samples.tiny, key=1)
    assert isinstance(picture, smalti.Image)
    assert isinstance(same, smalti.Image)
    assert np.array_equal(picture.pixels, same.pixels)
    with pytest.raises(smalti.UsageError, match=r"all\.smt: an archive of 2 signals; name one"):
        smalti.open(tmp_path / "all.smt")
    with pytest.raises(smalti.UsageError, match="no archive; leave key out"):
        smalti.decompress(samples.solo, key=0)
    for key in (2, -1, "", "b.png"):
        with pytest.raises(smalti.UsageError):
            found.tokens(key)
    with pytest.raises(smalti.BitstreamError, match=r"solo\.smt: no archive"):
        smalti.open_archive(samples.solo)
    with pytest.raises(smalti.SignalError, match=r"item 1 \(broken\.png\)"):
        smalti.compress_archive([files[0], folder / "broken.png"], samples.tiny)
    with pytest.raises(smalti.UsageError, match=r"item 0 \(x\): the smallest file"):
        smalti.compress_archive({"x": files[0]}, samples.tiny, bytes=5)
    for nothing in ([], files[0]):
        with pytest.raises(smalti.UsageError, match="archive"):
            smalti.compress_archive(nothing, samples.tiny)  # type: ignore[arg-type]


def test_concealment_in_python_says_what_was_lost(samples: Any) -> None:
    with pytest.raises(smalti.BitstreamError):
        smalti.decompress(samples.damaged)
    with pytest.warns(smalti.DamageWarning, match="stage 2 of 2 left out") as told:
        left = smalti.decompress(samples.damaged, conceal=True)
    assert told[0].filename == __file__
    assert told[0].message.lost[-1] == "stage 2 of 2 left out"  # type: ignore[union-attr]
    first = smalti.decompress(samples.chunked, stages=1)
    assert isinstance(left, smalti.Image)
    assert isinstance(first, smalti.Image)
    assert np.array_equal(left.pixels, first.pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smalti.decompress(samples.chunked, conceal=True)
        smalti.decompress(samples.solo, conceal=True)
    with pytest.raises(smalti.UsageError, match="neither start nor end"):
        smalti.decompress(samples.chunked, conceal=True, start=1)
    archive = smalti.open_archive(damaged(samples))
    with pytest.raises(smalti.BitstreamError, match=r"^item 2 \(c\.png\): "):
        archive.decompress("c.png")
    with pytest.warns(smalti.DamageWarning) as told:
        archive.decompress("c.png", conceal=True)
    assert told[0].filename == __file__
    with pytest.raises(smalti.BitstreamError):
        archive.decompress(1, conceal=True)


def test_what_is_left_is_offered(cli: Any, samples: Any, tmp_path: Path) -> None:
    """Where --conceal helps, refusals and verdicts say so; where it does not, they don't."""
    data = bytearray(samples.chunked.read_bytes())
    first = parse(bytes(data)).content.parts[0].blobs[0][1]  # type: ignore[union-attr]
    data[data.index(first) + 1] ^= 1  # the one chunk of the first stage
    path = tmp_path / "a.smt"
    path.write_bytes(data)
    hint = "; --conceal decodes what is left"
    assert cli("detokenize", samples.damaged, "-o", "-").refusal().endswith(hint)
    ran = cli("verify", samples.damaged)
    assert (ran.code, ran.out.endswith("; detokenize --conceal decodes what is left\n")) == (1, True)
    assert hint not in cli("detokenize", path, "-o", "-").refusal()
    assert cli("verify", path).code == 2
    path.write_bytes(damaged(samples))
    ran = cli("detokenize", path)
    assert [line.endswith(hint) for line in ran.err.splitlines()] == [False, True]
    solo = samples.solo.read_bytes()
    path.write_bytes(solo[:-1] + b"?")
    assert hint not in cli("detokenize", path).refusal()
    ran = cli("verify", path)
    assert (ran.code, "conceal" in ran.out) == (2, False)
