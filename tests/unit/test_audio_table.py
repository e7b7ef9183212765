"""The table of sound models and rivals: pooled rates, what is left out, words, and its command line."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.codecs.media.audio import write_audio
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors.uniform import UniformPrior
from smalti.recipes import audio_table, models
from smalti.recipes.audio_table import Setting, Sound, as_json, main, markdown, measure, ours, payload_bytes, read_sounds, rival
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig, AudioResidualNet
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Audio


def sound(seconds: float, rate: int = 16000, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    return Audio((0.3 * np.sin(2 * np.pi * 200 * t) + 0.02 * rng.standard_normal(len(t))).astype(np.float32)[None], rate)


@pytest.fixture(scope="module")
def codec() -> NeuralCodec:
    torch.manual_seed(0)
    net = AudioResidualNet(AudioResidualConfig(ResidualConfig(VQConfig(16, 4, cosine=True), levels=3), 16000, (16, 20), (8, 8), 0, 0))
    net(torch.randn(2, 1, 6400) * 0.1)
    return NeuralCodec(AudioResidual(net, name="tiny"), UniformPrior(), "tiny")


def test_rates_are_pooled_over_all_seconds(codec: NeuralCodec) -> None:
    sounds = [Sound("a", sound(2.0)), Sound("b", sound(0.1))]
    (row,) = measure(sounds, [Setting("tiny", codec, Target(stages=2))], ("mel-distance", "stoi"))
    files = [codec.compress(item.audio, Target(stages=2)) for item in sounds]
    assert row.seconds == pytest.approx(2.1)
    assert row.kbps == pytest.approx(8 * sum(map(len, files)) / 2.1 / 1000)
    # uniform: 4 bits a token, 50 frames a second, 2 levels
    assert row.payload_kbps == pytest.approx(0.4, rel=0.15)
    assert row.payload_kbps < row.kbps
    assert row.unscored == {"stoi": 1}, "a tenth of a second is too short for STOI, and said so"
    assert row.scores["mel-distance"] > 0
    assert min(row.encode_speed, row.decode_speed) > 0


def test_settings_are_named() -> None:
    setting = rival("opus:6")
    assert (setting.label, setting.target) == ("Opus, 6 kbps asked", Target(quality=6))
    for text in ("opus", "opus:x", "webp:3", "opuss:6"):
        with pytest.raises(UsageError):
            rival(text)


def test_a_model_is_measured_at_its_stages(codec: NeuralCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "codec", lambda name: codec)
    assert [setting.target.stages for setting in ours("tiny")] == [1, 2, 3]
    assert [setting.label for setting in ours("tiny:2")] == ["tiny, 2 stages"]
    with pytest.raises(UsageError, match="decodes 1, 2, 3 stages, found 4"):
        ours("tiny:4")


def test_payload_is_what_is_coded(codec: NeuralCodec) -> None:
    data = codec.compress(sound(1.0))
    assert len(data) - 60 < payload_bytes(codec, data) < len(data) - 15
    opus = rival("opus:8")
    data = opus.codec.compress(sound(1.0), opus.target)
    assert payload_bytes(opus.codec, data) < len(data) - 50


def test_words_stand_beside_those_of_the_originals(codec: NeuralCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    class Words:
        """Two of three texts are understood in what was decoded, all in the originals."""

        def __init__(self, texts: list[str]) -> None:
            assert texts == ["one", "two"]

        def __call__(self, references: list[Audio], decoded: list[Audio]) -> Score:
            return Score(0.5 if references[0] is not decoded[0] else 0.0, "", "lower", "made up")

        def ceiling(self, references: list[Audio]) -> Score:
            return self(references, references)

    from smalti.tokenizers.contracts import Score

    monkeypatch.setattr(audio_table, "word_error_rate", Words)
    sounds = [Sound("a", sound(0.5), "one"), Sound("b", sound(0.5)), Sound("c", sound(0.5), "two")]
    rows = measure(sounds, [Setting("tiny", codec, Target(stages=1))], ("mel-distance",), words=True)
    assert [(row.codec, row.word_error_rate) for row in rows] == [("originals", 0.0), ("tiny", 0.5)]
    lines = markdown(rows, ("mel-distance",)).splitlines()
    assert lines[0] == "| codec | kbps | payload | mel | word errors | encode | decode |"
    assert lines[2] == "| originals |  |  |  | 0.0 % |  |  |"
    assert "| 50.0 % |" in lines[3]
    assert json.loads(as_json(rows))[0]["kbps"] is None


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rate in (("a", 16000), ("b", 24000)):
        write_audio(sound(0.6, rate), tmp_path / f"{name}.wav")
    table = tmp_path / "rows.json"
    arguments = [str(tmp_path), "--only-rate", "16000", "--rival", "opus:6", "--metric", "mel-distance-4k", "--json", str(table), "-q"]
    monkeypatch.setattr(sys, "argv", ["audio_table", *arguments])
    assert main() == 0
    (row,) = json.loads(table.read_text())
    assert (row["codec"], row["files"]) == ("Opus, 6 kbps asked", 1)
    assert capsys.readouterr().out.count("\n") == 3
    for refused in ([str(tmp_path)], [str(tmp_path), "--only-rate", "8000", "--rival", "opus:6"]):
        monkeypatch.setattr(sys, "argv", ["audio_table", *refused])
        assert main() == 2
    assert [sound.name for sound in read_sounds([tmp_path], 24000, {"b.wav": "hello"})] == ["b.wav"]
    with pytest.raises(SignalError, match="no sound"):
        measure([], [rival("opus:6")])
    assert math.isfinite(row["scores"]["mel-distance-4k"])
