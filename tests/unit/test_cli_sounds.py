"""The command line and the Python API on sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import smalti
from smalti.codecs.bitstream import write
from smalti.codecs.media.audio import read_audio, write_audio
from smalti.codecs.neural import info_of
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Audio

CONFIG = AudioResidualConfig(ResidualConfig(VQConfig(64, 8, cosine=True), levels=4), 16000, (8, 20), (8, 16), 1, 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound-model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        zoo.save(AudioResidual.from_config(CONFIG), folder)
    return folder


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 44100)).astype(np.float32)
    write_audio(Audio(samples, 44100), tmp_path / "a.flac")
    return tmp_path / "a.flac"


def test_a_sound_there_and_back(cli: Any, model: Path, sound: Path) -> None:
    (made,) = cli("tokenize", sound, "-m", model, "--json").json
    assert {key: made[key] for key in ("samples", "rate", "channels", "seconds", "stages")} == {
        "samples": 44100, "rate": 44100, "channels": 2, "seconds": 1.0, "stages": 4,
    }  # fmt: skip
    size = sound.with_suffix(".smt").stat().st_size
    assert made["bytes"] == size
    assert made["kbps"] == pytest.approx(8 * size / 1000)
    (about,) = cli("info", sound.with_suffix(".smt"), "--json").json
    assert about["streams"][0]["kbps"] == pytest.approx(made["kbps"])
    assert cli("detokenize", sound.with_suffix(".smt"), "-m", model).code == 0
    back = read_audio(sound.with_suffix(".wav"))
    assert back.samples.shape == (2, 44100)
    assert back.rate == 44100


def test_kbps_choose_the_levels(cli: Any, model: Path, sound: Path) -> None:
    (whole,) = cli("tokenize", sound, "-m", model, "--json").json
    (half,) = cli("tokenize", sound, "-m", model, "--force", "--kbps", whole["kbps"] / 2, "--json").json
    assert half["kbps"] <= whole["kbps"] / 2
    assert 1 <= half["stages"] < 4
    assert "smallest file" in cli("tokenize", sound, "-m", model, "--force", "--kbps", 0.1).refusal()


def test_json_and_folders(cli: Any, model: Path, sound: Path, tmp_path: Path) -> None:
    assert cli("tokenize", tmp_path, "-m", model, "-o", tmp_path / "out", "--format", "json").code == 0
    assert cli("detokenize", tmp_path / "out", "-m", model).code == 0
    assert read_audio(tmp_path / "out" / "a.wav").samples.shape == (2, 44100)


def test_sounds_need_a_model_and_an_ending_of_sound(cli: Any, model: Path, sound: Path) -> None:
    assert "name a model of sound" in cli("tokenize", sound).refusal()
    assert cli("tokenize", sound, "-m", model).code == 0
    assert ".wav, .flac" in cli("detokenize", sound.with_suffix(".smt"), "-m", model, "-o", sound.with_suffix(".png")).refusal()


def test_the_same_from_python(model: Path, sound: Path) -> None:
    audio = smalti.read(sound)
    assert isinstance(audio, Audio)
    assert smalti.read(sound.read_bytes()).samples.shape == (2, 44100)  # type: ignore[union-attr]
    small, large = (smalti.compress(sound, str(model), kbps=rate, device="cpu") for rate in (3.0, 100.0))
    assert len(small) <= 3000 / 8 < len(large)
    back = smalti.decompress(large, str(model), device="cpu")
    assert isinstance(back, Audio)
    assert back.samples.shape == (2, 44100)


def test_a_chunked_file_is_cut_in_levels_and_in_time(model: Path, sound: Path) -> None:
    tokenizer = zoo.load(str(model))
    audio = Audio(np.tile(smalti.read(sound).samples, (1, 40)), 44100)  # type: ignore[union-attr]
    (tokens,) = tokenizer.encode([audio])
    data = write(tokens, UniformPrior(), info_of(tokenizer, audio, tokens, UniformPrior.id), "chunked")
    from smalti.codecs.bitstream import parse

    file = parse(data)
    assert file.streams[0].grouped
    assert file.segments() > 2
    assert file.tokens(tokens.layout, UniformPrior()) == tokens
    assert parse(file.cut(2)).tokens(tokens.layout, UniformPrior()) == tokens.prefix(2)
