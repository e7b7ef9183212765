"""From media to codes, on from where one stopped, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.codecs.media.audio import write_audio
from smalti.codecs.media.images import read_image
from smalti.codecs.media.shapes import write_shape
from smalti.prepare import open_codes
from smalti.prepare.identity import made_up
from smalti.prepare.places import Places
from smalti.prepare.verifying import verify
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, SmaltiError, UsageError
from smalti.tokenizers.signals import Audio, Shape

KEYS = [f"{'b/' if i % 2 else ''}{i:02d}.png" for i in (0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9)]  # by name


def files(folder: Path) -> dict[str, bytes]:
    """All but the journal and the lock."""
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def test_documents_are_what_the_model_gives(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    done = prepare(photos, tmp_path / "out", tiny, unit=5)
    assert done.left_out == {".txt": 1}
    codes = open_codes(tmp_path / "out")
    assert [document.key for document in codes] == KEYS
    assert [document.number for document in codes] == list(range(11))
    tokenizer = zoo.load(str(tiny))
    for document in codes:
        (alone,) = tokenizer.encode([read_image(photos / document.key)])
        assert document.tokens == alone
        assert codes[document.key].tokens == alone
        assert codes.document(document.number).item == document.item
    assert (codes.manifest["documents"], codes.manifest["errors"], codes.items) == (11, 1, 12)
    (failed,) = [json.loads(line) for path in (tmp_path / "out" / "codes").glob("*.errors.jsonl") for line in path.read_text().splitlines()]
    assert failed["key"] == "b/torn.png"
    assert "damaged or cut short" in failed["message"]


def test_codes_are_laid_out_as_they_are_described(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    prepare(photos, tmp_path / "out", tiny, unit=5)
    codes = open_codes(tmp_path / "out")
    raw = b"".join(path.read_bytes() for path in sorted((tmp_path / "out" / "codes").glob("*.codes")))
    expected = [array.ravel() for document in codes for array in document.tokens.arrays]
    assert raw == np.concatenate(expected).astype("<u2").tobytes()
    for unit in codes.units():
        assert list(unit.documents["start"]) == [0, *np.cumsum(unit.documents["count"])[:-1]]
        assert unit.array.dtype == np.dtype("<u2")
    (model,) = codes.models
    assert [(stage["name"], stage["vocab"]) for stage in model["stages"]] == [("level0", 125), ("level1", 125)]
    assert sum(stage["tokens"] for stage in model["stages"]) == codes.manifest["tokens"] == len(raw) // 2
    level = np.concatenate([document.tokens.arrays[0].ravel() for document in codes])
    shares = np.bincount(level, minlength=125) / len(level)
    assert model["stages"][0]["top_share"] == pytest.approx(shares.max(), abs=1e-6)
    assert model["stages"][0]["entropy_bits"] == pytest.approx(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum(), abs=1e-5)


def test_an_interrupted_run_goes_on_to_the_same_bytes(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, asked: Any) -> None:
    prepare(photos, tmp_path / "clean", tiny, unit=2)
    with pytest.raises(KeyboardInterrupt):
        prepare(photos, tmp_path / "out", tiny, unit=2, stop=3)
    with pytest.raises(UsageError, match="not finished"):
        open_codes(tmp_path / "out")
    stray = tmp_path / "out" / "codes" / "unit-000005.codes"
    stray.write_bytes(b"half")
    done = prepare(photos, tmp_path / "out", tiny)
    assert done.done_before == 3
    assert [order["unit"] for order in asked() if order["do"] == "unit"] == [3, 4, 5]
    assert [order["units"] for order in asked() if order["do"] == "probe"] == [[0, 1, 2]]
    assert files(tmp_path / "out") == files(tmp_path / "clean")


def test_a_finished_folder_is_left_as_it_is(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, asked: Any) -> None:
    first = prepare(photos, tmp_path / "out", tiny, unit=4)
    before = files(tmp_path / "out")
    (tmp_path / "out" / "codes" / ".smalti-x.part").write_bytes(b"draft")
    again = prepare(photos, tmp_path / "out", tiny, clean=True)
    assert again.codes.digest == first.codes.digest
    assert [path.name for path in again.removed] == [".smalti-x.part"]
    assert asked() == []
    assert files(tmp_path / "out") == before


def test_a_digest_depends_on_contents_alone(prepare: Any, photos: Path, tiny: Path, other: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "moved")
    first = prepare(photos, tmp_path / "a", tiny, unit=4).codes.digest
    assert prepare(tmp_path / "moved", tmp_path / "b", tiny, unit=4, jobs=2).codes.digest == first
    assert prepare(photos, tmp_path / "c", other, unit=4).codes.digest != first
    (tmp_path / "moved" / "00.png").write_bytes((photos / "02.png").read_bytes())
    assert prepare(tmp_path / "moved", tmp_path / "d", tiny, unit=4).codes.digest != first


def test_other_requests_and_weights_are_refused(prepare: Any, photos: Path, tiny: Path, other: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    prepare(photos, tmp_path / "out", model, unit=4)
    with pytest.raises(UsageError, match="planned with unit 4, found 5"):
        prepare(photos, tmp_path / "out", model, unit=5)
    with pytest.raises(UsageError, match="planned with column '', found 'jpg'"):
        prepare(photos, tmp_path / "out", model, column="jpg")
    with pytest.raises(UsageError, match="planned from"):
        prepare(tmp_path, tmp_path / "out", model)
    with pytest.raises(ModelError, match="planned with model, found"):
        prepare(photos, tmp_path / "out", other)
    shutil.copy(other / "model.safetensors", model)
    with pytest.raises(ModelError, match="its weights are"):
        prepare(photos, tmp_path / "out", model)
    (problem,) = verify(tmp_path / "out", deep=True).problems
    assert "name the folder of that very model" in problem
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"holds thesis\.tex"):
        prepare(photos, tmp_path / "else", tiny)


def test_another_machine_is_refused(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from smalti.prepare import worker

    with pytest.raises(KeyboardInterrupt):
        prepare(photos, tmp_path / "out", tiny, unit=4, stop=1)
    with pytest.raises(KeyboardInterrupt):
        prepare(photos, tmp_path / "any", tiny, unit=4, stop=1, any_machine=True)
    here = worker.identity(["image"], "cpu")
    monkeypatch.setattr(worker, "identity", lambda *_: here | {"instructions": "NEON"})
    with pytest.raises(ModelError, match="instructions NEON"):
        prepare(photos, tmp_path / "out", tiny)
    assert prepare(photos, tmp_path / "any", tiny).units == 3


def test_a_probe_that_comes_out_otherwise_is_refused(prepare: Any, tiny: Path, tmp_path: Path) -> None:
    import PIL.Image

    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (8, 16, 16, 3), np.uint8)
    for i in range(8):
        PIL.Image.fromarray(pixels[i]).save(tmp_path / "in" / f"{i}.bmp")
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", tmp_path / "out", tiny, unit=4, stop=1)
    probe = json.loads((tmp_path / "out" / "codes" / "unit-000000.json").read_bytes())["probe"]
    assert probe["flips"] == 0
    PIL.Image.fromarray(255 - pixels[probe["item"]]).save(tmp_path / "in" / f"{probe['item']}.bmp")
    with pytest.raises(ModelError, match="gives other tokens than in unit 0"):
        prepare(tmp_path / "in", tmp_path / "out", tiny)
    (tmp_path / "in" / f"{probe['item']}.bmp").unlink()
    with pytest.raises(ModelError, match="cannot be encoded again"):
        prepare(tmp_path / "in", tmp_path / "out", tiny)


@pytest.mark.parametrize(
    ("damage", "said", "deep"),
    [
        (lambda p: p.unit(1, "codes").write_bytes(_flipped(p.unit(1, "codes").read_bytes())), "unit-000001.codes: damaged", True),
        (lambda p: p.unit(1, "docs").write_bytes(_flipped(p.unit(1, "docs").read_bytes())), "unit-000001.docs: damaged", True),
        (lambda p: p.unit(1, "codes").write_bytes(p.unit(1, "codes").read_bytes()[::2]), "unit-000001.codes: ", False),
        (lambda p: p.unit(0, "docs").unlink(), "unit-000000.docs: missing", False),
        (lambda p: p.unit(2, "json").write_bytes(b"{"), "unit-000002.json: damaged", False),
        (lambda p: p.inputs.write_bytes(_flipped(p.inputs.read_bytes())), "inputs.jsonl: its hash is", True),
        (lambda p: p.inputs.write_bytes(p.inputs.read_bytes()[:-9]), "inputs.jsonl: ", False),
        (lambda p: p.manifest.write_bytes(p.manifest.read_bytes().replace(b'"tokens": ', b'"tokens": 1')), "dataset.json: tokens", True),
        (lambda p: p.plan.write_bytes(b"[]"), "plan.json: damaged", False),
    ],
)
def test_damage_is_named(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, cli: Any, damage: Any, said: str, deep: bool) -> None:
    prepare(photos, tmp_path / "out", tiny, unit=4)
    assert verify(tmp_path / "out", deep=True).problems == ()
    damage(Places(tmp_path / "out"))
    ran = cli("verify", tmp_path / "out", *(["--deep"] if deep else []))
    assert ran.code == 2
    assert said in ran.out + ran.err
    if not deep:
        with pytest.raises(BitstreamError, match=said.replace(".", r"\.")):
            prepare(photos, tmp_path / "out", tiny)


def test_a_probe_is_made_by_the_plans_threads(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, monkeypatch: Any) -> None:
    import torch

    from smalti.prepare import decoding

    codes = prepare(photos, tmp_path / "out", tiny, unit=4).codes
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(decoding, "probe", lambda *given: seen.append(torch.get_num_threads()) or codes.models[0]["probe"])
    try:
        torch.set_num_threads(2)
        decoding.Decoder(codes).tokenizer(0)
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def _flipped(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_too_many_errors_stop_a_run(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="1 items failed, expected 0 at most"):
        prepare(photos, tmp_path / "out", tiny, max_errors=0)
    assert prepare(photos, tmp_path / "out", tiny, max_errors=1).codes.manifest["errors"] == 1


def test_a_corpus_of_one_grey_token_is_refused(prepare: Any, tiny: Path, tmp_path: Path) -> None:
    import PIL.Image

    (tmp_path / "in").mkdir()
    for i in range(3):
        PIL.Image.new("RGB", (256, 256), (99, 99, 99)).save(tmp_path / "in" / f"{i}.png")
    said: list[str] = []
    with pytest.raises(UsageError, match="of its tokens are the most frequent one of their stage"):
        prepare(tmp_path / "in", tmp_path / "out", tiny, said=said)
    assert [line for line in said if line.startswith("unit 0: ")]  # before the others are done
    assert len(prepare(tmp_path / "in", tmp_path / "out", tiny, force=True).codes) == 3


def test_nothing_but_failures_is_no_corpus(prepare: Any, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no picture")
    with pytest.raises(SignalError, match=r"none of 1 items could be used; the first: a\.png: no known image"):
        prepare(tmp_path / "in", tmp_path / "out", tiny)


def test_units_that_are_too_small_are_refused(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from smalti.prepare import run

    monkeypatch.setattr(run, "MOST_UNITS", 5)
    with pytest.raises(UsageError, match="12 items in units of 2, expected 5 units at most"):
        prepare(photos, tmp_path / "out", tiny, unit=2)


def test_kinds_go_to_their_models(
    prepare: Any, photos: Path, tiny: Path, sound_model: Path, shape_model: Path, film_model: Path, tmp_path: Path, cli: Any
) -> None:
    from smalti.codecs.media.video import write_video

    shutil.copytree(photos, tmp_path / "in")
    sound = made_up("audio")
    assert isinstance(sound, Audio)
    write_audio(sound, tmp_path / "in" / "a.wav")
    shape, film = made_up("shape"), made_up("video")
    assert isinstance(shape, Shape)
    write_shape(shape, tmp_path / "in" / "box.ply")
    write_video(film, tmp_path / "in" / "film.mkv")  # type: ignore[arg-type]
    done = prepare(tmp_path / "in", tmp_path / "out", tiny, sound_model, shape_model, film_model, unit=6)
    models = {document.key: done.codes.models[document.model]["modality"] for document in done.codes}
    assert {models[key] for key in KEYS} == {"image"}
    assert {key: models[key] for key in ("a.wav", "box.ply", "film.mkv")} == {"a.wav": "audio", "box.ply": "shape", "film.mkv": "video"}
    (tokens,) = zoo.load(str(sound_model)).encode([sound])
    assert done.codes["a.wav"].tokens == tokens
    assert verify(tmp_path / "out", deep=True).problems == ()
    assert done.codes["film.mkv"].tokens.layout.size["frames"] == 5
    for key, ending in (("a.wav", "wav"), ("box.ply", "ply"), ("film.mkv", "mkv"), ("b/01.png", "png")):
        assert cli("detokenize", tmp_path / "out", "--key", key, "-o", tmp_path / f"back.{ending}", "--device", "cpu").code == 0
        assert (tmp_path / f"back.{ending}").stat().st_size > 0
    from smalti.prepare.sheet import draw

    assert read_image(draw(done.codes, 14)).height > 192


def test_documents_go_back_by_key_and_by_number(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, cli: Any) -> None:
    done = prepare(photos, tmp_path / "out", tiny, unit=4)
    out = tmp_path / "out"
    assert cli("detokenize", out, "--key", "b/03.png", "-o", tmp_path / "a.png").code == 0
    number = done.codes.find("b/03.png")
    assert cli("detokenize", out, "--index", number, "-o", tmp_path / "b.png").code == 0
    (expected,) = zoo.load(str(tiny)).decode([done.codes["b/03.png"].tokens])
    for name in ("a.png", "b.png"):
        assert np.array_equal(read_image(tmp_path / name).pixels, expected.pixels)
    assert "no document has the key 'x'" in cli("detokenize", out, "--key", "x").refusal()
    assert "could not be used" in cli("detokenize", out, "--key", "b/torn.png").refusal()
    assert "there is no document 11" in cli("detokenize", out, "--index", 11).refusal()
    assert "name one with --key K or --index I" in cli("detokenize", out).refusal()
    assert "--index is for a folder" in cli("detokenize", tmp_path / "a.smt", "--index", 0).refusal()


def test_documents_of_a_pack_go_back(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, cli: Any) -> None:
    done = prepare(photos, tmp_path / "out", tiny, unit=4, held_out=0.4)
    assert cli("prepare", tmp_path / "out", "--repack", "--pack", "lm").code == 0
    held = {name: [key for key in ("00.png", "b/03.png", "b/05.png", "02.png") if done.codes.is_held_out(key) is value]
            for name, value in (("lm", False), ("lm-held-out", True))}  # fmt: skip
    pack, key, other = tmp_path / "out" / "packs" / "lm", held["lm"][0], held["lm-held-out"][0]
    (expected,) = zoo.load(str(tiny)).decode([done.codes[key].tokens])
    (said,) = cli("detokenize", pack, "--key", key, "-o", tmp_path / "a.png", "--json").json
    assert (said["name"], said["source"]) == (key, str(pack))
    assert cli("detokenize", pack, "--index", said["item"], "-o", tmp_path / "b.png").code == 0
    for name in ("a.png", "b.png"):
        assert np.array_equal(read_image(tmp_path / name).pixels, expected.pixels)
    assert "which is of another subset than train" in cli("detokenize", pack, "--key", other).refusal()
    assert "a pack of" in cli("detokenize", pack).refusal()
    shutil.copytree(pack, tmp_path / "alone" / "packs" / "lm")
    assert "no prepared folder" in cli("detokenize", tmp_path / "alone" / "packs" / "lm", "--index", 0).refusal()


def test_the_command_prepares(
    cli: Any, photos: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[..., Any]
) -> None:
    from smalti.prepare import run

    def inline(source: str, folder: str, models: Any, options: Any, listener: Any) -> Any:
        listener.begin(12, 0)
        return prepare(source, Path(folder), *models, unit=options.unit, max_errors=options.max_errors)

    monkeypatch.setattr(run, "prepare", inline)
    ran = cli("prepare", photos, tmp_path / "out", "-m", tiny, "--unit", 5, "--json", "--sheet", 4, "--device", "cpu")
    assert ran.code == 1  # one item failed
    assert "1 of 12 items failed" in ran.err
    (made,) = ran.json
    assert (made["documents"], made["units"], made["left_out"]) == (11, 3, {".txt": 1})
    assert made["digest"] == open_codes(tmp_path / "out").digest
    assert read_image(made["sheet"]).height > 0
    assert "max" in cli("prepare", photos, tmp_path / "two", "-m", tiny, "--max-errors", 0).refusal()


def test_a_second_driver_is_kept_out(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    from smalti.prepare.folder import held

    with held(tmp_path / "out"), pytest.raises(UsageError, match="another `smalti prepare` is at work"):
        prepare(photos, tmp_path / "out", tiny)


def test_an_item_that_changed_is_a_failure(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "in")
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", tmp_path / "out", tiny, stop=0)
    with (tmp_path / "in" / "00.png").open("ab") as file:
        file.write(b"more")
    codes = prepare(tmp_path / "in", tmp_path / "out", tiny).codes
    assert codes.manifest["errors"] == 2
    with pytest.raises(SmaltiError, match="could not be used"):
        codes.find("00.png")


def test_public_names_are_found_on_use() -> None:
    import smalti.prepare

    assert {name for name in smalti.prepare.__all__ if getattr(smalti.prepare, name) is None} == set()
    with pytest.raises(AttributeError, match="no attribute 'prepair'"):
        _ = smalti.prepare.prepair  # type: ignore[attr-defined]
