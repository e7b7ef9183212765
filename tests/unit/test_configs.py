"""Configs: there and back, and errors that say where and what was meant."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from smalti.recipes.training.config import TrainingConfig
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.configs import canonical_json, from_dict, to_dict
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig

GRID = ImageGridConfig(ResidualConfig(VQConfig(1024, 8), levels=3), widths=(8, 16), encoder_depths=(1, 1), decoder_depths=(1, 2))
CONFIGS = [
    VQConfig(16, 4, decay=0.5),
    FSQConfig((8, 5, 5, 5), bound="tanh"),
    SingleConfig(FSQConfig((8, 5)), warmup_steps=7),
    GRID,
    ImageGridConfig(SingleConfig(FSQConfig((8, 5)))),
    TrainingConfig("run", GRID, steps=5),
]


@dataclass(frozen=True)
class Odd:
    """What ours do not have yet, and what a user's may."""

    kind: ClassVar[str] = "odd"
    pair: tuple[int, float]
    table: dict[str, int]
    maybe: VQConfig | None = None
    flag: bool = False
    text: str | None = "x"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_config_comes_back_from_its_json(config: Any) -> None:
    assert from_dict(type(config), json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(type(config), json.loads(canonical_json(config))) == config


def test_a_config_is_hashable_and_frozen() -> None:
    assert len({GRID, dataclasses.replace(GRID)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        GRID.head_width = 3  # type: ignore[misc]


def test_the_canonical_spelling_does_not_depend_on_order() -> None:
    shuffled = dict(reversed(to_dict(GRID).items()))
    assert canonical_json(from_dict(ImageGridConfig, shuffled)) == canonical_json(GRID)
    assert canonical_json(VQConfig(16, 4)) == (
        '{"codebook_size":16,"commitment":0.25,"cosine":false,"decay":0.99,"dim":4,"gradient":"straight_through",'
        '"init":"batch","kind":"vq","revival":"batch","revive_below":0.03}'
    )


def test_integers_serve_as_floats() -> None:
    found = from_dict(VQConfig, {"codebook_size": 16, "dim": 4, "decay": 0, "commitment": 1})
    assert found == VQConfig(16, 4, decay=0.0, commitment=1.0)
    assert type(found.commitment) is float


def test_a_union_is_told_apart_by_kind() -> None:
    for quantizer in (ResidualConfig(VQConfig(16, 4)), SingleConfig(FSQConfig((8, 5)))):
        found = from_dict(ImageGridConfig, {"kind": "image-grid", "quantizer": to_dict(quantizer)})
        assert found.quantizer == quantizer


def test_toml_tables_are_configs() -> None:
    text = '[quantizer]\nkind = "single"\n[quantizer.codebook]\nkind = "fsq"\nlevels = [8, 5]'
    assert from_dict(ImageGridConfig, tomllib.loads(text)) == ImageGridConfig(SingleConfig(FSQConfig((8, 5))))


def test_optional_fixed_and_keyed_fields() -> None:
    data = {"pair": [1, 2], "table": {"a": 3}, "maybe": None, "text": None}
    assert from_dict(Odd, data) == Odd((1, 2.0), {"a": 3}, None, False, None)
    vq = {"kind": "vq", "codebook_size": 2, "dim": 1}
    assert from_dict(Odd, data | {"maybe": vq}).maybe == VQConfig(2, 1)


VQ = {"kind": "vq", "codebook_size": 16, "dim": 4}


@pytest.mark.parametrize(
    ("cls", "data", "message"),
    [
        (VQConfig, VQ | {"decai": 1}, r"^model has no key 'decai'; did you mean 'decay'\?$"),
        (
            VQConfig,
            VQ | {"xyzzy": 1},
            "^model has no key 'xyzzy'; known: codebook_size, commitment, cosine, decay, dim, gradient, init, revival, revive_below$",
        ),
        (VQConfig, {"kind": "vq", "dim": 4}, "^model lacks codebook_size$"),
        (VQConfig, VQ | {"kind": "fsq"}, "^model.kind is 'fsq', expected 'vq'$"),
        (VQConfig, VQ | {"dim": "4"}, "^model.dim must be int, found '4'$"),
        (VQConfig, VQ | {"dim": 4.0}, "^model.dim must be int, found 4.0$"),
        (VQConfig, VQ | {"dim": True}, "^model.dim must be int, found True$"),
        (VQConfig, VQ | {"decay": "0.9"}, "^model.decay must be float, found '0.9'$"),
        (VQConfig, [1], r"^model must be a table of keys, found \[1\]$"),
        (FSQConfig, {"levels": 8}, "^model.levels must be a list, found 8$"),
        (FSQConfig, {"levels": [8, "5"]}, r"^model.levels\[1\] must be int, found '5'$"),
        (SingleConfig, {"codebook": VQ | {"dmi": 4}}, r"^model.codebook has no key 'dmi'; did you mean 'dim'\?$"),
        (SingleConfig, {"codebook": {"kind": "vqq"}}, r"^model.codebook.kind is 'vqq'; did you mean 'vq'\?$"),
        (SingleConfig, {"codebook": {"dim": 4}}, "^model.codebook.kind is None; known: .*fsq, .*vq$"),
        (SingleConfig, {"codebook": 4}, "^model.codebook.kind is None; known: .*fsq, .*vq$"),
        (Odd, {"pair": [1], "table": {}}, r"^model.pair must have 2 entries, found \[1\]$"),
        (Odd, {"pair": [1, 2], "table": []}, r"^model.table must be a table of keys, found \[\]$"),
        (Odd, {"pair": [1, 2], "table": {"a": "b"}}, "^model.table.a must be int, found 'b'$"),
        (Odd, {"pair": [1, 2], "table": {}, "flag": 1}, "^model.flag must be bool, found 1$"),
        (Odd, {"pair": [1, 2], "table": {}, "text": 1}, "^model.text must be str, found 1$"),
    ],
)
def test_what_is_wrong_is_named(cls: type, data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_dict(cls, data, "model")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"widths": (8,), "encoder_depths": (1,), "decoder_depths": (1,)}, r"2 \(stride 8\) or 3 \(stride 16\)"),
        ({"widths": (8, 8)}, r"2 \(stride 8\) or 3 \(stride 16\)"),
        ({"widths": (8, 0, 8)}, "widths must be positive"),
        ({"head_width": 0}, "widths must be positive"),
        ({"decoder_depths": (1, -1, 1)}, "depths not negative"),
    ],
)
def test_impossible_networks_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ImageGridConfig(SingleConfig(FSQConfig((8, 5))), **values)
