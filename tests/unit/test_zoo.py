"""Model folders: written and read back, fingerprinted, found, and refused where something does not fit."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from smalti import api
from smalti.codecs.coders.tables import quantize
from smalti.codecs.priors.static import StaticPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import LearnedVQConfig, VQConfig
from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import ModelError, SmaltiError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Image
from smalti.tokenizers.zoo.fingerprint import fingerprint

CONFIG = ImageGridConfig(ResidualConfig(VQConfig(32, 4), levels=2), (8, 8, 8), (0, 0, 1), (0, 0, 1), 8)


@pytest.fixture(scope="module")
def tokenizer() -> ImageGrid:
    torch.manual_seed(0)
    tokenizer = ImageGrid.from_config(CONFIG)
    tokenizer.net.train()
    for _ in range(5):
        tokenizer.net(torch.rand(4, 3, 64, 64) * 2 - 1)
    tokenizer.net.eval()
    return tokenizer


@pytest.fixture
def folder(tokenizer: ImageGrid, tmp_path: Path) -> Path:
    zoo.save(tokenizer, tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def models(tokenizer: ImageGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models, tiny@1, tiny@2 and tiny@10, as $SMALTI_MODELS."""
    for number in (1, 2, 10):
        zoo.save(tokenizer, tmp_path / "models" / "tiny-grid" / str(number), prior=f"{number:08x}")
    monkeypatch.setenv("SMALTI_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def rewrite_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))


def refused(folder: Path, kind: type[SmaltiError] = ModelError) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(kind) as caught:
        zoo.load(str(folder))
    message = str(caught.value)
    assert "\n" not in message
    return message


def picture() -> Image:
    return Image(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))


# --- there and back -----------------------------------------------------------------------------------------------------------------


def test_full_precision_comes_back_exactly(tokenizer: ImageGrid, tmp_path: Path) -> None:
    info = zoo.save(tokenizer, tmp_path / "full", half=False)
    loaded = zoo.load(str(tmp_path / "full"))
    assert loaded.config == CONFIG
    assert loaded.fingerprint == tokenizer.fingerprint == zoo.fingerprint_of(info)
    assert all(np.array_equal(value, loaded.tensors()[key]) for key, value in tokenizer.tensors().items())
    assert loaded.encode([picture()]) == tokenizer.encode([picture()])
    assert all(value.dtype == np.float32 for key, value in loaded.tensors().items() if key != "quantizer.steps")


def test_half_precision_keeps_tables_and_statistics(tokenizer: ImageGrid, tmp_path: Path) -> None:
    full, half = zoo.save(tokenizer, tmp_path / "full", half=False), zoo.save(tokenizer, tmp_path / "half")
    assert half.bytes < 0.7 * full.bytes
    stored, loaded = load_file(half.weights), zoo.load(str(half.folder))
    assert loaded.fingerprint == zoo.fingerprint_of(half) != zoo.fingerprint_of(full)
    buffers = {name for name, _ in tokenizer.net.named_buffers()}
    for key, value in tokenizer.tensors().items():
        assert stored[key].dtype == (value.dtype if key in buffers else np.float16)
        exact = value if key in buffers else value.astype(np.float16).astype(np.float32)
        assert np.array_equal(loaded.tensors()[key], exact)


def test_what_is_told_about_a_model_is_kept(tokenizer: ImageGrid, tmp_path: Path) -> None:
    info = zoo.save(tokenizer, tmp_path / "m", prior="01020304", card="# A card\n", about={"summary": "small", "licence": "none"})
    assert (info.kind, info.prior, info.card, info.summary, info.licence) == ("image-grid", "01020304", "# A card\n", "small", "none")
    assert info.config == to_dict(CONFIG)
    assert info.bytes == sum(path.stat().st_size for path in (tmp_path / "m").iterdir())
    assert zoo.find(str(tmp_path / "m")) == info
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["card.md", "config.json", "model.safetensors"]


