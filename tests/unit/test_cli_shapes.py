"""The command line and the Python API on shapes, with a toy model whose blocks can be counted."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from smalti.codecs.bitstream import parse
from smalti.codecs.media.shapes import encode_shape, read_shape, write_shape
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.signals import Shape
from smalti.tokenizers.tokens import Tokens

SIZE, PLACE = np.array([80, 40, 10.0]), np.array([1000, -500, 7.0])  # no axis is like another


def wedge() -> Shape:
    """Four corners of a box, closed."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * SIZE + PLACE
    return Shape(vertices, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int64))


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    write_shape(wedge(), tmp_path / "a.stl")
    return tmp_path / "a.stl"


def near(shape: Shape, whole: Shape, slack: float = 0.15) -> bool:
    """Whether boxes are alike, to a share of the longest side."""
    boxes = [np.stack([s.vertices.min(0), s.vertices.max(0)]) for s in (shape, whole)]
    return bool(np.abs(boxes[0] - boxes[1]).max() <= slack * 80)


def test_a_mesh_there_and_back_in_its_own_units_and_axes(cli: Any, shape_model: Path, mesh: Path) -> None:
    ran = cli("tokenize", mesh, "-m", shape_model)
    smt = mesh.with_suffix(".smt")
    assert (ran.code, ran.err) == (0, f"{mesh}: 12 vertices welded to 4\n")
    assert ran.out == f"{smt}: {smt.stat().st_size} bytes, 584 tokens in 3 stages\n"
    done = cli("detokenize", smt, "-m", shape_model)
    back = read_shape(mesh.with_suffix(".ply"))
    assert done.out == f"{mesh.with_suffix('.ply')}: {len(back.vertices)} vertices, {len(back.faces)} faces from 3 stages\n"  # type: ignore[arg-type]
    assert near(back, wedge())
    assert not near(Shape(back.vertices[:, [1, 0, 2]]), wedge())
    assert cli("verify", smt, "-m", shape_model).code == 0


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj", ".off", ".glb", ".xyz"])
def test_all_formats_come_out(cli: Any, shape_model: Path, mesh: Path, suffix: str, tmp_path: Path) -> None:
    cli("tokenize", mesh, "-m", shape_model)
    assert cli("detokenize", tmp_path / "a.smt", "-m", shape_model, "-o", tmp_path / f"b{suffix}").code == 0
    back = read_shape(tmp_path / f"b{suffix}")
    assert near(back, wedge())
    if suffix == ".xyz":
        assert back.faces is None
        assert len(back.vertices) == 100_000


