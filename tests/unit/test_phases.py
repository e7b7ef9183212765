"""What phases are worth: magnitudes and phases of two sounds put together, and a low band in tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.recipes.bench import phases
from smalti.recipes.bench.phases import LowBand, Spectra, turned, variants
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Audio


def tone(hertz: float, phase: float = 0.0, size: float = 0.3) -> Audio:
    t = np.arange(8000) / 16000
    return Audio((size * np.sin(2 * np.pi * hertz * t + phase)).astype(np.float32)[None], 16000)


def error(wave: np.ndarray, audio: Audio) -> float:
    return float(np.square(wave - audio.samples[0])[800:-800].mean() / np.square(audio.samples).mean())


def test_the_band_below_comes_back_and_nothing_above() -> None:
    low = LowBand()
    both = Audio(tone(440).samples + tone(3000).samples, 16000)
    assert error(low.wave(low.frames(both), 16000, 8000), tone(440)) < 1e-4


def test_each_table_says_more() -> None:
    rng = np.random.default_rng(0)
    low = LowBand()
    frames = rng.standard_normal((1500, 40)) * np.linspace(3, 0.1, 40)
    low.fit(frames, 3)
    assert [table.shape for table in low.tables] == [(1024, 40)] * 3
    errors = [float(np.square(found - frames).mean()) for found in low.coded(frames)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]
    with pytest.raises(UsageError, match="1023 frames of training sounds"):
        LowBand().fit(frames[:1023], 1)


def test_rows_have_the_phases_that_they_say() -> None:
    quiet, late = tone(440, size=0.1), tone(440, phase=2.0)
    rows = dict(variants(late, quiet, LowBand()))
    assert error(rows["decoded"], quiet) < 1e-6
    assert error(rows["its magnitudes, phases of the original"], tone(440, 2.0, 0.1)) < 1e-3
    assert error(rows["magnitudes of the original, its phases"], tone(440)) < 1e-3
    assert error(rows["phases of the original below 1000 Hz"], tone(440, 2.0, 0.1)) < 1e-3
    high = dict(variants(tone(3000, 2.0), tone(3000), LowBand()))
    assert error(high["phases of the original below 2000 Hz"], tone(3000)) < 1e-3, "above they stay"


def test_spectra_come_back() -> None:
    spectra, wave = Spectra(16000), tone(440).samples[0]
    assert np.abs(spectra.wave(spectra.of(wave), 8000) - wave).max() < 1e-6
    assert np.allclose(turned(np.array([2j]), np.array([-3.0])), [-2])


def test_what_cannot_be_is_refused(tmp_path: Path, capsys: Any) -> None:
    assert phases.main(["no-such-model", str(tmp_path)]) == 2
    assert "phases: " in capsys.readouterr().err
