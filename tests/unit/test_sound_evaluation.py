"""`smalti evaluate` with a model of sound: pooled rates, what cannot be scored, words, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.codecs.media.audio import write_audio
from smalti.metrics.machine import recognition
from smalti.recipes.sounds import read_texts, text_of
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Audio


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """One second at 16 kHz and half a second of silence at 24 kHz."""
    folder = tmp_path / "sounds"
    (folder / "b").mkdir(parents=True)
    t = np.arange(16000) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 200 * t) * (1 + np.sin(2 * np.pi * 3 * t))
    write_audio(Audio(tone.astype(np.float32)[None], 16000), folder / "a.wav")
    write_audio(Audio(np.zeros((1, 12000), np.float32), 24000), folder / "b" / "a.wav")
    return folder


def test_rates_are_pooled_and_what_is_silent_is_counted(cli: Any, sound_model: Path, sounds: Path) -> None:
    ran = cli("evaluate", sound_model, sounds, "--json")
    found = ran.json
    assert (ran.code, found["sounds"], found["seconds"]) == (0, 2, 1.5)
    assert [rate["stages"] for rate in found["rates"]] == [1, 2, 3, 4]
    for k, rate in enumerate(found["rates"]):
        own = [item["rates"][k] for item in found["items"]]
        assert rate["bytes"] == sum(row["bytes"] for row in own)
        assert rate["kbps"] == pytest.approx(8 * rate["bytes"] / 1.5 / 1000)
        assert rate["payload_kbps"] == pytest.approx(8 * sum(row["payload_bytes"] for row in own) / 1.5 / 1000)
        assert rate["unscored"]["si-sdr"] == 1
        assert rate["scores"]["mel-distance"] == pytest.approx(np.mean([row["scores"]["mel-distance"] for row in own]))
    assert found["items"][1]["rates"][0]["scores"]["si-sdr"] is None
    assert [book["size"] for book in found["codebooks"]] == [64] * 4
    assert "16000 Hz" in found["metrics"]["si-sdr"]["convention"]
    text = cli("evaluate", sound_model, sounds).out
    assert "on 2 sounds, 1.5 s" in text
    assert "si-sdr: 1 of 2 sounds cannot be scored" in text


def test_files_of_a_rate(cli: Any, sound_model: Path, sounds: Path) -> None:
    (rate,) = cli("evaluate", sound_model, sounds / "a.wav", "--kbps", "2", "--json").json["rates"]
    assert rate["kbps"] <= 2
    assert rate["stages"] < 4
    write_audio(Audio(np.zeros((1, 1600), np.float32), 16000), sounds / "short.wav")
    ran = cli("evaluate", sound_model, sounds / "short.wav", sounds / "a.wav", "--kbps", "100", "--kbps", "2", "--json")
    assert (ran.code, [Path(item["file"]).name for item in ran.json["items"]]) == (1, ["a.wav"]), "one short sound stops no others"
    assert f"{sounds / 'short.wav'}: the smallest file" in ran.err
    assert f"{sounds / 'a.wav'}: the smallest file" in cli("evaluate", sound_model, sounds / "a.wav", "--kbps", "0.1").refusal()


def test_words(cli: Any, sound_model: Path, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr(recognition, "load", lambda: lambda wave: heard.append(len(wave)) or "one two")
    (tmp_path / "texts.json").write_text(json.dumps({"b/a.wav": "one two three"}))
    call = ("evaluate", sound_model, sounds, "--task", "word-error-rate", "--json", "--kbps", "9")
    found = cli(*call, "--transcripts", tmp_path / "texts.json").json
    assert found["tasks"]["word-error-rate"]["ceiling"] == pytest.approx(1 / 3)
    assert found["without_text"] == 1
    assert "1 of 2 sounds have no text" in cli(*(part for part in call if part != "--json"), "--transcripts", tmp_path / "texts.json").out
    assert set(heard) == {8000}, "only the one with a text is listened to"
    assert cli(*call).json["rates"][0]["tasks"]["word-error-rate"] == 0, "without texts the truth is what is heard in the originals"
    (tmp_path / "texts.json").write_text(json.dumps({"c.wav": "one"}))
    assert "none of 2 sounds has a text" in cli(*call, "--transcripts", tmp_path / "texts.json").refusal()


def test_texts_belong_to_the_longest_end_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"a.wav": "any", "b/a.wav": "of b"}))
    texts = read_texts(tmp_path / "t.json")
    assert [text_of(texts, Path(name)) for name in ("/x/b/a.wav", "/x/c/a.wav", "/x/a.flac")] == ["of b", "any", None]
    assert text_of({"/x/b/a.wav": "whole", "b/a.wav": "of b"}, Path("/x/b/a.wav")) == "whole"
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    assert text_of({"b/a.wav": "of b"}, Path("a.wav")) == "of b", "the folder that one stands in has a name, too"
    for content in ("[1]", '{"a": 1}', "{"):
        (tmp_path / "t.json").write_text(content)
        with pytest.raises(UsageError, match="no transcripts"):
            read_texts(tmp_path / "t.json")


def test_what_is_refused(cli: Any, sound_model: Path, samples: Any, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--bpp is for models of pictures" in cli("evaluate", sound_model, sounds, "--bpp", "1").refusal()
    for option in (("--batch", "16"), ("--tone-passes", "2"), ("--allocate",), ("--no-allocate",)):
        assert "is for models of pictures" in cli("evaluate", sound_model, sounds, *option).refusal()
    assert "--transcripts is for a task" in cli("evaluate", sound_model, sounds, "--transcripts", tmp_path / "t.json").refusal()
    assert "--kbps is for models of sound" in cli("evaluate", samples.tiny, samples.photo, "--kbps", "1").refusal()
    assert "no sounds in there" in cli("evaluate", sound_model, samples.folder).refusal()
    write_audio(Audio(np.zeros((1, 90), np.float32), 900), sounds / "slow.wav")
    ran = cli("evaluate", sound_model, sounds, "--json")
    assert (ran.code, ran.json["sounds"]) == (1, 2)
    assert "slow.wav: sound has 1000 to 768000" in ran.err
    monkeypatch.setitem(__import__("sys").modules, "pystoi", None)
    assert "pip install 'smalti[audio-metrics]'" in cli("evaluate", sound_model, sounds / "a.wav").err
    assert "pip install" in cli("evaluate", sound_model, sounds / "a.wav", "--metric", "stoi").refusal()
