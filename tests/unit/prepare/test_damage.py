"""What lies in a prepared folder is checked before it is trusted, and damage never makes units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smalti.prepare.places import Places
from smalti.tokenizers.errors import BitstreamError


@pytest.mark.parametrize(
    "change",
    [
        {"unit": 1, "items": 2**40},
        {"source": {"given": "x"}},
        {"source": {"given": "x", "kind": "tar", "root": "", "column": "", "files": {"a.tar": "large"}}},
        {"identity": {"torch": 2}},
        {"inputs_sha256": None},
    ],
)
def test_plans_that_make_no_sense_are_refused(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, cli: Any, change: Any) -> None:
    prepare(photos, tmp_path / "out", tiny, unit=4)
    path = tmp_path / "out" / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    assert "plan.json: damaged, no plan that can be read" in cli("prepare", photos, tmp_path / "out", "-m", tiny).refusal()


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m | {"items": -1},
        lambda m: m | {"models": [{}]},
        lambda m: m | {"units": m["units"][:-1]},
        lambda m: m | {"units": [{"documents": 1}] * 3},
        lambda m: m | {"units": [unit | {"documents": 2**50} for unit in m["units"]]},
    ],
)
def test_manifests_that_make_no_sense_are_refused(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, cli: Any, change: Any) -> None:
    places = prepare(photos, tmp_path / "out", tiny, unit=4).codes.places
    places.manifest.write_text(json.dumps(change(json.loads(places.manifest.read_bytes()))))
    assert "dataset.json: damaged, no manifest that can be read" in cli("detokenize", tmp_path / "out", "--index", 0).refusal()


def test_what_units_say_already_is_made_again(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    done = prepare(photos, tmp_path / "out", tiny, unit=4)
    done.codes.places.manifest.write_bytes(b"{torn")
    assert prepare(photos, tmp_path / "out", tiny).codes.digest == done.codes.digest


def test_a_damaged_list_makes_no_units(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare(photos, tmp_path / "out", tiny, unit=4, stop=1)
    places = Places(tmp_path / "out")
    places.inputs.write_bytes(places.inputs.read_bytes().replace(b'"path": "b/03.png"', b'"path": "b/05.png"'))
    with pytest.raises(BitstreamError, match=r"inputs\.jsonl: its hash is"):
        prepare(photos, tmp_path / "out", tiny)
    assert not places.unit(1, "json").exists()


def test_units_of_another_plan_may_be_those_of_this_one(prepare: Any, photos: Path, tiny: Path, tmp_path: Path) -> None:
    places = prepare(photos, tmp_path / "out", tiny, unit=4).codes.places
    places.plan.write_text(json.dumps(json.loads(places.plan.read_bytes()) | {"held_out": 0.02}))
    with pytest.raises(BitstreamError, match=r"plan\.json was changed, or this unit is of another run"):
        prepare(photos, tmp_path / "out", tiny)


def test_layouts_of_absurd_sizes_are_named(prepare: Any, photos: Path, tiny: Path, tmp_path: Path, cli: Any) -> None:
    places = prepare(photos, tmp_path / "out", tiny, unit=4).codes.places
    said = json.loads(places.unit(1, "json").read_bytes())
    said["layouts"][0]["stages"][0]["axes"] = [["row", 2**40], ["col", 2**40]]
    places.unit(1, "json").write_text(json.dumps(said))
    ran = cli("verify", tmp_path / "out", "--deep")
    assert ran.code == 2
    assert "unit-000001.json: documents do not follow one another" in ran.out + ran.err
