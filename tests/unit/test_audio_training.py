"""Training on sounds: spectra, losses, crops, and runs that resume and learn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from smalti.codecs.media.audio import read_audio, write_audio
from smalti.metrics import spectra
from smalti.metrics.audio import SISDR, MelDistance
from smalti.recipes.audio_table import measure
from smalti.recipes.training import sound_data, sound_holdout
from smalti.recipes.training.config import (
    DataConfig,
    LossConfig,
    OptimizerConfig,
    SoundAdversaryConfig,
    SoundDataConfig,
    SoundLossConfig,
    TrainingConfig,
    load,
)
from smalti.recipes.training.loop import Run
from smalti.recipes.training.release import release
from smalti.recipes.training.sound_losses import SoundLoss
from smalti.tokenizers import zoo
from smalti.tokenizers.audio.pitch import PitchConfig
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig
from smalti.tokenizers.audio.single_network import AudioSingleConfig
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.contracts import Quantized
from smalti.tokenizers.errors import ModelError, SignalError, UsageError
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig
from smalti.tokenizers.signals import Audio, Image

NET = AudioResidualConfig(ResidualConfig(VQConfig(16, 8, cosine=True), levels=2), 8000, (8, 5), (16, 32), 1, 1)

SINGLE = AudioSingleConfig(SingleConfig(VQConfig(16, 8, cosine=True)), 8000, 40, 32, 32, 1, 1, heads=2, attention_frames=20)


def tone(frequency: float, seconds: float = 0.5, rate: int = 8000, size: float = 0.3) -> Audio:
    t = np.arange(round(seconds * rate)) / rate
    return Audio((size * np.sin(2 * np.pi * frequency * t)).astype(np.float32)[None], rate)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Six short tones, the fourth in stereo at another rate."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for i in range(6):
        audio = tone(300 + 100 * i, rate=16000 if i == 3 else 8000)
        write_audio(Audio(audio.samples.repeat(2, 0), audio.rate) if i == 3 else audio, folder / f"{i}.wav")
    return folder


def tiny(folder: Path, **changes: Any) -> TrainingConfig:
    config = TrainingConfig(
        "tiny",
        NET,
        SoundDataConfig(str(folder), crop=1600, holdout=2, workers=0),
        SoundLossConfig(),
        OptimizerConfig(learning_rate=3e-3, ema=0.9),
        steps=6,
        batch=2,
        evaluate_every=6,
        checkpoint_every=3,
        log_every=1,
    )
    return replace(config, **changes)


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.parametrize(("rate", "window"), [(16000, 32), (16000, 2048), (24000, 512), (44100, 1024)])
def test_mel_bands_are_slaneys(rate: int, window: int) -> None:
    torchaudio = pytest.importorskip("torchaudio")
    bands = window * 5 // 32
    known = torchaudio.functional.melscale_fbanks(window // 2 + 1, 0, rate / 2, bands, rate, norm="slaney", mel_scale="slaney")
    assert torch.allclose(spectra.mel_bank(rate, window), known.t(), rtol=1e-3, atol=1e-6)
    assert (spectra.mel_bank(rate, window).sum(1) > 0).all(), "no band falls between two bins"


def test_spectra_of_silence_have_gradients() -> None:
    wave, silence = torch.from_numpy(tone(440).samples), torch.zeros(1, 4000, requires_grad=True)
    (spectra.mel_distance(wave, silence, 8000) + spectra.stft_distance(wave, silence)).backward()
    assert silence.grad is not None
    assert torch.isfinite(silence.grad).all()


def test_spectra_learn_after_they_have_judged() -> None:
    """Windows and filters are made once, perhaps by a metric that needs no gradients."""
    spectra.triangles.cache_clear()
    spectra._hann.cache_clear()
    with torch.inference_mode():
        spectra.mel_distance(torch.zeros(1, 8000), torch.zeros(1, 8000), 16000)
    wave = torch.randn(1, 8000, requires_grad=True)
    spectra.mel_distance(wave, torch.zeros(1, 8000), 16000).backward()
    assert wave.grad is not None


def test_losses_are_weighted_and_named() -> None:
    wave = torch.from_numpy(tone(440).samples)[None]
    quantized = Quantized(wave, (), {"commitment": torch.tensor(3.0)})
    terms = SoundLoss(SoundLossConfig(mel=2.0, stft=3.0, l1=4.0, quantizer=0.5), 8000)(wave, 0.5 * wave, quantized, 0.0)
    assert set(terms) == {"mel", "stft", "l1", "commitment", "total"}
    expected = 2 * terms["mel"] + 3 * terms["stft"] + 4 * terms["l1"] + 1.5
    assert float(terms["total"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(terms["mel"]) <= 7 * np.log10(2) + 1e-4, "half as loud is a third of a decade in each band"
    same = SoundLoss(SoundLossConfig(), 8000)(wave, wave, Quantized(wave, ()), 0.0)
    assert float(same["total"]) == 0


def test_metrics_of_sound_know_their_convention() -> None:
    a, b = tone(440), tone(440, size=0.15)
    assert SISDR()(a, b).value > 60, "scale does not matter"
    silence = Audio(np.zeros_like(a.samples), 8000)
    assert (SISDR()(a, a).value, SISDR()(a, silence).value) == (100, -100)
    with pytest.raises(SignalError, match="silent"):
        SISDR()(silence, a)
    one, other = (Audio(np.concatenate([sound.samples, silence.samples]), 8000) for sound in (a, silence))
    assert SISDR()(one, other).value == -100, "a silent channel has no part in it"
    noisy = Audio(a.samples + np.float32(0.03) * np.random.default_rng(0).standard_normal(a.samples.shape).astype(np.float32), 8000)
    assert SISDR()(a, noisy).value == pytest.approx(10 * np.log10(0.045 / 0.0009), abs=0.3)
    assert MelDistance()(a, a).value == 0
    assert MelDistance()(a, noisy).value > MelDistance()(a, b).value > 0
    with pytest.raises(SignalError, match="differ in size"):
        SISDR()(a, tone(440, rate=16000))
    with pytest.raises(SignalError, match="found Audio and Image"):
        MelDistance()(a, Image(np.zeros((2, 2, 3), np.uint8)))


def test_crops_are_a_function_of_seed_and_number(sounds: Path) -> None:
    config = SoundDataConfig(str(sounds), crop=800, holdout=2)
    files, held_out = sound_data.split(config)
    assert [path.name for path in files + held_out] == [f"{i}.wav" for i in range(6)]
    crops, others = (sound_data.sound_crops(files, config, NET, seed) for seed in (0, 1))
    for n in range(8):
        crop, skipped = crops[n]
        assert crop is not None
        assert (crop.shape, crop.dtype, skipped) == ((800,), np.float32, ())
        assert np.array_equal(crop, crops[n][0])
    assert any(not np.array_equal(crops[n][0], others[n][0]) for n in range(4))


def test_sounds_are_read_once_as_far_as_memory_goes(sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, read = sorted(sounds.glob("*.wav"))[:2], []
    monkeypatch.setattr(sound_data, "read_audio", lambda path: read.append(path) or read_audio(path))
    config = SoundDataConfig(str(sounds), crop=100)
    crops = sound_data.sound_crops(files, config, NET, 0)
    first = [crops[n][0] for n in range(6)]
    assert sorted(read) == files
    monkeypatch.setattr(sound_data, "KEPT_BYTES", 0)
    crops = sound_data.sound_crops(files, config, NET, 0)
    assert all(np.array_equal(crops[n][0], first[n]) for n in range(6))
    assert len(read) == 2 + 6, "nothing was kept"


def test_short_sounds_are_followed_by_silence() -> None:
    config = SoundDataConfig("x", crop=100, quietest_db=-20.0)
    crop = sound_data.random_crop(np.ones((1, 30), np.float32), config, np.random.default_rng(0))
    assert crop[:30].min() == crop[:30].max()
    assert 0.1 <= crop[0] <= 1
    assert not crop[30:].any()


def test_a_killed_run_resumes_to_the_same_losses(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(sounds)
    whole = Run(config, tmp_path / "whole", "cpu", quiet=True).train()
    step = Run._step

    def until_five(run: Run, signals: torch.Tensor) -> Any:
        if run.step == 5:
            raise KeyboardInterrupt
        return step(run, signals)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_step", until_five)
        with pytest.raises(KeyboardInterrupt):
            Run(config, tmp_path / "killed", "cpu", quiet=True).train()
    resumed = Run(config, tmp_path / "killed", "cpu", quiet=True).train()
    assert log(resumed.folder) == log(whole.folder)
    heard = read_audio(whole.folder / "listen-000006.wav")
    assert heard.rate == 8000
    assert heard.seconds > 4 * 0.5


@pytest.mark.parametrize("net", [NET, SINGLE])
def test_one_tone_is_learned(net: Any, tmp_path: Path) -> None:
    for i in range(2):
        write_audio(tone(400), tmp_path / f"{i}.wav")
    config = tiny(tmp_path, tokenizer=net, steps=60, evaluate_every=60, checkpoint_every=60)
    config = replace(config, data=replace(config.data, holdout=1, quietest_db=0.0))
    found = [line["total"] for line in log(Run(config, tmp_path / "runs", "cpu", quiet=True).train().folder) if "total" in line]
    assert np.mean(found[-5:]) < 0.6 * found[0]


def test_a_release_is_a_whole_model(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[int, str]] = []

    def watched(listed: Any, settings: Any, judges: Any) -> Any:
        measured.append((torch.get_num_threads(), str(settings[0].codec.tokenizer.device)))
        return measure(listed, settings, judges)

    monkeypatch.setattr("smalti.recipes.training.sound_release.measure", watched)
    config = tiny(sounds)
    run = Run(config, tmp_path, "cpu", quiet=True)
    trained, threads = run.train(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        info = release(trained, config, run.files, run.holdout)
        assert (measured, torch.get_num_threads()) == ([(1, "cpu")], 2), "speed is that of one thread, whatever was set"
    finally:
        torch.set_num_threads(threads)
    assert info.kind == "audio-residual"
    assert "8000 Hz, 200 frames per second" in info.summary
    assert "| tiny, 2 stages |" in info.card
    assert "| mel |" in info.card
    assert "8 ms in a stream" in info.card
    assert "No discriminators" in info.card
    assert "on training sounds: level 0:" in info.card
    assert "Opus voip, 6 kbps asked" in info.card
    stored = zoo.load(str(info.folder))
    (back,) = stored.decode(stored.encode([tone(500)]))
    assert back.samples.shape == (1, 4000)


def test_shipped_recipes_of_sound_load() -> None:
    for name, rate in (
        ("audio-residual-16k", 16000),
        ("audio-residual-16k-pitch", 16000),
        ("audio-residual-24k", 24000),
        ("audio-single-16k", 16000),
        ("audio-single-24k", 24000),
        ("audio-single-24k-40", 24000),
    ):
        config = load(name, ["data=DIR"])
        assert isinstance(config.tokenizer, AudioResidualConfig | AudioSingleConfig)
        assert config.tokenizer.rate == rate
        assert config.data.folder == "DIR"


@pytest.mark.parametrize(
    "changes",
    [
        {"data": DataConfig("x")},
        {"loss": LossConfig(lpips_alex=0.0)},
        {"data": SoundDataConfig("x", crop=1601)},
        {"freeze_front": True},
    ],
)
def test_parts_of_another_kind_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        tiny(Path("x"), **changes)


@pytest.mark.parametrize("key", ["crop=0", "quietest_db=3", "holdout=0", "workers=-1"])
def test_impossible_data_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="data"):
        load("audio-residual-16k", [f"data.{key}"])


@pytest.mark.parametrize("change", ["loss.mel=-1", "loss.mel_windows=[]", "loss.mel_windows=[48]", "loss.lpips_alex=1"])
def test_impossible_losses_are_refused(change: str) -> None:
    with pytest.raises(UsageError):
        load("audio-residual-16k", [change])


def voiced(folder: Path, init: Path) -> TrainingConfig:
    """A run on tones with a pitch stage, from a model whose estimator hears something else at every frame."""
    net = replace(NET, pitch=PitchConfig(100.0, 1000.0, 15, (0.002, 0.004), width=8, layers=0))
    torch.manual_seed(0)
    made = AudioResidual.from_config(net)
    torch.nn.init.normal_(made.net.pitch.last.weight)
    zoo.save(made, init)
    data = SoundDataConfig(str(folder), crop=1600, holdout=2, workers=0, speeds=(0.5, 1.0))
    return tiny(folder, tokenizer=net, init=str(init), data=data, loss=SoundLossConfig(compressed=2.0))


def test_a_run_with_pitch_draws_what_something_follows(sounds: Path, tmp_path: Path) -> None:
    config = voiced(sounds, tmp_path / "init")
    run = Run(config, tmp_path / "runs", "cpu", quiet=True)
    before = {name: tensor.clone() for name, tensor in run.net.state_dict().items()}
    trained = run.train()
    after = run.net.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("pitch.")), "others teach it"
    assert not torch.equal(after["decoder.0.conv.weight"], before["decoder.0.conv.weight"])
    assert {"mel", "compressed", "total"} <= log(trained.folder)[0].keys()
    info = release(trained, config, run.files, run.holdout)
    assert "on training sounds: pitch: " in info.card
    assert "| tiny, 3 stages |" in info.card
    with pytest.raises(UsageError, match=r"data\.crop >= \d+, a frame and what its pitch is heard in, is needed, found 40"):
        replace(config, data=replace(config.data, crop=40))
    with pytest.raises(UsageError, match=r"data\.crop >= \d+ with adversary\.windows"):
        replace(config, adversary=SoundAdversaryConfig(weight=1.0, windows=(1600,)))


@pytest.mark.parametrize("frozen", [False, True])
def test_whatever_learns_beside_a_pitch_gets_gradients(sounds: Path, tmp_path: Path, frozen: bool) -> None:
    """Several processes would wait for those that do not."""
    run = Run(replace(voiced(sounds, tmp_path / "init"), freeze_tokens=frozen), tmp_path / "runs", "cpu", quiet=True)
    net = run.net.train()
    drawn, quantized = net(torch.randn(2, 1, 1600) * 0.1)
    (drawn.square().mean() + sum(quantized.losses.values()) * (not frozen)).backward()
    without = [name for name, parameter in net.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert without == []
    assert not any(parameter.requires_grad for parameter in net.pitch.parameters())
    assert any(parameter.requires_grad for parameter in net.encoder.parameters()) != frozen


def test_a_model_that_was_taught_another_pitch_is_refused(sounds: Path, tmp_path: Path) -> None:
    config = voiced(sounds, tmp_path / "init")
    other = replace(config, tokenizer=replace(config.tokenizer, pitch=replace(config.tokenizer.pitch, highest=900.0)))
    with pytest.raises(ModelError, match=r"taught .*highest=1000\.0.* the recipe says .*highest=900\.0"):
        Run(other, tmp_path / "runs", "cpu", quiet=True)
    zoo.save(AudioResidual.from_config(NET), tmp_path / "plain")
    with pytest.raises(ModelError, match=r"hears no pitch; python -m smalti\.recipes\.fit_pitch"):
        Run(replace(config, init=str(tmp_path / "plain")), tmp_path / "runs", "cpu", quiet=True)


def test_pitch_that_nobody_taught_is_refused(sounds: Path) -> None:
    with pytest.raises(UsageError, match="fit_pitch"):
        tiny(sounds, tokenizer=replace(NET, pitch=PitchConfig(windows=(0.004,))))


def test_hurried_sounds_are_shorter_and_higher(sounds: Path) -> None:
    config = SoundDataConfig(str(sounds), crop=1600, speeds=(2.0,))
    plain = sound_data.Cutter(replace(config, speeds=(1.0,)), 8000)._channels(sounds / "0.wav", 1.0)
    hurried = sound_data.Cutter(config, 8000)
    crop = hurried(sounds / "0.wav", np.random.default_rng(0))
    assert crop.shape == (1600,)
    assert np.abs(np.fft.rfft(crop)).argmax() * 8000 / 1600 == pytest.approx(600, abs=5)
    assert hurried._channels(sounds / "0.wav", 2.0).shape[1] == plain.shape[1] // 2
    for speeds in ((), (0.1,), (5.0,)):
        with pytest.raises(UsageError, match=r"data\.speeds"):
            replace(config, speeds=speeds)


def test_silence_is_left_out_of_the_holdout_and_named(sounds: Path, tmp_path: Path) -> None:
    write_audio(Audio(np.zeros((1, 4000), np.float32), 8000), tmp_path / "silent.wav")
    write_audio(tone(500), tmp_path / "tone.wav")
    tokenizer = AudioResidual.from_config(NET)
    seen = sound_holdout.measure(tokenizer, 8000, [tmp_path / "silent.wav", tmp_path / "tone.wav"], tmp_path / "listen.wav")
    alone = sound_holdout.measure(tokenizer, 8000, [tmp_path / "tone.wav"], tmp_path / "listen.wav")
    assert seen.skipped == (f"{tmp_path / 'silent.wav'}: cannot be scored by si-sdr",)
    assert seen.scores["si-sdr_1"] == alone.scores["si-sdr_1"]
    assert all(np.isfinite(value) for value in seen.scores.values())
