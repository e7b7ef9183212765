"""Recipes of shapes: data, the table beside rivals, turntables."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.codecs.media.shapes import encode_shape
from smalti.recipes import fit_shape
from smalti.recipes.shape_data import Source, procedural, shapes_of
from smalti.recipes.shape_table import __main__ as shape_table
from smalti.recipes.shape_table import measuring, rivals
from smalti.recipes.turntables import __main__ as turntables
from smalti.recipes.turntables.rendering import frame_of, turntable
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.shape.basis import FINENESSES
from smalti.tokenizers.shape.primitives import Primitives, triangles
from smalti.tokenizers.signals import Shape

for name in ("igl", "manifold3d", "DracoPy", "fast_simplification", "embreex"):
    pytest.importorskip(name)
TABLE = Shape(*triangles(Primitives(np.array([[0, 20, 0, 96, 60, 70, 20, 76], [0, 10, 4, 10, 0, 60, 22, 30]]))))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "shapes.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, shape in (("b/table.ply", TABLE), ("a.ply", procedural(1))):
            file.writestr(name, encode_shape(shape, ".ply"))
        file.writestr("notes.txt", "no shape")
    return path


def test_sources_are_folders_zips_and_made_up(archive: Path, tmp_path: Path) -> None:
    assert Source(str(archive)).names == ["a.ply", "b/table.ply"]
    zipfile.ZipFile(archive).extractall(tmp_path / "folder")
    for (name, shape), (other, same) in zip(shapes_of(archive), shapes_of(tmp_path / "folder"), strict=True):
        assert name == other
        assert np.array_equal(shape.vertices, same.vertices)
    assert len(Source("procedural:3").names) == 3
    first, again = (Source("procedural:3").read("procedural-00002") for _ in range(2))
    assert np.array_equal(first.vertices, again.vertices)
    with pytest.raises(UsageError, match="no shapes"):
        Source(str(_empty(tmp_path))).names  # noqa: B018
    with pytest.raises(UsageError, match="no folder and no zip"):
        Source(str(tmp_path / "absent.zip")).names  # noqa: B018


def _empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_fields_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = fit_shape.ShapeBasisConfig(side=32, counts=(1, 2), most=2)
    work = fit_shape.Work(Source("procedural:2"), "procedural-00001", config, str(tmp_path))
    wrong, examples = fit_shape.examples_of(work)
    assert not wrong
    assert len(list(tmp_path.glob("*.npy"))) == 1
    monkeypatch.setattr(fit_shape, "field", None)
    again = fit_shape.examples_of(work)[1]
    assert np.allclose(examples[0].whole.astype(np.float64), again[0].whole.astype(np.float64), atol=1e-3)


def test_rivals_say_what_they_cost() -> None:
    offers = [*rivals.draco(TABLE, 400), *rivals.boxes(TABLE, 400)]
    assert {offer.name.split()[-2 if "boxes" in offer.name else 0] for offer in offers} >= {"draco"}
    measured = rivals.measured(TABLE, offers)
    best = rivals.best_within(measured, 64)
    assert best is not None
    assert best.bytes <= 64
    assert "5 boxes" in best.name
    assert rivals.best_within(measured, 10) is None
    library = rivals.Library([procedural(1), TABLE, procedural(2)])
    assert library.offer(TABLE).name == "training shape 1"


def test_the_table_goes_on_where_it_was_broken_off(archive: Path, basis_model: Path, tmp_path: Path, capsys: Any) -> None:
    kept = tmp_path / "rows.json"
    call = [str(archive), "--train", "procedural:3", "--model", str(basis_model), "--bytes", "80", "-o", str(kept), "--processes", "1"]
    assert shape_table.main(call) == 0
    found = json.loads(kept.read_text())
    rows = found["rows"]
    assert {row["name"] for row in rows} == {"a.ply", "b/table.ply"}
    assert all(row["80"]["ours"]["f2"] > 0.3 for row in rows)
    for row in rows:
        row["80"]["ours"]["f2"] = 0.25
    kept.write_text(json.dumps(found))
    capsys.readouterr()
    assert shape_table.main(call) == 0
    assert "| 80 | ours | 0.250 |" in capsys.readouterr().out
    assert shape_table.main([*call, "--without", "meshes"]) == 2
    assert "rows of another run" in capsys.readouterr().err
    assert shape_table.main([str(tmp_path / "absent"), "--train", "procedural:1"]) == 2


def test_ways_can_be_left_out(basis_model: Path) -> None:
    measuring.start(str(basis_model), "", ("meshes", "scales"))
    row = measuring.row_of(Source("procedural:2"), "procedural-00001", (90,))
    assert list(row["90"]) == ["ours"]
    fewer = measuring.Fewer(zoo.load(str(basis_model)), ["meshes", "primitives"])
    ways = fewer.variants(procedural(1))
    assert ways
    assert all(int(way.arrays[0][0]) < FINENESSES for way in ways)


def test_turntables_show_all_sides(archive: Path, basis_model: Path, tmp_path: Path) -> None:
    centre, radius = frame_of(TABLE)
    strip = turntable(TABLE, 4, 48, centre, radius)
    assert strip.shape == (48, 192, 3)
    front, side = strip[:, :48].astype(int), strip[:, 48:96].astype(int)
    assert np.abs(front - side).mean() > 3
    ink = (front.sum(2) < 700).mean()
    assert 0.05 < ink < 0.7
    cloud = turntable(Shape(TABLE.vertices), 2, 48, centre, radius)
    assert (cloud[:, :48].astype(int).sum(2) < 700).any()
    page = tmp_path / "page.html"
    call = [str(archive), "--model", str(basis_model), "--bytes", "90", "--bytes", "20", "--only", "table", "--views", "3", "-o", str(page)]
    assert turntables.main(call) == 0
    text = page.read_text()
    assert text.count("data:image/webp;base64") == 3
    assert "smallest file" in text
    assert "F 2 %" in text
    assert turntables.main([str(archive), "--only", "absent", "-o", str(page)]) == 2
