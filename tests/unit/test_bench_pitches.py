"""What WORLD draws again: rows, pitches told seldom, envelopes in bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.codecs.media.audio import write_audio
from smalti.recipes.bench import pitches, scored
from smalti.recipes.bench.pitches import banded, between, seldom, variants
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.pitch import PitchConfig
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Audio

PLAIN = AudioResidualConfig(ResidualConfig(VQConfig(16, 8), levels=2), 16000, (80, 4), (8, 16), 1, 1)
VOICED = AudioResidualConfig(ResidualConfig(VQConfig(16, 8), levels=2), 16000, (80, 4), (8, 16), 1, 1, PitchConfig(width=16))


def sung(hertz: float) -> Audio:
    t = np.arange(8000) / 16000
    return Audio((0.1 * sum(np.cos(2 * np.pi * k * hertz * t) / k for k in range(1, 20))).astype(np.float32)[None], 16000)


def test_each_row_is_drawn_at_its_pitch() -> None:
    torch.manual_seed(0)
    rows = dict(variants(sung(160), AudioResidual.from_config(VOICED)))
    assert next(iter(rows)) == "as it is"
    assert len(rows) == 7
    for name, wave in rows.items():
        assert wave.shape == (8000,)
        assert wave.dtype == np.float32
        if "model" not in name:  # which nobody taught
            spectrum = np.abs(np.fft.rfft(wave[2000:6000] * np.hanning(4000)))
            assert spectrum[20:60].argmax() + 20 == pytest.approx(40, abs=1), "160 Hz in bins of 4 Hz"


def test_pitches_between_those_that_are_told() -> None:
    found = between(np.array([0.0, 100.0, 200.0, 0.0]), np.arange(4.0), np.array([0, 0.4, 0.6, 1, 1.5, 2, 2.4, 2.6]))
    assert found == pytest.approx([0, 0, 100, 100, 150, 200, 200, 0])
    assert not between(np.zeros(3), np.arange(3.0), np.arange(5.0)).any()


def test_envelopes_that_are_flat_or_lines_stay() -> None:
    flat = np.full((9, 513), 0.3)
    assert banded(flat, 16000) == pytest.approx(flat)
    line = np.linspace(0, 1, 9)[:, None] * np.arange(1, 4)
    assert seldom(line) == pytest.approx(line)
    assert seldom(np.eye(9)[:, 1:2]).max() == 0, "what lies between is not told"


@pytest.mark.parametrize(
    ("config", "rate", "why"), [(PLAIN, 16000, "hears no pitch"), (VOICED, 8000, "8000 Hz, 1 channels, expected 16000 Hz")]
)
def test_what_cannot_be_measured_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, config: AudioResidualConfig, rate: int, why: str
) -> None:
    monkeypatch.setattr(scored, "judges_of", lambda names: (dict.fromkeys(names), []))
    zoo.save(AudioResidual.from_config(config), tmp_path / "model")
    write_audio(Audio(sung(160).samples, rate), tmp_path / "a.wav")
    assert pitches.main([str(tmp_path), "--model", str(tmp_path / "model")]) == 2
    assert why in capsys.readouterr().err