def test_the_model_is_found_by_what_the_file_is(cli: Any, shape_model: Path, mesh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALTI_MODELS", str(shape_model.parents[1]))
    (made,) = cli("tokenize", mesh, "--json").json
    assert made["model"].startswith("shape@1")
    assert (made["vertices"], made["faces"], made["stages"]) == (4, 4, 3)
    assert made["bytes"] == mesh.with_suffix(".smt").stat().st_size
    shutil.copy(mesh, mesh.with_name("noname"))
    assert cli("tokenize", mesh.with_name("noname"), "--force").code == 0
    piped = cli("tokenize", "-", stdin=encode_shape(wedge(), ".obj"))
    assert piped.stdout == mesh.with_suffix(".smt").read_bytes()
    assert len(smalti.decompress(smalti.compress(wedge())).vertices) > 0  # type: ignore[union-attr]
    assert smalti.compress(mesh) == piped.stdout
    picture = mesh.with_name("p.png")
    import PIL.Image

    PIL.Image.new("RGB", (8, 8)).save(picture)
    assert "name a model with -m" in cli("tokenize", mesh, picture).refusal()
    tokens = smalti.open(piped.stdout)
    smalti.save(tokens, mesh.with_name("c.smt"))
    assert mesh.with_name("c.smt").read_bytes() == piped.stdout


def test_without_a_model_of_shapes_that_is_said(cli: Any, mesh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from smalti.media import DEFAULT_MODELS

    monkeypatch.setitem(DEFAULT_MODELS, "shape", "no-such-model")
    assert "no model 'no-such-model'" in cli("tokenize", mesh).refusal()


def test_info_says_size_and_place(cli: Any, shape_model: Path, mesh: Path) -> None:
    cli("tokenize", mesh, "-m", shape_model)
    ran = cli("info", mesh.with_suffix(".smt"))
    assert "  shape        80 across, around (1040, -480, 12)\n" in ran.out
    (about,) = cli("info", mesh.with_suffix(".smt"), "--json").json
    (stream,) = about["streams"]
    assert (stream["side"], stream["centre"], stream["stages"]) == (80, [1040, -480, 12], 3)


def test_folders_map_to_folders_and_what_fails_is_named(cli: Any, shape_model: Path, mesh: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    write_shape(wedge(), folder / "a.ply")
    write_shape(Shape(wedge().vertices), folder / "deep" / "b.xyz")
    (folder / "c.obj").write_bytes(b"# nothing\n")
    write_shape(Shape(np.ones((3, 3))), folder / "d.off")
    ran = cli("tokenize", folder, "-m", shape_model, "-o", tmp_path / "out")
    assert ran.code == 1
    assert "c.obj: no vertices" in ran.err
    assert "d.off: the shape has no extent" in ran.err
    assert cli("detokenize", tmp_path / "out", "-m", shape_model).code == 0
    for name in ("a.ply", "deep/b.ply"):
        assert near(read_shape(tmp_path / "out" / name), wedge())


def test_notes_say_what_a_mesh_is_like(cli: Any, shape_model: Path, tmp_path: Path) -> None:
    whole = wedge()
    write_shape(Shape(whole.vertices, whole.faces[1:]), tmp_path / "open.ply")  # type: ignore[index]
    write_shape(Shape(whole.vertices, whole.faces[:, ::-1].copy()), tmp_path / "inside.ply")  # type: ignore[index]
    assert cli("tokenize", tmp_path / "open.ply", "-m", shape_model).err == f"{tmp_path / 'open.ply'}: not watertight: 3 open edges\n"
    ran = cli("tokenize", tmp_path / "inside.ply", "-m", shape_model, "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    (made,) = cli("tokenize", tmp_path / "inside.ply", "-m", shape_model, "--force", "--json").json
    assert made["notes"] == ["inside out: its faces look inwards"]


def test_bytes_and_stages_choose_and_files_are_cut(cli: Any, shape_model: Path, mesh: Path, tmp_path: Path) -> None:
    smt = mesh.with_suffix(".smt")
    (whole,) = cli("tokenize", mesh, "-m", shape_model, "--json").json
    (less,) = cli("tokenize", mesh, "-m", shape_model, "--force", "--bytes", whole["bytes"] - 1, "--json").json
    assert (less["stages"], less["bytes"] == smt.stat().st_size) == (2, True)
    (one,) = cli("tokenize", mesh, "-m", shape_model, "--force", "--stages", 1, "--json").json
    assert one["stages"] == 1
    assert "smallest file" in cli("tokenize", mesh, "-m", shape_model, "--force", "--bytes", 5).refusal()
    assert (
        "--bpp is a rate of pictures; give --bytes or --stages" in cli("tokenize", mesh, "-m", shape_model, "--force", "--bpp", 1).refusal()
    )
    cli("tokenize", mesh, "-m", shape_model, "--force")
    assert cli("cut", smt, "-m", shape_model, "--stages", 2, "-o", tmp_path / "cut.smt").code == 0
    assert (tmp_path / "cut.smt").stat().st_size == less["bytes"]
    assert cli("detokenize", tmp_path / "cut.smt", "-m", shape_model, "-o", tmp_path / "cut.ply").code == 0
    assert near(read_shape(tmp_path / "cut.ply"), wedge(), 0.3)
    assert cli("detokenize", smt, "-m", shape_model, "--stages", 2, "-o", tmp_path / "two.ply").code == 0
    assert (tmp_path / "two.ply").read_bytes() == (tmp_path / "cut.ply").read_bytes()


def test_what_decodes_to_nothing_is_said(cli: Any, shape_model: Path, mesh: Path, tmp_path: Path) -> None:
    codec, tokenizer = codec_of(shape_model)
    (tokens,) = tokenizer.encode([wedge()])
    mesh.with_suffix(".smt").write_bytes(codec.pack(Tokens(tokens.layout, tuple(np.zeros_like(array) for array in tokens.arrays))))
    ran = cli("detokenize", mesh.with_suffix(".smt"), "-m", shape_model)
    assert (ran.code, ran.err) == (1, f"{mesh.with_suffix('.smt')}: it decodes to nothing; more stages may say more\n")
    assert mesh.with_suffix(".ply").is_file()
    assert "no surface" in cli("detokenize", mesh.with_suffix(".smt"), "-m", shape_model, "-o", tmp_path / "a.xyz").refusal()


def test_archives(cli: Any, shape_model: Path, mesh: Path, tmp_path: Path) -> None:
    write_shape(Shape(wedge().vertices * 2, wedge().faces), tmp_path / "b.ply")
    assert cli("tokenize", mesh, tmp_path / "b.ply", "-m", shape_model, "--archive", tmp_path / "all.smt").code == 0
    ran = cli("info", tmp_path / "all.smt")
    assert "a.stl, shape, 80 across, 3 stages" in ran.out
    assert "b.ply, shape, 160 across, 3 stages" in ran.out
    assert cli("detokenize", tmp_path / "all.smt", "-m", shape_model, "-o", tmp_path / "out").code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.ply", "b.ply"}
    assert near(read_shape(tmp_path / "out" / "a.ply"), wedge())
    assert cli("verify", tmp_path / "all.smt", "-m", shape_model).code == 0
    assert cli("cut", tmp_path / "all.smt", "-m", shape_model, "--stages", 1).code == 0
    packed = smalti.compress_archive({"a": mesh, "b": wedge()}, shape_model, device="cpu")
    archive = smalti.open_archive(packed, shape_model, device="cpu")
    assert near(archive.decompress("a"), wedge())  # type: ignore[arg-type]
    assert archive.tokens("b") == archive.tokens(0)


def test_arrays_and_wrong_endings(cli: Any, shape_model: Path, mesh: Path, tmp_path: Path) -> None:
    assert cli("tokenize", mesh, "-m", shape_model, "--format", "json", "--stages", 2).code == 0
    about = json.loads(mesh.with_suffix(".json").read_text())
    assert len(about["stages"]) == 2
    assert cli("detokenize", mesh.with_suffix(".json"), "-m", shape_model).code == 0
    assert near(read_shape(mesh.with_suffix(".ply")), wedge(), 0.3)
    cli("tokenize", mesh, "-m", shape_model)
    refusal = cli("detokenize", mesh.with_suffix(".smt"), "-m", shape_model, "-o", tmp_path / "a.png").refusal()
    assert "shapes are written as .glb, .obj, .off, .ply, .stl, .xyz" in refusal
    assert "times of a sound" in cli("detokenize", mesh.with_suffix(".smt"), "-m", shape_model, "--start", 1, "--force").refusal()
    piped = cli("detokenize", "-", "-m", shape_model, stdin=mesh.with_suffix(".smt").read_bytes())
    assert near(read_shape(piped.stdout), wedge())


def test_evaluate(cli: Any, shape_model: Path, mesh: Path, tmp_path: Path) -> None:
    pytest.importorskip("igl")
    folder = tmp_path / "in"
    folder.mkdir()
    write_shape(wedge(), folder / "a.ply")
    write_shape(Shape(wedge().vertices), folder / "b.xyz")
    (folder / "c.obj").write_bytes(b"# nothing\n")
    ran = cli("evaluate", shape_model, folder, "--json")
    assert ran.code == 1
    found = ran.json
    assert (found["shapes"], len(found["skipped"])) == (2, 1)
    assert [rate["stages"] for rate in found["rates"]] == [1, 2, 3]
    assert found["rates"][2]["bytes"] == np.mean([item["rates"][2]["bytes"] for item in found["items"]])
    assert found["rates"][0]["scores"]["chamfer"] > found["rates"][2]["scores"]["chamfer"]
    assert found["rates"][0]["unscored"] == {"normal-consistency": 1, "volume-iou": 1, "surface-iou": 1}
    assert "tau 1% of the longest side" in found["metrics"]["f-score-1"]["convention"]
    assert [stage["size"] for stage in found["codebooks"]] == [2, 2, 2]
    room = round(found["items"][0]["rates"][1]["bytes"])
    sized = cli("evaluate", shape_model, folder, "--bytes", room).out
    assert "2 shapes; means over shapes; whole files" in sized
    assert "normal-consistency: 1 of 2 shapes cannot be scored" in sized
    assert "--bpp is for models of pictures" in cli("evaluate", shape_model, folder, "--bpp", 1).refusal()
    assert "--bytes is for models of shapes" in cli("evaluate", "image-grid-16", folder, "--bytes", 9).refusal()
    assert "no shape to evaluate on" in cli("evaluate", shape_model, folder / "c.obj").refusal()


def codec_of(folder: Path) -> tuple[NeuralCodec, Any]:
    tokenizer = zoo.load(str(folder))
    return NeuralCodec(tokenizer, UniformPrior()), tokenizer


def test_of_several_ways_the_nearest_that_fits_is_taken(shape_model: Path) -> None:
    codec, tokenizer = codec_of(shape_model)
    cloud = Shape(wedge().vertices)
    for signal in (wedge(), cloud):
        right, other = tokenizer.variants(signal)
        assert right != other
        sizes = [len(codec.pack(right.prefix(k))) for k in right.layout.cuts]
        for room, stages in ((10**6, 3), (sizes[2], 3), (sizes[2] - 1, 2), (sizes[0], 1)):
            (found,) = codec.encode([signal], Target(bytes=room))
            assert found == right.prefix(stages)
            data = codec.compress(signal, Target(bytes=room))
            assert len(data) <= room
            assert parse(data).stages() == stages
        whole = tokenizer.encode([signal])
        assert codec.encode([signal], Target(stages=2)) == whole  # stages are cut from the tokens of all of them
        assert parse(codec.compress(signal, Target(stages=2))).stages() == 2
        with pytest.raises(UsageError, match=f"smallest file of this signal has {sizes[0]} bytes, the target allows 9"):
            codec.compress(signal, Target(bytes=9))
        assert codec.encode([signal]) == tokenizer.encode([signal])
        assert type(codec.decompress(codec.compress(signal))) is Shape


def test_what_fits_no_longer_loses_to_what_does(shape_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, tokenizer = codec_of(shape_model)
    long, short = tokenizer.variants(wedge())
    short = short.prefix(1)  # a way of one stage, and worse
    monkeypatch.setattr(tokenizer, "variants", lambda signal: [long, short])
    monkeypatch.setattr(tokenizer, "distortions", lambda signal, items: [float(len(item.arrays) == 1) for item in items])
    assert codec.encode([wedge()], Target(bytes=10**6)) == [long]
    monkeypatch.setattr(tokenizer, "distortions", lambda signal, items: [float(len(item.arrays) > 1) for item in items])
    assert codec.encode([wedge()], Target(bytes=10**6)) == [short]
    assert parse(codec.compress(wedge(), Target(bytes=10**6))).stages() == 1
    few = Tokens(short.layout, short.arrays)
    monkeypatch.setattr(tokenizer, "distortions", lambda signal, items: [0.0] * len(items))
    assert codec.encode([wedge()], Target(bytes=10**6)) == [few]  # equally near: the smaller file


def test_ways_are_searched_once_for_several_sizes(shape_model: Path) -> None:
    codec, tokenizer = codec_of(shape_model)
    signal = wedge()
    asked = []
    search = tokenizer.variants
    tokenizer.variants = lambda given: asked.append(given) or search(given)
    tokenizer.distortions = lambda given, items: [0.0] * len(items)
    for room in (50, 60, 70, 500):
        codec.compress(signal, Target(bytes=room))
    assert len(asked) == 1
    codec.compress(wedge(), Target(bytes=500))
    assert len(asked) == 2


def test_the_toy_conforms(shape_model: Path) -> None:
    from smalti.testing import check_codec, check_tokenizer

    codec, tokenizer = codec_of(shape_model)
    signals = [wedge(), Shape(wedge().vertices * 3 - 5), Shape(np.random.default_rng(0).normal(size=(99, 3)))]
    check_tokenizer(tokenizer, signals)
    check_codec(codec, signals)


def test_reading_from_python(mesh: Path) -> None:
    for source in (mesh, str(mesh), mesh.read_bytes(), encode_shape(wedge(), ".xyz", points=9)):
        assert isinstance(smalti.read(source), Shape)
    with pytest.raises(UsageError, match=r"smalti\.Shape"):
        smalti.read(io.BytesIO())  # type: ignore[arg-type]
    with pytest.raises(SignalError, match=r"b\.ply: no such file"):
        smalti.read(mesh.with_name("b.ply"))
