"""Weights in eight bits, and models written again with them and with another prior."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.recipes import repack
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.single import AudioSingle
from smalti.tokenizers.audio.single_network import AudioSingleConfig, AudioSingleNet
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.quantizers import SingleConfig
from smalti.tokenizers.signals import Audio
from smalti.tokenizers.zoo.narrow import SCALE, narrowed, widened

CONFIG = AudioSingleConfig(SingleConfig(VQConfig(16, 4)), 8000, 40, 8, 16, 1, 1, 1, 2, 4, fine_width=8, fine_blocks=1)


@pytest.fixture
def tokenizer() -> AudioSingle:
    torch.manual_seed(0)
    net = AudioSingleNet(CONFIG)
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    for _ in range(3):
        net(torch.randn(4, 1, 800) * 0.1)
    return AudioSingle(net)


@pytest.mark.parametrize("shape", [(3, 8), (5, 4, 7), (1, 2, 2, 2)])
def test_each_row_has_its_own_scale(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal(shape) * 10.0 ** np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1))).astype(np.float32)
    stored = narrowed("w", weight)
    assert (stored["w"].dtype, stored["w"].shape, stored["w" + SCALE].shape) == (np.int8, shape, shape[:1])
    (back,) = widened(stored).values()
    assert back.dtype == np.float32
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    assert (np.abs(back - weight).reshape(len(weight), -1).max(1) <= 0.5001 * largest / 127).all()


def test_rows_of_zeros_stay_zero() -> None:
    assert not widened(narrowed("w", np.zeros((2, 3), np.float32)))["w"].any()


def test_tensors_without_a_scale_are_left_alone() -> None:
    tensors = {"whole": np.arange(6, dtype=np.int8).reshape(2, 3), "other": np.ones(3, np.float16)}
    found = widened(tensors)
    assert found.keys() == tensors.keys()
    assert all(found[name] is tensors[name] for name in tensors)


def test_named_parts_take_half_the_bytes_and_tokens_stay(tokenizer: AudioSingle, tmp_path: Path) -> None:
    half = zoo.save(tokenizer, tmp_path / "half")
    info = zoo.save(tokenizer, tmp_path / "narrow", narrow=("decoder", "head"))
    stored = load_file(info.weights)
    wide = tokenizer.parameter_names()
    bytes_of_part = {name: value.nbytes for name, value in stored.items() if name.startswith(("decoder.", "head."))}
    assert sum(bytes_of_part.values()) < 0.75 * sum(
        2 * tokenizer.tensors()[name].size for name in wide if name.startswith(("dec", "head."))
    )
    assert stored["decoder.0.conv.weight"].dtype == np.int8
    assert stored["decoder.0.conv.bias"].dtype == np.float16, "vectors stay"
    assert stored["encoder.0.conv.weight"].dtype == np.float16, "so do other parts"
    assert stored["decoder.1.norm.weight"].dtype == np.float16, "and what would not be smaller"
    assert zoo.fingerprint_of(half) != zoo.fingerprint_of(info)
    sound = Audio((np.random.default_rng(0).standard_normal((1, 4000)) * 0.1).astype(np.float32), 8000)
    first, second = zoo.load(str(half.folder)), zoo.load(str(info.folder))
    (tokens,) = first.encode([sound])
    assert np.array_equal(second.encode([sound])[0].arrays[0], tokens.arrays[0])
    (a,), (b,) = first.decode([tokens]), second.decode([tokens])
    error = np.square(a.samples - b.samples).mean() / np.square(a.samples).mean()
    assert 0 < error < 1e-3


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("head.1.weight"),
        lambda tensors: tensors.update({"head.0.widen.weight": tensors["head.0.widen.weight"].astype(np.int16)}),
        lambda tensors: tensors.update({"head.0.widen.weight" + SCALE: np.ones(3, np.float32)}),
        lambda tensors: tensors.update({"head.0.widen.weight" + SCALE: np.ones(24, np.float64)}),
        lambda tensors: tensors.update({"nothing" + SCALE: np.ones(24, np.float32)}),
    ],
)
def test_scales_that_do_not_fit_are_refused(tokenizer: AudioSingle, tmp_path: Path, change: Any) -> None:
    info = zoo.save(tokenizer, tmp_path / "model", narrow=("head",))
    tensors = load_file(info.weights)
    change(tensors)
    save_file(tensors, info.weights)
    with pytest.raises(ModelError) as caught:
        zoo.load(str(info.folder))
    assert "\n" not in str(caught.value)


def test_a_model_is_written_again_with_another_prior(tokenizer: AudioSingle, tmp_path: Path, capsys: Any) -> None:
    info = zoo.save(tokenizer, tmp_path / "old", card="# card\n", about={"summary": "short", "licence": "free"})
    sound = Audio((np.random.default_rng(0).standard_normal((1, 4000)) * 0.1).astype(np.float32), 8000)
    prior = AdaptivePrior.prime((np.arange(16, dtype=np.int32),), tokenizer.encode([sound]))
    prior.save(tmp_path / "prior")
    arguments = [str(info.folder), "-o", str(tmp_path / "new"), "--prior", str(tmp_path / "prior"), "--narrow", "decoder", "--json"]
    assert repack.main(arguments) == 0
    found, told = zoo.find(str(tmp_path / "new")), json.loads(capsys.readouterr().out)
    assert (found.card, found.summary, found.licence, found.prior) == ("# card\n", "short", "free", prior.id.hex())
    assert told == {"folder": str(tmp_path / "new"), "bytes": found.bytes, "prior": found.prior, "fingerprint": zoo.fingerprint_of(found)}
    assert AdaptivePrior.load(found.folder / "prior.safetensors").id == prior.id
    assert load_file(found.weights)["decoder.0.conv.weight"].dtype == np.int8
    assert repack.main([str(found.folder), "-o", str(tmp_path / "again"), "-q"]) == 0
    again = zoo.find(str(tmp_path / "again"))
    assert again.prior == found.prior, "its own where no other is named"
    assert (again.folder / "prior.safetensors").read_bytes() == (found.folder / "prior.safetensors").read_bytes()


def test_parts_that_the_network_has_not_are_named(tokenizer: AudioSingle, tmp_path: Path, capsys: Any) -> None:
    info = zoo.save(tokenizer, tmp_path / "old")
    assert repack.main([str(info.folder), "-o", str(tmp_path / "new"), "--narrow", "decodr"]) == 2
    assert "decodr" in (said := capsys.readouterr().err)
    assert "decoder, encoder, head" in said
    assert not (tmp_path / "new").exists()
    assert repack.main([str(info.folder), "-o", str(info.folder)]) == 2
    assert "another folder" in capsys.readouterr().err
