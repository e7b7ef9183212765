"""The page to listen to: what lies beside it, what it says, and its command line."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from smalti.codecs.media.audio import read_audio, write_audio
from smalti.codecs.media.images import read_image
from smalti.recipes.listening.__main__ import main
from smalti.recipes.listening.spectrogram import HEIGHT, WIDTH, loudest_of, spectrogram
from smalti.tokenizers.signals import Audio


def tone(hertz: float, size: float = 0.3, rate: int = 16000) -> Audio:
    return Audio((size * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)).astype(np.float32)[None], rate)


class Links(HTMLParser):
    """Every place that the page fetches something from."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["listening", *map(str, arguments)])
    return main()


def test_a_page_with_its_files_beside_it(sound_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, out = tmp_path / "sounds", tmp_path / "page"
    sounds.mkdir()
    write_audio(tone(300), sounds / "a <b>.wav")
    write_audio(Audio(np.zeros((2, 12000), np.float32), 24000), sounds / "silent.wav")
    arguments = (sounds, "--model", f"{sound_model}:2", "--rival", "opus:6", "-o", out, "-q")
    assert call(monkeypatch, *arguments) == 0
    text = (out / "index.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert sorted([*links.found, "index.html"]) == sorted(path.name for path in out.iterdir())
    assert len(links.found) == 2 * 2 * 3
    assert "http" not in text, "it works offline"
    assert "a &lt;b&gt;.wav" in text
    assert text.count("<audio") == 6
    assert re.search(r"Opus voip, 6 kbps asked <b>\d+\.\d\d kbps</b>", text)
    assert "0.5 s, 24000 Hz, 2 channels" in text
    assert "<dt>SI-SDR, dB</dt><dd>\N{EN DASH}</dd>" in text, "silence has no ratio"
    assert np.abs(read_audio(out / "001-original.wav").samples - tone(300).samples).max() <= 2**-15
    assert read_audio(out / "002-01.wav").samples.shape == (2, 12000)
    assert read_image(out / "001-02.png").pixels.shape == (HEIGHT, WIDTH, 3)
    assert call(monkeypatch, *arguments) == 2, "the folder is not empty"
    assert call(monkeypatch, *arguments, "--force") == 0


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_audio(tone(300), tmp_path / "a.wav")
    assert call(monkeypatch, tmp_path, "-o", tmp_path / "page") == 2
    assert "needs a model or a rival" in capsys.readouterr().err
    assert call(monkeypatch, tmp_path, "--only-rate", 8000, "--rival", "opus:6", "-o", tmp_path / "page") == 2
    assert "no sound to listen to" in capsys.readouterr().err
    assert call(monkeypatch, tmp_path, "--rival", "opus:6", "-o", tmp_path / "a.wav") == 2
    assert "a.wav: a file" in capsys.readouterr().err


def test_a_tone_is_a_line_where_it_belongs() -> None:
    def bright(audio: Audio, loudest: float | None = None) -> np.ndarray:
        return spectrogram(audio, loudest).pixels.sum(2).astype(int)[:, WIDTH // 4 : -WIDTH // 4].mean(1)

    low, high = bright(tone(1000)), bright(tone(7000))
    assert abs(int(low.argmax()) - HEIGHT * 7 / 8) <= 2
    assert abs(int(high.argmax()) - HEIGHT / 8) <= 2
    assert bright(tone(1000, 0.03), loudest_of(tone(1000))).max() < 0.9 * low.max(), "quieter is darker"
    assert len({tuple(pixel) for pixel in spectrogram(Audio(np.zeros((1, 1), np.float32), 8000)).pixels.reshape(-1, 3)}) == 1
