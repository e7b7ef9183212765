"""The command line and the Python API on sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import smalti
from smalti.codecs.bitstream import parse, write
from smalti.codecs.media.audio import read_audio, write_audio
from smalti.codecs.neural import NeuralCodec, info_of
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.signals import Audio


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 44100)).astype(np.float32)
    write_audio(Audio(samples, 44100), tmp_path / "a.flac")
    return tmp_path / "a.flac"


def test_a_sound_there_and_back(cli: Any, sound_model: Path, sound: Path) -> None:
    (made,) = cli("tokenize", sound, "-m", sound_model, "--json").json
    assert {key: made[key] for key in ("samples", "rate", "channels", "seconds", "stages")} == {
        "samples": 44100, "rate": 44100, "channels": 2, "seconds": 1.0, "stages": 4,
    }  # fmt: skip
    size = sound.with_suffix(".smt").stat().st_size
    assert made["bytes"] == size
    assert made["kbps"] == pytest.approx(8 * size / 1000)
    (about,) = cli("info", sound.with_suffix(".smt"), "--json").json
    assert about["streams"][0]["kbps"] == pytest.approx(made["kbps"])
    assert cli("detokenize", sound.with_suffix(".smt"), "-m", sound_model).code == 0
    back = read_audio(sound.with_suffix(".wav"))
    assert back.samples.shape == (2, 44100)
    assert back.rate == 44100


def test_kbps_choose_the_levels(cli: Any, sound_model: Path, sound: Path) -> None:
    (whole,) = cli("tokenize", sound, "-m", sound_model, "--json").json
    (half,) = cli("tokenize", sound, "-m", sound_model, "--force", "--kbps", whole["kbps"] / 2, "--json").json
    assert half["kbps"] <= whole["kbps"] / 2
    assert 1 <= half["stages"] < 4
    refused = cli("tokenize", sound, "-m", sound_model, "--force", "--kbps", 0.1).refusal()
    assert "smallest file" in refused
    least = float(refused.rpartition("ask for ")[2].removesuffix(" kbps or more"))
    (made,) = cli("tokenize", sound, "-m", sound_model, "--force", "--kbps", least, "--json").json
    assert made["kbps"] <= least <= made["kbps"] + 0.0011, "what it names will do, and little less"


def test_json_and_folders(cli: Any, sound_model: Path, sound: Path, tmp_path: Path) -> None:
    assert cli("tokenize", tmp_path, "-m", sound_model, "-o", tmp_path / "out", "--format", "json").code == 0
    assert cli("detokenize", tmp_path / "out", "-m", sound_model).code == 0
    assert read_audio(tmp_path / "out" / "a.wav").samples.shape == (2, 44100)


def test_sounds_need_a_model_and_an_ending_of_sound(cli: Any, sound_model: Path, sound: Path) -> None:
    assert "name a model of sound" in cli("tokenize", sound).refusal()
    assert cli("tokenize", sound, "-m", sound_model).code == 0
    assert ".wav, .flac" in cli("detokenize", sound.with_suffix(".smt"), "-m", sound_model, "-o", sound.with_suffix(".png")).refusal()


def test_the_same_from_python(sound_model: Path, sound: Path) -> None:
    audio = smalti.read(sound)
    assert isinstance(audio, Audio)
    assert smalti.read(sound.read_bytes()).samples.shape == (2, 44100)  # type: ignore[union-attr]
    small, large = (smalti.compress(sound, str(sound_model), kbps=rate, device="cpu") for rate in (3.0, 100.0))
    assert len(small) <= 3000 / 8 < len(large)
    back = smalti.decompress(large, str(sound_model), device="cpu")
    assert isinstance(back, Audio)
    assert back.samples.shape == (2, 44100)


def test_a_chunked_file_is_cut_in_levels_and_in_time(sound_model: Path, sound: Path) -> None:
    tokenizer = zoo.load(str(sound_model))
    audio = Audio(np.tile(smalti.read(sound).samples, (1, 40)), 44100)  # type: ignore[union-attr]
    (tokens,) = tokenizer.encode([audio])
    data = write(tokens, UniformPrior(), info_of(tokenizer, audio, tokens, UniformPrior.id), "chunked")
    file = parse(data)
    assert file.streams[0].grouped
    assert file.segments() > 2
    assert file.tokens(tokens.layout, UniformPrior()) == tokens
    assert parse(file.cut(2)).tokens(tokens.layout, UniformPrior()) == tokens.prefix(2)


def test_arrays_and_pipes_of_sound_come_back(cli: Any, sound_model: Path, sound: Path, tmp_path: Path) -> None:
    assert cli("tokenize", sound, "-m", sound_model, "--format", "npy").code == 0
    assert cli("detokenize", sound.with_suffix(".npy"), "-m", sound_model).code == 0
    back = read_audio(sound.with_suffix(".wav"))
    assert (back.samples.shape, back.rate) == ((2, 16000), 16000), "an array knows the model's rate alone"
    small = cli("tokenize", "-", "-m", sound_model, stdin=sound.read_bytes()).stdout
    assert cli("detokenize", "-", "-m", sound_model, "-o", tmp_path / "b.wav", stdin=small).code == 0
    assert read_audio(tmp_path / "b.wav").samples.shape == (2, 44100)
    assert cli("detokenize", "-", "-m", sound_model, stdin=small).stdout[:4] == b"RIFF"
    assert "sounds are written as .wav, .flac" in cli("detokenize", "-", "-m", sound_model, "-o", "b.png", stdin=small).refusal()
    assert "pictures, sounds, films and shapes are written as" in cli("detokenize", "-", "-o", "b.txt", stdin=small).refusal()


def test_each_file_of_a_mixed_list_gets_its_own_ending(
    cli: Any, sound_model: Path, sound: Path, samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMALTI_MODELS", str(tmp_path / "models"))
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "1").symlink_to(sound_model)
    assert cli("tokenize", sound, "-m", "tiny").code == 0
    ran = cli("detokenize", samples.solo, sound.with_suffix(".smt"), "-o", f"{tmp_path}/out/", "--json")
    assert [Path(item["target"]).name for item in ran.json] == ["solo.png", "a.wav"]


def test_one_odd_sound_does_not_stop_a_folder(cli: Any, sound_model: Path, sound: Path) -> None:
    write_audio(Audio(np.zeros((1, 500), np.float32), 500), sound.parent / "slow.wav")
    ran = cli("tokenize", sound.parent, "-m", sound_model, "--json")
    assert (ran.code, [Path(item["source"]).name for item in ran.json]) == (1, ["a.flac"])
    assert "slow.wav: sound has 1000 to 768000 samples per second" in ran.err


def test_groups_of_sounds_are_bounded_by_their_samples(
    cli: Any, sound_model: Path, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smalti.tokenizers.audio.residual import AudioResidual

    for i in range(5):
        write_audio(Audio(np.zeros((1, 100 * (i + 1)), np.float32), 16000), tmp_path / f"{i}.wav")
    held: list[int] = []
    encode = AudioResidual.encode
    monkeypatch.setattr("smalti.cli.tokenize.GROUP_SAMPLES", 300)
    monkeypatch.setattr(AudioResidual, "encode", lambda self, signals: held.append(len(signals)) or encode(self, signals))
    sound.unlink()
    assert len(cli("tokenize", tmp_path, "-m", sound_model, "--json").json) == 5
    assert held == [2, 1, 1, 1]


def test_info_tells_the_delay(cli: Any, sound_model: Path, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("tokenize", sound, "-m", sound_model).code == 0
    assert cli("info", sound.with_suffix(".smt"), "--json").json[0]["streams"][0]["delay_seconds"] is None, "nobody knows the model"
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "1").symlink_to(sound_model)
    monkeypatch.setenv("SMALTI_MODELS", str(tmp_path))
    (about,) = cli("info", sound.with_suffix(".smt"), "--json").json
    assert about["streams"][0]["delay_seconds"] == 0.0115
    assert "  delay        11.5 ms in a stream, 2 frames" in cli("info", sound.with_suffix(".smt")).out


def test_sounds_of_more_than_a_minute_are_chunked(sound_model: Path) -> None:
    tokenizer = zoo.load(str(sound_model))
    for seconds, form in ((60, "solo"), (61, "chunked")):
        (tokens,) = tokenizer.encode([Audio(np.zeros((1, 8000 * seconds), np.float32), 8000)])
        data = NeuralCodec(tokenizer, UniformPrior()).pack(tokens.prefix(1))
        assert parse(data).form == form


def test_a_stretch_is_that_of_the_whole(cli: Any, sound_model: Path, sound: Path, tmp_path: Path) -> None:
    audio = Audio(np.tile(smalti.read(sound).samples, (1, 62)), 44100)  # type: ignore[union-attr]
    data = smalti.compress(audio, str(sound_model), stages=2, device="cpu")
    assert parse(data).form == "chunked"
    whole = smalti.decompress(data, str(sound_model), device="cpu")
    assert isinstance(whole, Audio)
    for odd in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match="finite"):
            smalti.decompress(data, str(sound_model), device="cpu", start=odd)
    for start, end in ((None, 0.5), (0.0123, 1.0), (31.337, 33.1), (60.0, None), (61.9, 99.0), (None, None)):
        part = smalti.decompress(data, str(sound_model), device="cpu", start=start, end=end)
        first, last = round((start or 0) * 44100), whole.samples.shape[1] if end is None else round(end * 44100)
        assert isinstance(part, Audio)
        assert part.samples.shape == whole.samples[:, first:last].shape
        assert np.abs(part.samples - whole.samples[:, first:last]).max() < 1e-4
    (tmp_path / "long.smt").write_bytes(data)
    (made,) = cli("detokenize", tmp_path / "long.smt", "-m", sound_model, "--start", "2s", "--end", "2.5", "--json").json
    assert (made["samples"], made["stages"]) == (22050, 2)
    assert read_audio(tmp_path / "long.wav").samples.shape == (2, 22050)
    call = ("detokenize", tmp_path / "long.smt", "-m", sound_model, "--force")
    assert "nothing lies from 70 s to the end of a sound of 62.000 s" in cli(*call, "--start", "70").refusal()
    assert "no time in seconds" in cli(*call, "--start", "-1").refusal()
    assert "neither --bytes nor --conceal" in cli(*call, "--start", "1", "--conceal").refusal()


def test_a_stretch_of_a_damaged_file_is_told_or_refused(cli: Any, sound_model: Path, tmp_path: Path) -> None:
    audio = Audio(np.random.default_rng(0).uniform(-0.3, 0.3, (1, 8000 * 61)).astype(np.float32), 8000)
    data = bytearray(smalti.compress(audio, str(sound_model), device="cpu"))
    assert parse(bytes(data)).segments() > 2
    whole = smalti.decompress(bytes(data), str(sound_model), device="cpu", start=40, end=40.5)
    data[200] ^= 1  # in the first of the segments
    (tmp_path / "a.smt").write_bytes(data)
    call = ("detokenize", tmp_path / "a.smt", "-m", sound_model, "--force", "--json")
    ran = cli(*call, "--start", "40", "--end", "40.5")
    assert (ran.code, ran.json[0]["stages"]) == (1, 4), "all stages, though the first segment is lost"
    assert "a.smt: damaged elsewhere: " in ran.err
    part = smalti.decompress(bytes(data), str(sound_model), device="cpu", start=40, end=40.5)
    assert isinstance(whole, Audio)
    assert isinstance(part, Audio)
    assert np.array_equal(part.samples, whole.samples)
    assert "segment 0 of the region is damaged or missing" in cli(*call, "--start", "0", "--end", "0.5").refusal()


def test_pictures_have_no_stretch_of_time(cli: Any, samples: Any) -> None:
    assert "times of a sound" in cli("detokenize", samples.solo, "-o", "a.png", "--start", "1").refusal()


@pytest.mark.parametrize(("form", "subtype"), [("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("FLAC", "PCM_24"), ("WAV", "FLOAT")])
def test_samples_of_any_depth_go_all_the_way(cli: Any, sound_model: Path, tmp_path: Path, form: str, subtype: str) -> None:
    tone = 0.4 * np.sin(0.05 * np.arange(2205))
    soundfile.write(tmp_path / "a.snd", np.stack([tone, -tone], 1), 22050, format=form, subtype=subtype)
    soundfile.write(tmp_path / "b.wav", np.stack([tone, -tone], 1), 22050, subtype="PCM_16")
    for name in ("a.snd", "b.wav"):
        assert cli("tokenize", tmp_path / name, "-m", sound_model).code == 0
        assert cli("detokenize", tmp_path / f"{name[0]}.smt", "-m", sound_model, "-o", tmp_path / f"{name[0]}-back.wav").code == 0
    a, b = (read_audio(tmp_path / f"{name}-back.wav") for name in "ab")
    assert (a.samples.shape, a.rate) == ((2, 2205), 22050)
    assert np.sqrt(np.mean((a.samples - b.samples) ** 2)) <= 0.5 * np.sqrt(np.mean(b.samples**2)), "one sound, whatever held it"


def test_ten_seconds_cost_what_their_tokens_do(sound_model: Path) -> None:
    tokenizer = zoo.load(str(sound_model))
    (tokens,) = tokenizer.encode([Audio(np.random.default_rng(0).uniform(-0.3, 0.3, (1, 160000)).astype(np.float32), 16000)])
    data = NeuralCodec(tokenizer, UniformPrior()).pack(tokens)
    assert tokens.uniform_bits / 8 < len(data) < 1.03 * tokens.uniform_bits / 8 + 40