def test_a_prior_is_written_with_its_model_and_goes_with_it(tokenizer: ImageGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = StaticPrior((quantize(np.ones(32, np.int64)),) * 2), StaticPrior((quantize(np.arange(1, 33)),) * 2)
    place = tmp_path / "m" / "prior.safetensors"
    assert zoo.save(tokenizer, tmp_path / "m", first).prior == StaticPrior.load(place).id.hex() == first.id.hex()
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(StaticPrior, "save", lambda self, path: Path(tmp_path / "none" / "x").write_bytes(b""))
        with pytest.raises(UsageError, match="the model cannot be written"):
            zoo.save(tokenizer, tmp_path / "m", second)
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    zoo.save(tokenizer, tmp_path / "m", second.id.hex())
    assert place.read_bytes() == before["prior.safetensors"], "an id alone leaves the file to the caller"
    zoo.save(tokenizer, tmp_path / "m")
    assert not place.exists()


def test_whoever_may_read_the_folder_may_read_the_weights(folder: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]


def test_a_place_that_cannot_be_written_is_named(tokenizer: ImageGrid, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/m: the model cannot be written"):
        zoo.save(tokenizer, tmp_path / "file" / "m")


# --- fingerprints -------------------------------------------------------------------------------------------------------------------


def test_a_fingerprint_changes_with_everything_that_changes_tokens(tokenizer: ImageGrid) -> None:
    config, tensors = to_dict(CONFIG), tokenizer.tensors()
    prints = {fingerprint(config, tensors), fingerprint(config, tensors, "01020304"), fingerprint(config | {"head_width": 9}, tensors)}
    for key, value in tensors.items():
        changed = value.copy()
        changed.flat[-1] += 1
        prints.add(fingerprint(config, tensors | {key: changed}))
    a = tensors["quantizer.codebooks.0.table"]
    prints.add(fingerprint(config, tensors | {"quantizer.codebooks.0.table": a.astype(np.float16)}))
    prints.add(fingerprint(config, tensors | {"quantizer.codebooks.0.table": a.reshape(-1)}))
    prints.add(fingerprint(config, {key + "x" if key == "norm.mean" else key: value for key, value in tensors.items()}))
    assert len(prints) == 3 + len(tensors) + 3


def test_a_fingerprint_does_not_change_with_order_or_memory(tokenizer: ImageGrid) -> None:
    config, tensors = to_dict(CONFIG), tokenizer.tensors()
    expected = fingerprint(config, tensors)
    assert fingerprint(dict(reversed(config.items())), dict(reversed(tensors.items()))) == expected
    assert fingerprint(config, {key: np.asarray(value, order="F") for key, value in tensors.items()}) == expected
    assert fingerprint(config, {key: value.astype(value.dtype.newbyteorder(">")) for key, value in tensors.items()}) == expected


def test_the_fingerprint_is_of_the_config_as_it_is_stored(folder: Path) -> None:
    """A key that a later release adds, with a default, must not give old files another model."""
    rewrite_config(folder, lambda content: content["config"].pop("head_width"))
    rewrite_config(folder, lambda content: content["config"].update(head_width=8))
    before = zoo.load(str(folder)).fingerprint
    rewrite_config(folder, lambda content: content["config"]["quantizer"].pop("warmup_steps"))
    assert zoo.load(str(folder)).config == CONFIG
    assert zoo.load(str(folder)).fingerprint != before


def test_a_model_is_found_by_the_first_bytes_of_its_fingerprint(models: Path) -> None:
    wanted = zoo.find("tiny-grid@2")
    assert zoo.by_fingerprint(bytes.fromhex(zoo.fingerprint_of(wanted))[:6]) == wanted
    assert zoo.by_fingerprint(bytes(6)) is None


# --- finding ------------------------------------------------------------------------------------------------------------------------


def test_the_newest_number_wins(models: Path) -> None:
    assert zoo.find("tiny-grid").name == "tiny-grid@10"
    assert zoo.find("tiny-grid@2").folder == models / "tiny-grid" / "2"
    assert [info.name for info in zoo.known() if info.folder.is_relative_to(models)] == ["tiny-grid@1", "tiny-grid@2", "tiny-grid@10"]
    assert zoo.load("tiny-grid").name == "tiny-grid@10"


def test_several_folders_of_models(models: Path, folder: Path, tokenizer: ImageGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    more = folder.parent / "more"
    zoo.save(tokenizer, more / "other-grid" / "3")
    monkeypatch.setenv("SMALTI_MODELS", os.pathsep.join([str(more), "", str(models), str(folder.parent / "none")]))
    assert zoo.find("other-grid").name == "other-grid@3"
    assert zoo.find("tiny-grid").name == "tiny-grid@10"


def test_a_folder_is_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert zoo.load("tiny").name == "tiny"
    assert zoo.load("./tiny").config == CONFIG


def test_of_two_models_of_one_name_the_one_that_made_the_file_decodes_it(
    models: Path, folder: Path, tokenizer: ImageGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copy.deepcopy(tokenizer)
    for parameter in other.net.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    other._fingerprint = None
    roots = [tmp_path / "first", tmp_path / "second"]
    for root, own in zip(roots, (tokenizer, other), strict=True):
        zoo.save(own, root / "twin" / "1")
    monkeypatch.setenv("SMALTI_MODELS", os.pathsep.join(map(str, roots)))
    for root in roots:
        maker = zoo.load(str(root / "twin" / "1"))
        (tokens,) = maker.encode([picture()])
        api.save(tokens, tmp_path / "a.smt", model=maker)
        (expected,) = maker.decode([tokens])
        assert np.array_equal(api.decompress(tmp_path / "a.smt").pixels, expected.pixels)


def test_a_broken_config_does_not_stand_in_the_way(models: Path) -> None:
    (models / "aaa" / "1").mkdir(parents=True)
    (models / "aaa" / "1" / "config.json").write_text("{")
    assert all(info.name != "aaa@1" for info in zoo.known())
    (line,) = zoo.problems()
    assert "aaa" in line


def test_unknown_names_suggest_near_ones(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model 'tiny-gird'; did you mean 'tiny-grid'\?"):
        zoo.find("tiny-gird")
    with pytest.raises(ModelError, match=r"no model 'tiny-grid@3'; did you mean 'tiny-grid'\?"):
        zoo.find("tiny-grid@3")
    with pytest.raises(ModelError, match=r"no model 'xyzzy'; known: .*tiny-grid.*, or a model folder"):
        zoo.find("xyzzy")
    with pytest.raises(ModelError, match=r"a folder without config\.json"):
        zoo.find(str(tmp_path / "models"))


# --- what does not fit --------------------------------------------------------------------------------------------------------------


def test_a_missing_tensor_is_named(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop("norm.mean"))
    assert "tensor 'norm.mean' is missing" in refused(folder)


def test_a_renamed_tensor_is_named(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"norm.meen": tensors["norm.mean"]}))
    assert "tensor 'norm.meen' is unknown to this config" in refused(folder)


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({"norm.mean": np.zeros(5, np.float32)}))
    assert "tensor 'norm.mean' has shape (5,), expected (4,)" in refused(folder)


def test_weights_of_another_config_are_refused(folder: Path) -> None:
    rewrite_config(folder, lambda content: content["config"].update(head_width=9))
    assert "has shape" in refused(folder)


def test_an_unknown_key_of_the_config_is_named(folder: Path) -> None:
    rewrite_config(folder, lambda content: content["config"].update(widht=[8]))
    message = refused(folder, SmaltiError)
    assert "config.json: config has no key 'widht'; did you mean 'widths'?" in message


def test_an_unknown_tokenizer_is_named(folder: Path) -> None:
    rewrite_config(folder, lambda content: content.update(tokenizer="image-gird"))
    assert "tokenizer 'image-gird' is not installed; did you mean 'image-grid'?" in refused(folder)
    rewrite_config(folder, lambda content: content.update(tokenizer="xyzzy"))
    assert "tokenizer 'xyzzy' is not installed; known: image-grid" in refused(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"config": {}}', '{"tokenizer": "image-grid"}', "\ud800", "[" * 5000, '{"tokenizer": ["a"], "config": {}}'],
    ids=lambda text: ascii(text)[:40],
)
def test_a_config_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert "config.json: not a model's config" in refused(folder)


def test_a_card_in_another_encoding_is_shown_as_far_as_it_can_be(folder: Path) -> None:
    (folder / "card.md").write_bytes(b"caf\xe9")
    assert zoo.find(str(folder)).card == "caf\N{REPLACEMENT CHARACTER}"


def test_a_config_that_is_too_large_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(" " * (2**20 + 1))
    assert "larger than 1048576 bytes" in refused(folder)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "model.safetensors: not found" in refused(folder)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:7], lambda data: data[:-1], lambda data: b"\xff" * 8 + data[8:]])
