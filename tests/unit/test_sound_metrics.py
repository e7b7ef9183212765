"""Metrics of sounds: what they see, what they refuse, and what is left of them below 4 kHz."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from smalti.metrics import judges, speaker, spectra
from smalti.metrics.audio import SISDR, MelDistance, STFTDistance
from smalti.metrics.machine import recognition
from smalti.metrics.machine.recognition import WordErrorRate, edits, normalised
from smalti.metrics.perceived import PESQ, STOI
from smalti.metrics.registry import METRICS, TASKS, resolve
from smalti.metrics.sounds import BelowFourKilohertz, at_rate
from smalti.metrics.speaker import SpeakerSimilarity, VoiceEncoder
from smalti.tokenizers.errors import ModelError, SignalError
from smalti.tokenizers.signals import Audio, Image


def tone(frequency: float, rate: int = 16000, seconds: float = 1.0, size: float = 0.3) -> Audio:
    t = np.arange(round(seconds * rate)) / rate
    return Audio((size * np.sin(2 * np.pi * frequency * t)).astype(np.float32)[None], rate)


def mixed(*sounds: Audio) -> Audio:
    return Audio(np.sum([sound.samples for sound in sounds], 0, dtype=np.float32), sounds[0].rate)


@pytest.mark.parametrize("metric", [MelDistance(), STFTDistance(), SISDR()])
def test_below_4_khz_nothing_above_counts(metric: MelDistance | STFTDistance | SISDR) -> None:
    low = tone(700)
    bright = mixed(low, tone(6000, size=0.2))
    narrow = BelowFourKilohertz(metric)
    assert narrow.name == f"{metric.name}-4k"
    whole, below = metric(bright, low), narrow(bright, low)
    assert "8000 Hz" in below.convention
    assert "16000 Hz" in whole.convention
    gained = whole.value - below.value if whole.better == "lower" else below.value - whole.value
    assert gained > 0.5
    shifted = mixed(tone(900), tone(6000, size=0.2))
    lost = narrow(bright, shifted).value - below.value
    assert (lost > 0.5) if whole.better == "lower" else (lost < -5), "what lies below does"


def test_every_metric_of_sounds_has_a_variant_below_4_khz() -> None:
    sounds = [name for name, factory in METRICS.items() if factory.split(":")[0].endswith(("audio", "perceived", "speaker"))]
    wide = [name for name in sounds if not name.endswith(("-4k", "-nb"))]
    assert len(wide) == 9
    assert all(f"{name}-4k" in sounds or name.replace("-wb", "-nb") in sounds for name in wide if name != "pesq-nb")
    assert {"word-error-rate", "word-error-rate-4k"} <= set(TASKS)


def test_stft_distance_is_of_magnitudes_and_log_powers() -> None:
    a = tone(440)
    half = Audio(a.samples / 2, a.rate)
    found = STFTDistance()(a, half)
    wave = torch.from_numpy(a.samples)
    expected = sum(float(spectra.magnitudes(wave, window).mean()) / 2 for window in (2048, 512))
    assert expected < found.value <= expected + 2 * 2 * np.log10(2) + 1e-4
    assert STFTDistance()(a, a).value == 0


def test_another_rate_keeps_length_in_time() -> None:
    assert at_rate(tone(440, 24000, 0.5), 16000).samples.shape == (1, 8000)
    sound = tone(440)
    assert at_rate(sound, 16000) is sound
    with pytest.raises(SignalError, match="has none at 10 Hz"):
        at_rate(tone(440, seconds=0.001), 10)


@pytest.mark.parametrize("metric", [BelowFourKilohertz(SISDR()), STFTDistance()])
def test_only_equal_sizes_compare(metric: STFTDistance | BelowFourKilohertz) -> None:
    for other in (tone(440, 8000), tone(440, seconds=0.5), Audio(np.zeros((2, 16000), np.float32), 16000)):
        with pytest.raises(SignalError, match="differ in size"):
            metric(tone(440), other)
    with pytest.raises(SignalError, match="compare sounds, found Image and Audio"):
        metric(Image(np.zeros((2, 2, 3), np.uint8)), tone(440))


def test_stoi_refuses_what_it_cannot_score() -> None:
    with pytest.raises(SignalError, match="cannot be scored"):
        STOI()(tone(440, seconds=0.2), tone(440, seconds=0.2))


def test_pesq_refuses_silence() -> None:
    pytest.importorskip("pesq")
    silence = Audio(np.zeros((1, 16000), np.float32), 16000)
    with pytest.raises(SignalError, match="PESQ cannot score this sound"):
        PESQ("wb")(silence, silence)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(ModelError, match=r"needs the package pesq: pip install 'smalti\[audio-metrics\]'"):
        resolve("pesq-wb")
    monkeypatch.setitem(sys.modules, "visqol", None)
    for name in ("visqol", "visqol-4k", "visqol-speech"):
        with pytest.raises(ModelError, match=r"needs the package visqol-python: pip install 'smalti\[audio-metrics\]'"):
            resolve(name)


class Listener:
    """Stands for `visqol.VisqolApi`: tells what it was asked."""

    def create(self, mode: str, use_lattice_model: bool) -> None:
        self.mode, self.lattice = mode, use_lattice_model

    def measure_from_arrays(self, reference: np.ndarray, decoded: np.ndarray, rate: int) -> SimpleNamespace:
        if len(reference) < 1000:
            raise ValueError("too short")
        assert (reference.dtype, decoded.dtype, reference.ndim, self.lattice) == (np.float64, np.float64, 1, False)
        return SimpleNamespace(moslqo=rate / 48000 + len(decoded) / rate + (self.mode == "speech"))


def test_visqol_hears_each_channel_at_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "visqol", SimpleNamespace(VisqolApi=Listener))
    stereo = Audio(tone(440).samples.repeat(2, 0), 16000)
    assert resolve("visqol")(stereo, stereo).value == pytest.approx(2.0)
    speech = resolve("visqol-speech")(stereo, stereo)
    assert speech.value == pytest.approx(1 / 3 + 2)
    assert (speech.unit, speech.better, "speech, 16000 Hz" in speech.convention) == ("MOS-LQO", "higher", True)
    with pytest.raises(SignalError, match="ViSQOL cannot score silence"):
        resolve("visqol")(stereo, Audio(np.zeros_like(stereo.samples), 16000))
    with pytest.raises(SignalError, match=r"ViSQOL cannot score this sound \(too short\)"):
        resolve("visqol-speech")(tone(440, seconds=0.05), tone(440, seconds=0.05))


# --- speakers -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def encoder() -> VoiceEncoder:
    torch.manual_seed(0)
    return VoiceEncoder().eval()


def test_voices_do_not_depend_on_loudness(encoder: VoiceEncoder) -> None:
    a = mixed(tone(220, seconds=2.5), tone(660, seconds=2.5, size=0.1))
    embedded = encoder.embed(a.samples[0])
    assert embedded.shape == (256,)
    assert np.linalg.norm(embedded) == pytest.approx(1, abs=1e-5)
    assert np.allclose(encoder.embed(a.samples[0] * np.float32(0.1)), embedded, atol=1e-4)
    metric = SpeakerSimilarity(encoder)
    assert metric(a, a).value == 1
    assert metric(a, Audio(a.samples * np.float32(0.5), a.rate)).value == pytest.approx(1, abs=1e-4)
    with pytest.raises(SignalError, match="silent"):
        metric(a, Audio(np.zeros_like(a.samples), a.rate))


def test_speakers_need_their_judge(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("SMALTI_JUDGES", str(tmp_path))
    with pytest.raises(ModelError, match="smalti fetch-judges speaker"):
        speaker.load()
    assert set(VoiceEncoder().state_dict()) == {f"lstm.{part}_l{i}" for i in range(3) for part in PARTS} | {"linear.weight", "linear.bias"}
    assert "speaker" in judges.JUDGES


PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


# --- words --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "heard", "expected"),
    [
        ("", "", 0),
        ("a b c", "a b c", 0),
        ("a b c", "", 3),
        ("", "a b", 2),
        ("a b c d", "a x c", 2),
        ("a b", "b a", 2),
        ("a b c", "b c d", 2),
    ],
)
def test_edits_are_the_fewest(said: str, heard: str, expected: int) -> None:
    assert edits(said.split(), heard.split()) == expected == edits(heard.split(), said.split())


def test_words_are_compared_without_dress() -> None:
    assert normalised("Mr. O\u2019Brien, [music] said: 'Two' (2) post-mortems!") == ["mister", "o'brien", "said", "two", "post", "mortems"]
    assert normalised("3 men") == ["three", "men"]


def pitch_names(wave: np.ndarray) -> str:
    """A recognizer of tones: a word for each half second, or for the whole; none for silence."""
    if not np.abs(wave).max() > 1e-3:
        return ""
    return f"tone {np.argmax(np.abs(np.fft.rfft(wave))) * 16000 // len(wave) // 10}"


def test_word_errors_are_summed_over_sounds() -> None:
    sounds = [tone(400), tone(800), tone(1600)]
    assert WordErrorRate(pitch_names, ["tone 40", "tone 80", "a word tone 160"]).ceiling(sounds).value == 2 / 8
    rate = WordErrorRate(pitch_names)
    silence = Audio(np.zeros((1, 16000), np.float32), 16000)
    assert rate(sounds, [tone(400), tone(900), silence]).value == (0 + 1 + 2) / 6
    assert rate.ceiling(sounds).value == 0
    assert "originals" in rate.ceiling(sounds).convention
    with pytest.raises(SignalError, match="3 sounds for 1 texts"):
        WordErrorRate(pitch_names, ["tone"])(sounds, sounds)
    with pytest.raises(SignalError, match="no word"):
        rate([silence], [silence])
    with pytest.raises(SignalError, match="found Image"):
        rate([tone(400)], [Image(np.zeros((2, 2, 3), np.uint8))])


def test_words_below_4_khz() -> None:
    bright, narrow = mixed(tone(700, size=0.1), tone(6000)), WordErrorRate(pitch_names, ["tone 70"], narrow=True)
    assert narrow.name == "word-error-rate-4k"
    assert narrow([bright], [bright]).value == 0
    assert WordErrorRate(pitch_names, ["tone 70"])([bright], [bright]).value == 0.5


def test_whisper_needs_its_network(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("SMALTI_JUDGES", str(tmp_path))
    monkeypatch.setattr(recognition, "PACKAGE", "nobody_has_this_package")
    with pytest.raises(ModelError, match=r"pip install 'smalti\[speech\]'"):
        recognition.load.__wrapped__()
