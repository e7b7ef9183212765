"""The pitch stage: what is heard in frames, what a decoder is told, and how a model is taught."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.codecs.media.audio import write_audio
from smalti.recipes import fit_pitch
from smalti.recipes.fit_pitch import Voice, fit, harvested, labelled, likely, with_pitch
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.pitch import PitchConfig, PitchEstimator, told
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig, AudioResidualNet
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.nets.causal import Memory
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Audio

HOP, STEP, RATE = 320, 80, 16000
CONFIG = PitchConfig(steps=63, width=32, layers=1)
LEVELS = ResidualConfig(VQConfig(16, 8), levels=2)
PLAIN = AudioResidualConfig(LEVELS, RATE, (STEP, 4), (8, 16), 1, 1)


def sung(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """Harmonics that fall by 6 dB an octave: float32."""
    t, count = np.arange(round(seconds * RATE)) / RATE, int(4000 / hertz)
    return (0.1 * sum(np.cos(2 * np.pi * k * hertz * t + k * k) / k for k in range(1, count + 1))).astype(np.float32)


def estimator(config: PitchConfig = CONFIG) -> PitchEstimator:
    torch.manual_seed(0)
    return PitchEstimator(config, HOP, STEP, RATE)


def test_a_frame_hears_what_lies_between_its_first_sample_and_those_ahead() -> None:
    net, frames = estimator(), 6
    wave = torch.randn(1, 1, frames * HOP + net.ahead)
    odds = net(wave)
    assert odds.shape == (1, CONFIG.vocab, frames)
    for frame in range(frames):
        later = wave.clone()
        later[..., (frame + 1) * HOP + net.ahead :] += 1
        assert torch.equal(net(later)[..., : frame + 1], odds[..., : frame + 1])
    moment = HOP + net.lead
    assert net.ahead == 240 + 384, "half of the longest window behind that moment"
    assert 0 <= net.before <= moment


def test_pieces_are_the_whole() -> None:
    net, memory = estimator(), Memory()
    wave = torch.randn(2, 1, 12 * HOP + net.ahead)
    parts = [net(wave[..., i * HOP : (i + 3) * HOP + net.ahead], memory) for i in range(0, 12, 3)]
    assert torch.allclose(torch.cat(parts, -1), net(wave), atol=1e-5)


def test_entries_are_a_grid_of_equal_ratios_and_none() -> None:
    net = estimator()
    hertz = net.hertz(torch.arange(CONFIG.vocab)[None])[0]
    assert hertz[0] == 0
    assert (hertz[1], hertz[-1]) == (pytest.approx(60), pytest.approx(500))
    assert np.ptp(np.diff(np.log(hertz[1:].numpy()))) < 1e-9
    with torch.no_grad():
        net.last.bias[0] = 100.0
    assert not net.entries(torch.randn(1, 1, 2 * HOP + net.ahead)).any(), "surely none"
    assert net.entries(torch.zeros(1, 1, 2 * HOP + net.ahead)).shape == (1, 2), "silence is heard too"


def test_what_a_decoder_is_told() -> None:
    found = told(torch.tensor([[0.0, 150.0, 150.0 * np.e]], dtype=torch.float64))
    assert torch.allclose(found, torch.tensor([[[0, 0, 1], [0, 1, 1], [0, 0, 1.0]]]), atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"lowest": 10.0},
        {"lowest": 500.0},
        {"highest": 3000.0},
        {"steps": 1},
        {"steps": 5000},
        {"windows": ()},
        {"windows": (0.2,)},
        {"windows": (0.0,)},
        {"width": 0},
        {"layers": -1},
        {"surest": 1.0},
    ],
)
def test_impossible_pitches_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        PitchConfig(**changes)


def test_windows_that_begin_before_their_frame_are_refused() -> None:
    with pytest.raises(UsageError, match=r"0\.1 s are too long for frames of 320 samples"):
        estimator(PitchConfig(windows=(0.1,)))


def test_an_estimator_learns_to_hear_tones_between_those_it_was_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_pitch, "BATCH", 8)
    monkeypatch.setattr(fit_pitch, "FRAMES", 16)
    net = estimator()
    hertz = np.geomspace(80, 400, 13)
    noise = Voice((0.1 * np.random.default_rng(0).standard_normal(10 * RATE)).astype(np.float32), np.zeros(2000, np.float32))
    taught = [noise] + [Voice(sung(value), np.full(200, value, np.float32)) for value in hertz]
    untaught = fit(net, taught, 1, 0)
    assert fit(net, taught, 500, 0) < untaught - 1
    for value in (93.0, 170.0, 333.0):
        heard = net.hertz(net.entries(torch.from_numpy(sung(value))[None, None]))[0]
        assert heard[2:].median() == pytest.approx(value, rel=0.06)
    hiss = torch.from_numpy(noise.wave[:RATE])[None, None]
    assert (net.entries(hiss) == 0).float().mean() > 0.8


def test_odds_stand_around_the_pitch_and_on_none_outside_the_grid() -> None:
    net = estimator()
    odds = likely(net, torch.tensor([[0.0, 60.0, 200.0, 500.0, 30.0, 900.0]]))
    assert torch.allclose(odds.sum(-1), torch.ones(1, 6))
    assert odds.argmax(-1)[0].tolist()[:2] == [0, 1]
    assert odds.argmax(-1)[0].tolist()[3:] == [63, 0, 0]
    assert net.hertz(odds.argmax(-1))[0, 2] == pytest.approx(200, rel=0.02)


def test_harvest_hears_a_tone_and_labels_are_kept(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.wav", tmp_path / "labels"
    write_audio(Audio(sung(150)[None], RATE), path)
    voice = labelled(path, RATE, CONFIG, kept)
    assert isinstance(voice, Voice)
    middle = voice.hertz[40:160]
    assert np.median(middle[middle > 0]) == pytest.approx(150, rel=0.01)
    assert np.array_equal(voice.hertz, harvested(voice.wave, RATE, CONFIG))
    (place,) = kept.iterdir()
    np.save(place, np.full(7, 3, np.float32))
    again = labelled(path, RATE, CONFIG, kept)
    assert isinstance(again, Voice)
    assert again.hertz.tolist() == [3.0] * 7, "not looked for again"
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    assert "b.wav" in str(labelled(tmp_path / "b.wav", RATE, CONFIG, None))


def test_a_model_with_pitch_says_what_it_said_without() -> None:
    torch.manual_seed(0)
    plain = AudioResidualNet(PLAIN).eval()
    net = with_pitch(plain, CONFIG).eval()
    wave = torch.randn(1, 1, 4 * HOP + net.ahead)
    pitch, *levels = net.tokenize(wave)
    before = plain.tokenize(wave[..., : 4 * HOP + plain.ahead])
    assert all(torch.equal(a, b) for a, b in zip(levels, before, strict=True))
    z = torch.randn(1, 8, 5)
    first, now = plain.decoder[0](z), net.decoder[0](torch.cat([z, torch.randn(1, 3, 5)], 1))
    assert torch.allclose(first, now, atol=1e-6), "what it is told counts nothing yet"
    assert pitch.shape == (1, 4)
    twice = with_pitch(net, CONFIG)
    assert torch.equal(twice.decoder[-1].colour.weight, net.decoder[-1].colour.weight), "a decoder that was trained stays"


def test_the_command_teaches_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model, sounds = tmp_path / "plain", tmp_path / "sounds"
    zoo.save(AudioResidual.from_config(PLAIN), model)
    sounds.mkdir()
    for hertz in (110, 200):
        write_audio(Audio(sung(hertz, 0.6)[None], RATE), sounds / f"{hertz}.wav")
    (sounds / "broken.wav").write_bytes(b"RIFF")
    arguments = [str(model), str(sounds), "-o", str(tmp_path / "out"), "--steps", "2", "--workers", "1", "--json"]
    assert fit_pitch.main(arguments) == 0
    told_of = json.loads(capsys.readouterr().out)
    assert told_of["sounds"] == 2
    made: Any = zoo.load(str(tmp_path / "out"))
    assert made.config.pitch == PitchConfig()
    (tokens,) = made.encode([Audio(sung(150)[None], RATE)])
    assert [stage.name for stage in tokens.layout.stages] == ["pitch", "level0", "level1"]
    assert tokens.layout.cuts == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["audio-single-16k", "SOUNDS"], "is audio-single, expected audio-residual"),
        (["MODEL", "EMPTY"], "holds no sound files"),
        (["MODEL", "SOUNDS", "--steps", "0"], "1 and more"),
    ],
)
def test_what_cannot_be_taught_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str) -> None:
    zoo.save(AudioResidual.from_config(PLAIN), tmp_path / "MODEL")
    for name in ("SOUNDS", "EMPTY"):
        (tmp_path / name).mkdir()
    write_audio(Audio(sung(200, 0.1)[None], RATE), tmp_path / "SOUNDS" / "a.wav")
    given = [str(tmp_path / name) if name in ("MODEL", "SOUNDS", "EMPTY") else name for name in arguments]
    assert fit_pitch.main([*given, "-o", str(tmp_path / "out")]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