def test_damaged_weights_are_refused(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    assert "model.safetensors: not readable as safetensors" in refused(folder)


def test_weights_of_a_type_that_numpy_lacks_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    tensors = load_torch(folder / "model.safetensors")
    save_torch(
        {key: value.bfloat16() if value.is_floating_point() else value for key, value in tensors.items()}, folder / "model.safetensors"
    )
    assert "model.safetensors: not readable as safetensors: data type 'bfloat16'" in refused(folder)


def test_tables_learned_by_gradient_are_stored_as_they_are(tmp_path: Path) -> None:
    """Rounded to half precision, near entries would change places."""
    torch.manual_seed(0)
    quantizer = ResidualConfig(LearnedVQConfig(codebook_size=64, dim=2), levels=2)
    learned = ImageGrid.from_config(dataclasses.replace(CONFIG, quantizer=quantizer))
    zoo.save(learned, tmp_path / "learned")
    loaded = zoo.load(str(tmp_path / "learned")).tensors()
    for key in ("quantizer.codebooks.0.table", "quantizer.codebooks.1.table"):
        assert np.array_equal(loaded[key], learned.tensors()[key])


# --- weights that another model has too -------------------------------------------------------------------------------------------


def shared(folder: Path, root: Path, parts: list[str], name: str = "tiny-grid@1") -> None:
    """Take parts out of a folder's weights; they lie in a shipped model below `root`."""
    (root / "tiny-grid" / "1").mkdir(parents=True)
    (root / "tiny-grid" / "1" / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    rewrite(folder, lambda tensors: [tensors.pop(key) for key in list(tensors) if key.partition(".")[0] in parts])
    rewrite_config(folder, lambda content: content.update(shares={"model": name, "parts": parts}))


def test_shared_weights_are_those_of_the_other_model(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, before = zoo.load(str(folder)), (folder / "model.safetensors").stat().st_size
    monkeypatch.setattr("smalti.tokenizers.zoo.folder.ZOO", tmp_path / "zoo")
    shared(folder, tmp_path / "zoo", ["encoder", "decoder"])
    assert (folder / "model.safetensors").stat().st_size < before / 2
    again = zoo.load(str(folder))
    assert again.fingerprint == whole.fingerprint == zoo.fingerprint_of(zoo.find(str(folder)))
    assert again.encode([picture()]) == whole.encode([picture()])


def test_shared_weights_that_are_missing_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.tokenizers.zoo.folder.ZOO", tmp_path / "zoo")
    shared(folder, tmp_path / "zoo", ["encoder"], "tiny-grid@2")
    assert "not found; the model folder is incomplete" in refused(folder)


@pytest.mark.parametrize("name", ["../secret@1", "/etc@1", "tiny-grid", "tiny-grid@1/../../x@1", 3])
def test_shared_weights_come_from_shipped_models_alone(folder: Path, name: object) -> None:
    rewrite_config(folder, lambda content: content.update(shares={"model": name, "parts": ["encoder"]}))
    assert "not a model's config" in refused(folder)
