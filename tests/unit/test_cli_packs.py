"""`smalti prepare --repack`: packs from the command line, of a folder that is prepared already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.cli import packs
from smalti.prepare.imported import write_codes
from smalti.prepare.packs import PackOptions
from smalti.prepare.packs.formats import FORMATS
from smalti.prepare.packs.packing import PACKINGS
from smalti.prepare.packs.patterns import PATTERNS
from smalti.prepare.plan import PlannedModel
from smalti.prepare.reader import open_pack
from smalti.tokenizers.tokens import Layout, Stage, Tokens


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    layout = Layout((Stage("grid", (("row", 2), ("col", 2)), 50),), (1,), (("height", 4), ("width", 4)))
    items = [(f"{i}.png", 0, Tokens(layout, (np.full((2, 2), i, np.int32),))) for i in range(30)]
    write_codes(tmp_path / "OUT", [PlannedModel("tiny", "tiny@1", "image-grid", "image", "a" * 64, {}, "")], items, held_out=0.3)
    return tmp_path / "OUT"


def test_the_command_line_offers_what_there_is() -> None:
    assert (set(packs.PATTERNS), set(packs.PACKINGS), set(packs.FORMATS)) == (set(PATTERNS), set(PACKINGS), set(FORMATS))
    defaults = {name: default for name, default in vars(PackOptions()).items() if name in ("pattern", "packing", "format", "context")}
    assert defaults == {"pattern": "flatten", "packing": "best-fit", "format": "megatron", "context": 1024}


def test_a_pack_and_what_is_held_out(cli: Any, prepared: Path) -> None:
    ran = cli("prepare", prepared, "--repack", "--pack", "lm", "--context", 31, "--pattern", "coarse-first")
    assert ran.code == 0, ran
    assert f"{prepared}/packs/lm: " in ran.out
    assert f"{prepared}/packs/lm-held-out: " in ran.out
    train, rest = (open_pack(prepared / "packs" / name, deep=True) for name in ("lm", "lm-held-out"))
    assert len(train) + len(rest) == 30
    assert train.pack.pattern == "coarse-first"
    assert train.pack.row == 32
    assert cli("prepare", prepared, "--repack", "--pack", "lm", "--no-row-ends").code == 0  # written over
    assert not open_pack(prepared / "packs" / "lm").pack.row_ends


def test_packs_as_json(cli: Any, prepared: Path) -> None:
    (said,) = cli("prepare", prepared, "--repack", "--format", "datatrove", "--packing", "documents", "--json").json
    assert [pack["name"] for pack in said["packs"]] == ["tokens", "tokens-held-out"]
    assert said["packs"][0]["ids"] == 10 * said["packs"][0]["documents"]
    assert said["packs"][0]["vocabulary"]["total"] == 57


def test_the_vocabulary_of_another_pack(cli: Any, prepared: Path, tmp_path: Path) -> None:
    cli("prepare", prepared, "--repack", "--pack", "a")
    (said,) = cli("prepare", prepared, "--repack", "--pack", "b", "--vocabulary", prepared / "packs" / "a", "--json").json
    assert said["packs"][0]["vocabulary"] == open_pack(prepared / "packs" / "a").pack.vocabulary.to_json()
    assert "no pack, expected pack.json" in cli("prepare", prepared, "--repack", "--vocabulary", tmp_path).refusal()


def test_options_of_packs_without_a_pack_are_refused(cli: Any, prepared: Path) -> None:
    refused = cli("prepare", prepared, "elsewhere", "-m", "image-grid-16", "--row-ends").refusal()
    assert "--row-ends is about packs, and none is asked for; add --pack NAME" in refused


def test_what_is_missing_is_named(cli: Any, prepared: Path, tmp_path: Path) -> None:
    assert "missing OUT: smalti prepare SRC OUT -m MODEL" in cli("prepare", prepared).refusal()
    assert "missing -m MODEL" in cli("prepare", prepared, "elsewhere").refusal()
    assert "no prepared folder" in cli("prepare", tmp_path / "nowhere", "--repack").refusal()
    assert "a pack is named by" in cli("prepare", prepared, "--repack", "--pack", "../x").refusal()
