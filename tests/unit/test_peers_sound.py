"""Public networks of sound: their tokens and sounds are their libraries' own, at any length, and files cost what the tokens say."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import smalti
from smalti import api
from smalti.codecs.bitstream import StreamInfo, write
from smalti.codecs.neural import fingerprint_bytes
from smalti.codecs.priors.uniform import UniformPrior
from smalti.recipes import tiny_peers
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import ModelError
from smalti.tokenizers.peers.sound import PeerSound
from smalti.tokenizers.signals import Audio
from smalti.tokenizers.tokens import Layout, Stage, Tokens

FAMILIES = ("encodec", "dac", "mimi", "xcodec", "snac")
Made = Callable[[str], tuple[Any, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """(the library's own network, the name of its checkpoint) of a family."""
    kept: dict[str, tuple[Any, str]] = {}

    def make(family: str) -> tuple[Any, str]:
        for package in tiny_peers.PACKAGES[family]:
            pytest.importorskip(package)
        if family not in kept:
            folder = tmp_path_factory.mktemp(family)
            kept[family] = tiny_peers.made(family, folder), f"hf:{folder}"
        return kept[family]

    return make


def wave(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (1, samples)).astype(np.float32)


def own_codes(family: str, network: Any, samples: np.ndarray) -> list[np.ndarray]:
    """What the library says of a sound, by its documented calls."""
    given = torch.from_numpy(samples)[None]
    with torch.no_grad():
        if family == "encodec":
            found = network.encode(given, bandwidth=network.config.target_bandwidths[-1]).audio_codes[0].unbind(1)
        elif family == "snac":
            found = network.encode(given)
        else:
            found = network.encode(given).audio_codes.unbind(1)
    return [codes.numpy() for codes in found]


def own_sound(family: str, network: Any, codes: list[np.ndarray]) -> np.ndarray:
    stacked = torch.from_numpy(np.stack(codes, 1)) if family != "snac" else None
    with torch.no_grad():
        if family == "encodec":
            found = network.decode(stacked[None], [None]).audio_values
        elif family == "dac":
            found = network.decode(audio_codes=stacked).audio_values
        elif family == "snac":
            found = network.decode([torch.from_numpy(level) for level in codes])
        else:
            found = network.decode(stacked).audio_values
    return found.reshape(-1).numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_sounds_are_the_librarys_own(family: str, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    network, source = made(family)
    tokenizer: Any = zoo.load(source)
    samples = wave(9 * tokenizer.plan.step_samples)
    (tokens,) = tokenizer.encode([Audio(samples, tokenizer.plan.rate)])
    expected = own_codes(family, network, samples)
    assert len(tokens.arrays) == len(expected) > 1
    for array, codes in zip(tokens.arrays, expected, strict=True):
        assert np.array_equal(array, codes)
        assert len(np.unique(array)) > 3, "a network that says one thing only would prove nothing"
    if family == "snac":  # its noise, which we leave out
        monkeypatch.setattr(torch, "randn", lambda size, **kwargs: torch.zeros(size, **kwargs))
    (sound,) = tokenizer.decode([tokens])
    drawn = np.clip(own_sound(family, network, expected), -1, 1)
    assert sound.samples.shape == samples.shape
    assert 0 <= samples.shape[1] - len(drawn) < 5, "transposed convolutions of odd strides end early, by less than their stride"
    scale = np.abs(drawn).max()
    assert scale > 0
    assert np.abs(sound.samples[0, : len(drawn)] - drawn).max() <= 1e-5 * scale


def test_snac_draws_the_same_sound_twice(made: Made) -> None:
    _, source = made("snac")
    tokenizer: Any = zoo.load(source)
    (tokens,) = tokenizer.encode([Audio(wave(1000), 24000)])
    first, second = tokenizer.decode([tokens, tokens])
    assert np.array_equal(first.samples, second.samples)


def test_silence_fills_up_a_sound(made: Made) -> None:
    network, source = made("snac")
    tokenizer: Any = zoo.load(source)
    samples = wave(1003)
    (tokens,) = tokenizer.encode([Audio(samples, 24000)])
    assert all(np.array_equal(a, b) for a, b in zip(tokens.arrays, own_codes("snac", network, samples), strict=True))


def test_long_sounds_pass_in_pieces(made: Made) -> None:
    _, source = made("dac")
    whole: Any = zoo.load(source)
    parts: Any = zoo.load(source)
    parts.piece_steps, parts.margin_steps = 50, 40  # convolutions that see less than 40 steps: pieces equal the whole
    sound = Audio(wave(1730), whole.plan.rate)
    (tokens,) = whole.encode([sound])
    assert parts.encode([sound]) == [tokens]
    (expected,), (found,) = whole.decode([tokens]), parts.decode([tokens])
    assert np.abs(found.samples - expected.samples).max() <= 1e-5 * np.abs(expected.samples).max()
    parts.margin_steps = 0
    assert parts.encode([sound]) != [tokens]


def test_a_stretch_is_cut_from_the_whole(made: Made) -> None:
    _, source = made("mimi")
    sound = Audio(wave(24000), 24000)
    data = api.compress(sound, source, stages=2)
    whole = smalti.decompress(data, source)
    part = smalti.decompress(data, source, start=0.25, end=0.5)
    assert np.array_equal(part.samples, whole.samples[:, 6000:12000])


@pytest.mark.parametrize("rate", [(24000, 320, 32, 1024), (44100, 512, 9, 1024), (24000, 1920, 8, 2048), (16000, 320, 8, 1024)])
@pytest.mark.parametrize("seconds", [1, 2, 4, 10, 31, 60])
def test_files_cost_what_the_tokens_say(rate: tuple[int, int, int, int], seconds: int) -> None:
    """Layouts of EnCodec at 24 kbps, DAC, Mimi and X-Codec."""
    hertz, hop, levels, vocab = rate
    steps = -(-seconds * hertz // hop)
    stages = tuple(Stage(f"level{k}", (("channel", 1), ("time", steps)), vocab) for k in range(levels))
    signal = (("samples", seconds * hertz), ("rate", hertz), ("channels", 1))
    layout = Layout(stages, tuple(range(1, levels + 1)), signal)
    rng = np.random.default_rng(seconds)
    tokens = Tokens(layout, tuple(rng.integers(0, vocab, stage.shape).astype(np.int32) for stage in stages))
    data = write(tokens, UniformPrior(), StreamInfo("audio", bytes(6), UniformPrior.id, levels, signal, 0))
    claimed = levels * steps * math.log2(vocab) / 8
    assert claimed <= len(data) <= claimed * 1.01 + 40


def test_files_name_the_model_and_come_back(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    _, source = made("dac")
    sound = Audio(wave(5000), 44100)
    data = api.compress(sound, source)
    assert smalti.decompress(data, source).samples.shape == (1, 5000)
    with pytest.raises(ModelError, match="not installed"):
        smalti.decompress(data)
    monkeypatch.setenv("SMALTI_MODELS", str(Path(source.removeprefix("hf:")).parent))
    assert np.array_equal(smalti.decompress(data).samples, smalti.decompress(data, source).samples)
    assert any(info.kind == "audio-peer" and info.config["family"] == "dac" for info in smalti.models())


def test_saved_as_a_folder_of_ours_it_says_the_same(made: Made, tmp_path: Path) -> None:
    _, source = made("mimi")
    tokenizer: Any = zoo.load(source)
    zoo.save(tokenizer, tmp_path / "mine", half=False)
    again: Any = zoo.load(str(tmp_path / "mine"))
    assert isinstance(again, PeerSound)
    sound = Audio(wave(2000), 24000)
    assert again.encode([sound]) == tokenizer.encode([sound])
    assert again.fingerprint == zoo.fingerprint_of(zoo.find(str(tmp_path / "mine")))


def test_the_fingerprint_is_that_of_config_and_weights(made: Made, tmp_path: Path) -> None:
    _, source = made("dac")
    tokenizer = zoo.load(source)
    assert tokenizer.fingerprint == zoo.fingerprint_of(zoo.find(source))
    other = zoo.load(tiny_peers.save("dac", tmp_path, seed=1))
    assert fingerprint_bytes(other) != fingerprint_bytes(tokenizer)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("change", ["renamed", "missing", "reshaped"])
def test_tensors_that_do_not_fit_are_refused(family: str, change: str, made: Made, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    _, source = made(family)
    folder = Path(source.removeprefix("hf:"))
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    snac = family == "snac"
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True) if snac else load_file(folder / "model.safetensors")
    name = sorted(name for name in tensors if tensors[name].ndim > 1)[3]
    tensor = tensors.pop(name)
    if change == "renamed":
        tensors[f"other.{name}"] = tensor
    elif change == "reshaped":
        tensors[name] = torch.cat([tensor, tensor])
    save_file({key: value.contiguous() for key, value in tensors.items()}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    shapes = rf"has shape \({2 * tensor.shape[0]}, .*\), expected \({tensor.shape[0]}, "
    expected = {"renamed": "is (missing|unknown to this config)", "missing": "is missing", "reshaped": shapes}[change]
    with pytest.raises(ModelError, match=expected) as refused:
        zoo.load(f"hf:{tmp_path}")
    assert name.rpartition(".")[2] in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_config_that_asks_for_more_than_the_weights_is_refused(made: Made, tmp_path: Path) -> None:
    _, source = made("dac")
    folder = Path(source.removeprefix("hf:"))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    config = json.loads((folder / "config.json").read_text()) | {"decoder_hidden_size": 2**16}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"asks for .* weights, the checkpoint holds"):
        zoo.load(f"hf:{tmp_path}")


def test_a_config_of_snac_that_asks_for_more_than_the_weights_is_refused(made: Made, tmp_path: Path) -> None:
    _, source = made("snac")
    folder = Path(source.removeprefix("hf:"))
    (tmp_path / "pytorch_model.bin").write_bytes((folder / "pytorch_model.bin").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | {"decoder_dim": 2**17}))
    with pytest.raises(ModelError, match=r"asks for .* weights, the checkpoint holds"):
        zoo.load(f"hf:{tmp_path}")


@pytest.mark.parametrize(("key", "value"), [("audio_channels", 2), ("normalize", True), ("chunk_length_s", 1.0)])
def test_what_encodec_keeps_beside_its_tokens_is_refused_by_its_key(key: str, value: Any, made: Made, tmp_path: Path) -> None:
    made("encodec")
    source = tiny_peers.save("encodec", tmp_path, **{key: value})
    with pytest.raises(ModelError, match=key):
        zoo.load(source)


def test_a_missing_package_names_its_extra(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    _, source = made("snac")
    monkeypatch.setitem(sys.modules, "snac", None)
    with pytest.raises(ModelError, match=r"pip install 'smalti\[peers\]'"):
        zoo.load(source)


def test_code_in_torch_files_is_not_run(made: Made, tmp_path: Path) -> None:
    _, source = made("snac")
    (tmp_path / "config.json").write_bytes(Path(source.removeprefix("hf:"), "config.json").read_bytes())
    torch.save({"encoder": torch.nn.Conv1d(1, 1, 1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="plain tensors"):
        zoo.load(f"hf:{tmp_path}")


def test_unknown_families_and_names_say_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="model_type 'bert', none of the families known here: encodec"):
        zoo.find(f"hf:{tmp_path}")
    with pytest.raises(ModelError, match="hub:nobody/nothing downloads it"):
        zoo.find("hf:nobody/nothing")
    with pytest.raises(ModelError, match="OWNER/NAME"):
        zoo.find("hf:no/such/folder/here")


def test_fitted_tables_lie_beside_the_model(made: Made, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from smalti.cli import program
    from smalti.codecs.media.audio import write_audio

    source = tiny_peers.save("dac", tmp_path / "model")
    quiet = Audio(wave(8000) * 1e-3, 16000)
    write_audio(quiet, tmp_path / "a.wav")
    ran = CliRunner().invoke(program, ["fit-prior", source, str(tmp_path / "a.wav"), "--json"], standalone_mode=False)
    assert ran.return_value == 0, ran.output
    told = json.loads(ran.output)
    assert told["bits_per_token"] < told["uniform_bits_per_token"] == pytest.approx(6, abs=1e-3)
    assert (tmp_path / "model" / "static.safetensors").is_file()
    codec = api.codec(source, prior="static")
    data = codec.compress(quiet)
    assert len(data) < len(api.compress(quiet, source))
    assert np.array_equal(smalti.decompress(data, source).samples, codec.decompress(data).samples)
