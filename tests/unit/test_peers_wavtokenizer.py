"""WavTokenizer: its encoder is EnCodec's, its spectrum's inverse an inverse, and its checkpoints are as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.recipes import tiny_peers
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers import wavtokenizer
from smalti.tokenizers.signals import Audio

PUBLISHED = Path(__file__).parent / "published" / "wavtokenizer-75.json"


def wave(samples: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (1, samples)).astype(np.float32)


def test_its_encoder_is_encodecs_without_causality() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.EncodecConfig(
        num_filters=4,
        hidden_size=8,
        upsampling_ratios=[5, 2],
        num_lstm_layers=2,
        use_causal_conv=False,
        pad_mode="reflect",
        codebook_size=16,
    )
    torch.manual_seed(0)
    theirs = transformers.EncodecModel(config).encoder.eval()
    own = wavtokenizer.WavTokenizerNet(wavtokenizer.WavTokenizerConfig(4, (2, 5), 2, 8, 16, 32, 32, 1, 4, 40)).encoder.eval()
    names = wavtokenizer.names_of(wavtokenizer.WavTokenizerConfig(4, (2, 5), 2, 8, 16, 32, 32, 1, 4, 40))
    weights = theirs.state_dict()
    state = {}
    for key in own.state_dict():
        name = names(f"encoder.{key}").replace("feature_extractor.encodec.encoder.model.", "layers.").replace("conv.conv.", "conv.")
        name = name.replace("weight_g", "parametrizations.weight.original0").replace("weight_v", "parametrizations.weight.original1")
        state[key] = weights.pop(name)
    assert not weights, "all of the library's tensors have found their place"
    own.load_state_dict(state)
    for samples in (10, 20, 330):
        given = torch.from_numpy(wave(samples))[None]
        with torch.no_grad():
            assert torch.allclose(own(given), theirs(given), atol=1e-5)


def test_overlapped_frames_are_the_sound_they_were_cut_from() -> None:
    sound = torch.from_numpy(wave(400))
    window, hop = 40, 10
    edge = (window - hop) // 2
    padded = torch.nn.functional.pad(sound, (edge, edge))
    frames = padded.unfold(1, window, hop).transpose(1, 2) * torch.hann_window(window)[None, :, None]
    assert torch.allclose(wavtokenizer.overlapped(frames, hop), sound, atol=1e-4)


def test_published_names_and_shapes_are_those_of_our_network() -> None:
    shapes = {key: tuple(shape) for key, shape in json.loads(PUBLISHED.read_text())["tensors"].items()}
    settings = wavtokenizer.settings_of(shapes, "published")
    assert settings is not None
    config = wavtokenizer.wavtokenizer_config(settings)
    assert (config.strides, config.hop, config.codebook_size, config.window, config.lstm) == ((2, 4, 5, 8), 320, 4096, 1280, 2)
    published = wavtokenizer.names_of(config)
    with torch.device("meta"):
        own = {published(key): tuple(value.shape) for key, value in wavtokenizer.WavTokenizerNet(config).state_dict().items()}
    assert own == {key: shape for key, shape in shapes.items() if not key.startswith(wavtokenizer.LEFT_OUT)}


@pytest.mark.parametrize("change", ["renamed", "missing", "reshaped"])
def test_tensors_that_do_not_fit_are_refused_by_their_published_name(change: str, tmp_path: Path) -> None:
    source = tiny_peers.save("wavtokenizer", tmp_path)
    path = Path(source.removeprefix("file:"))
    tensors: dict[str, Any] = torch.load(path, weights_only=True)["state_dict"]
    name = "backbone.convnext.1.pwconv1.weight"
    tensor = tensors.pop(name)
    if change == "renamed":
        tensors["backbone.convnext.1.pwconv3.weight"] = tensor
    elif change == "reshaped":
        tensors[name] = tensor[:-1]
    torch.save({"state_dict": tensors}, path)
    expected = r"has shape \(95, 64\), expected \(96, 64\)" if change == "reshaped" else "is missing"
    with pytest.raises(ModelError, match=expected) as refused:
        zoo.load(source)
    assert name in str(refused.value)


def test_what_training_leaves_is_passed_over(tmp_path: Path) -> None:
    source = tiny_peers.save("wavtokenizer", tmp_path)
    path = Path(source.removeprefix("file:"))
    sound = Audio(wave(300), 24000)
    (expected,) = zoo.load(source).encode([sound])
    tensors = torch.load(path, weights_only=True)["state_dict"]
    assert len(np.unique(expected.arrays[0])) > 3
    torch.save({"state_dict": {**tensors, "multiperioddisc.discriminators.0.weight": torch.zeros(2)}}, path)
    assert zoo.load(source).encode([sound]) == [expected]
