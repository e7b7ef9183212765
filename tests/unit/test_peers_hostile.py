"""Checkpoints that are damaged or hostile are refused in one line, before anything as large as they say is allocated."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.compare import lineup
from smalti.recipes import tiny_peers
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers import magvit2, titok, vqgan, wavtokenizer
from smalti.tokenizers.peers.checkpoints import Checkpoint, read_tensors, shapes_of
from smalti.tokenizers.peers.library import plain_settings
from smalti.tokenizers.signals import Image

PUBLISHED = Path(__file__).parent / "published"
READERS: dict[str, Callable[[dict[str, tuple[int, ...]], dict[str, Any]], Any]] = {
    "taming-f16-1024": lambda shapes, _: vqgan.settings_of(shapes, "c"),
    "llamagen-vq16": lambda shapes, _: vqgan.settings_of(shapes, "c"),
    "open-magvit2-256": lambda shapes, _: magvit2.settings_of(shapes, "c"),
    "wavtokenizer-75": lambda shapes, _: wavtokenizer.settings_of(shapes, "c"),
    "titok-s32": lambda shapes, about: titok.settings_of(shapes, about["config"], "c"),
}


def refusal(work: Callable[[], Any]) -> str:
    """What a ModelError says, "" where there is none."""
    try:
        work()
    except ModelError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", READERS)
def test_any_tensor_of_fewer_axes_is_refused_by_its_name(name: str) -> None:
    about = json.loads((PUBLISHED / f"{name}.json").read_text())
    shapes = {key: tuple(shape) for key, shape in about["tensors"].items()}
    refused = set()
    for key, shape in shapes.items():
        for other in ((), (math.prod(shape),), (0, *shape[1:])):
            said = "" if other == shape else refusal(lambda changed=other, key=key: READERS[name]({**shapes, key: changed}, about))
            if said:
                assert repr(key) in said
                refused.add(key)
    assert len(refused) >= 4, "sizes are read from several tensors; of others the network says what it expects"


OTHERS: dict[str, Callable[[], torch.Tensor]] = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "meta": lambda: torch.zeros(3, device="meta"),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64),
    "a terabyte": lambda: torch.zeros(1).expand(2**19, 2**19),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_torch_files_hold_plain_arrays(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    torch.save({"a": torch.zeros(2), "odd": OTHERS[kind]()}, path)
    for read in (shapes_of, lambda path: read_tensors(Checkpoint((path,)))):
        with pytest.raises(ModelError, match="tensor 'odd'") as refused:
            read(path)
        assert "\n" not in str(refused.value)


def test_a_view_of_what_the_file_holds_is_plain(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"turned": whole.T, "row": whole[1]}, tmp_path / "c.pt")
    found = read_tensors(Checkpoint((tmp_path / "c.pt",)))
    assert np.array_equal(found["turned"], whole.T.numpy())
    assert np.array_equal(found["row"], whole[1].numpy())


@pytest.mark.parametrize(
    ("key", "value"),
    [("note", math.nan), ("vq_strides", 5), ("encoder_rates", ["a"]), ("encoder_rates", None), ("attn_window_size", "x")],
)
def test_configs_of_other_types_are_refused(key: str, value: Any, tmp_path: Path) -> None:
    pytest.importorskip("snac")
    source = tiny_peers.save("snac", tmp_path)
    about = json.loads((tmp_path / "config.json").read_text()) | {key: value}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="snac") as refused:
        zoo.load(source)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("family", "key", "value"), [("mimi", "num_hidden_layers", 10**7), ("dac", "downsampling_ratios", [1] * 10**5)])
def test_a_config_does_not_keep_us_building(family: str, key: str, value: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    source = tiny_peers.save(family, tmp_path)
    about = json.loads((tmp_path / "config.json").read_text()) | {key: value}
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match=f"{key} of .*, expected 1024 at most"):
        zoo.load(source)


def test_tables_within_tables_are_refused(tmp_path: Path) -> None:
    depth = 700
    text = '{"model_type": "dac", "deep": ' + '{"a": ' * depth + "1" + "}" * depth + "}"
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"within tables|RecursionError"):
        zoo.find(f"hf:{tmp_path}")


def test_a_number_that_is_none_is_refused_in_our_own_folders_too(tmp_path: Path) -> None:
    zoo.save(zoo.load(tiny_peers.save("taming", tmp_path / "model")), tmp_path / "mine", half=False)
    path = tmp_path / "mine" / "config.json"
    path.write_text(path.read_text().replace('"scale": [', '"scale": [NaN, ', 1))
    with pytest.raises(ModelError, match="NaN is no number"):
        zoo.find(str(tmp_path / "mine"))


def test_a_config_names_no_code_of_the_hub() -> None:
    asked = {"semantic_model_config": {"attn_implementation": "nobody/kernel", "hidden_size": 8}, "_attn_implementation": "nobody/kernel"}
    assert plain_settings(asked) == {"semantic_model_config": {"hidden_size": 8}}


def test_a_fingerprint_follows_its_config(tmp_path: Path) -> None:
    """Within one process too, where what was read before is kept."""
    source = tiny_peers.save("titok", tmp_path / "model")
    before = zoo.fingerprint_of(zoo.find(source))
    path = tmp_path / "model" / "config.json"
    about = json.loads(path.read_text())
    about["model"]["vq_model"]["use_l2_norm"] = False
    path.write_text(json.dumps(about, indent=3))
    assert zoo.fingerprint_of(zoo.find(source)) == zoo.load(source).fingerprint != before
    zoo.save(zoo.load(source), tmp_path / "mine", half=False)
    own = str(tmp_path / "mine")
    before = zoo.fingerprint_of(zoo.find(own))
    path = tmp_path / "mine" / "config.json"
    path.write_text(path.read_text().replace('"unit": false', '"unit": true'))
    assert zoo.fingerprint_of(zoo.find(own)) == zoo.load(own).fingerprint != before


def test_other_weights_beside_the_same_config_are_seen(tmp_path: Path) -> None:
    source = tiny_peers.save("titok", tmp_path)
    assert zoo.find(source).config["settings"]["codebook_size"] == 64
    tiny_peers.save("titok", tmp_path / "other", codebook_size=32)
    (tmp_path / "other" / "pytorch_model.bin").replace(tmp_path / "pytorch_model.bin")
    assert zoo.find(source).config["settings"]["codebook_size"] == 32
    assert zoo.load(source).encode([Image(np.zeros((4, 4, 3), np.uint8))])[0].layout.stages[0].vocab == 32


def test_public_models_are_compared_by_their_names(tmp_path: Path) -> None:
    source = tiny_peers.save("taming", tmp_path)
    assert [name for name, _ in lineup.parse(f"jpeg:30,60,{source}:1,hf:there")] == ["jpeg", source, "hf:there"]
    (contender,) = lineup.of("image", f"{source}:1").contenders
    assert contender.models == ((source, zoo.fingerprint_of(zoo.find(source))),)
    assert lineup.open_codec(source).name == source
