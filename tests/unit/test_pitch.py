"""The pitch stage: what is heard in frames, what a decoder is told, and how a model is taught."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.codecs.media.audio import write_audio
from smalti.recipes import fit_pitch
from smalti.recipes.fit_pitch import Voice, fit, harvested, labelled, likely, with_pitch
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.delay import delay_of
from smalti.tokenizers.audio.pitch import PitchConfig, PitchEstimator, pitch_features
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig, AudioResidualNet
from smalti.tokenizers.audio.sounds import pairs_of
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import ModelError, UsageError
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


def test_a_frame_hears_what_lies_between_its_first_samples_and_those_ahead() -> None:
    alone = estimator(replace(CONFIG, layers=0))
    frame = torch.randn(1, 1, 3 * HOP + alone.ahead)
    odds = alone(frame)[..., 1]
    inside = [HOP + alone.before + 8, 2 * HOP + alone.ahead - 8]  # where windows are not quite 0
    for place in range(0, frame.shape[-1], 8):
        changed = frame.clone()
        changed[..., place] += 10
        moved = bool((alone(changed)[..., 1] != odds).any())
        if inside[0] <= place <= inside[1]:
            assert moved, place
        elif not inside[0] - 16 <= place <= inside[1] + 16:
            assert not moved, place


def test_a_frame_hears_nothing_of_what_comes_later() -> None:
    net, frames = estimator(), 6
    wave = torch.randn(1, 1, frames * HOP + net.ahead)
    odds = net(wave)
    assert odds.shape == (1, CONFIG.vocab, frames)
    for frame in range(frames):
        later = wave.clone()
        later[..., (frame + 1) * HOP + net.ahead :] += 1
        assert torch.equal(net(later)[..., : frame + 1], odds[..., : frame + 1])
    assert net.ahead == 240 + 384, "half of the longest window behind the moment of a frame's pitch"


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
    found = pitch_features(torch.tensor([[0.0, 150.0, 150.0 * np.e]], dtype=torch.float64))
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
        {"layers": 65},
        {"width": 5000},
        {"windows": (0.03, float("nan"))},
        {"windows": (0.03,) * 9},
        {"unvoiced_threshold": 1.0},
    ],
)
def test_impossible_pitches_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        PitchConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pitch": PitchConfig(windows=(0.1,))}, r"last 0\.05 s at most in frames of 320 samples at 16000 Hz, found 0\.1"),
        ({"strides": (79, 5), "widths": (8, 16)}, "even number of samples, found 395"),
        ({"rate": 1000, "pitch": PitchConfig(highest=490, windows=(0.01,))}, r"below 485 Hz at 1000 samples per second, found highest 490"),
    ],
)
def test_networks_that_cannot_hear_a_pitch_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        replace(PLAIN, **{"pitch": CONFIG, **changes})


def test_a_stored_config_that_cannot_hear_is_named_with_its_file(tmp_path: Path) -> None:
    zoo.save(AudioResidual.from_config(replace(PLAIN, pitch=CONFIG)), tmp_path / "model")
    place = tmp_path / "model" / "config.json"
    content = json.loads(place.read_text())
    content["config"]["pitch"]["windows"] = [0.12]
    place.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"config\.json.*windows of pitch last"):
        zoo.load(str(tmp_path / "model"))


def test_the_delay_of_a_config_that_leaves_windows_out() -> None:
    config = {"rate": RATE, "strides": [STEP, 4]}
    short, default, own = (delay_of("audio-residual", config | {"pitch": pitch}) for pitch in (None, {}, {"windows": [0.02]}))
    assert short is not None
    assert default is not None
    assert own is not None
    assert (short.seconds, default.seconds, own.seconds) == pytest.approx((0.035, 0.059, 0.045))


def test_mid_and_side_have_the_pitch_of_the_louder() -> None:
    net, frames = estimator(), 4
    wave = torch.zeros(5, 1, frames * HOP + net.ahead)
    wave[1, :, : 2 * HOP + net.lead] = 0.1  # the side of the first sound is louder for two frames, its mid afterwards
    wave[0, :, 2 * HOP + net.lead :] = 0.1
    entries = torch.arange(5)[:, None].repeat(1, frames)
    found = net.shared(entries, wave, pairs_of([2, 1, 2]))
    assert found.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [2] * 4, [3] * 4, [3] * 4]
    assert entries[0].tolist() == [0] * 4, "what was given stays"


def test_a_panned_voice_has_one_pitch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = AudioResidual.from_config(replace(PLAIN, pitch=CONFIG))
    torch.nn.init.normal_(tokenizer.net.pitch.last.weight)
    wave = np.concatenate([sung(hertz, 0.3) for hertz in (80, 400, 150)])
    (tokens,) = tokenizer.encode([Audio(np.stack([wave, 0.3 * wave]), RATE)])
    assert np.array_equal(tokens.arrays[0][0], tokens.arrays[0][1])
    assert len(set(tokens.arrays[0][0].tolist())) > 1
    stream = tokenizer.stream(2)
    pieces = [stream.push(np.ascontiguousarray(part)) for part in np.array_split(np.stack([wave, 0.3 * wave]), 7, 1)]
    streamed = np.concatenate([piece.arrays[0] for piece in (*pieces, stream.flush()) if piece is not None], 1)
    assert np.array_equal(streamed, tokens.arrays[0])
    (three,) = tokenizer.encode([Audio(np.stack([wave, sung(90, 0.9), sung(333, 0.9)]), RATE)])
    assert not np.array_equal(three.arrays[0][0], three.arrays[0][1]), "more channels are not mid and side"


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


def test_no_pitch_is_taught_behind_a_sounds_end() -> None:
    net = estimator()
    short = Voice(sung(150, 0.2), np.full(40, 150, np.float32))
    for seed in range(5):
        wave, hertz = fit_pitch.crop(short, net, np.random.default_rng(seed))
        voiced = np.flatnonzero(hertz)
        assert 4 <= len(voiced) <= 16
        assert voiced.max() * HOP < np.flatnonzero(np.abs(wave) > 1e-3).max() or seed  # in noise there is no end
        assert not hertz[20:].any()


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
    place.write_bytes(b"\x93NUMPY")
    mended = labelled(path, RATE, CONFIG, kept)
    assert isinstance(mended, Voice)
    assert np.array_equal(mended.hertz, voice.hertz), "damaged labels are found again"
    assert [file.name for file in kept.iterdir()] == [place.name]
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
    assert told_of["guess"] == pytest.approx(np.log(256))
    assert fit_pitch.main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert fit_pitch.main([*arguments[:-1], "--force"]) == 0
    assert "smalti train audio-residual-16k-pitch init=" in capsys.readouterr().out
    assert "decoder is untrained" in zoo.find(str(tmp_path / "out")).card
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
