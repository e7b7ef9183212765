"""Causal layers and `audio-residual`: streams equal the whole, lengths are exact, levels are a knob."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from smalti import api
from smalti.codecs.bitstream import StreamInfo, write
from smalti.codecs.priors.static import StaticPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.audio import sounds
from smalti.tokenizers.audio.delay import delay_of
from smalti.tokenizers.audio.pitch import PitchConfig
from smalti.tokenizers.audio.residual import AudioResidual
from smalti.tokenizers.audio.residual_network import AudioResidualConfig, AudioResidualNet
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.nets.causal import CausalConv, CausalUpsample, CausalWideBlock, Memory
from smalti.tokenizers.nets.causal_spectrum import AheadSpectrum, CausalWave
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Audio, Image
from smalti.tokenizers.tokens import Tokens

CONFIG = AudioResidualConfig(ResidualConfig(VQConfig(64, 8, cosine=True), levels=3), 16000, (4, 5), (8, 16), 1, 2)


VOICED = replace(CONFIG, pitch=PitchConfig(100.0, 1000.0, 31, (0.0005, 0.001), width=8, layers=1))


@pytest.fixture(scope="module", params=[CONFIG, VOICED], ids=["levels", "pitch"])
def tokenizer(request: pytest.FixtureRequest) -> AudioResidual:
    """A few steps old: statistics and tables have seen something, and no block is an identity any more."""
    torch.manual_seed(0)
    net = AudioResidualNet(request.param)
    if net.pitch is not None:
        nn.init.normal_(net.pitch.last.weight)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    net.fit_start(torch.randn(4, 1, 640) * 0.1)
    for _ in range(10):
        wave = torch.randn(4, 1, 640) * 0.1
        reconstruction, quantized = net(wave)
        ((reconstruction - wave[..., : reconstruction.shape[-1]]).abs().mean() + quantized.losses["commitment"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return AudioResidual(net)


def noise(samples: int, channels: int = 1, rate: int = 16000, seed: int = 0) -> Audio:
    rng = np.random.default_rng(seed)
    return Audio(rng.uniform(-0.3, 0.3, (channels, samples)).astype(np.float32), rate)


def voice(tokenizer: AudioResidual, frames: int) -> torch.Tensor | None:
    """Entries of a pitch stage, with a pause; None for a tokenizer that has none."""
    return torch.tensor([[(7 * i) % 31 if i % 9 else 0 for i in range(frames)]]) if tokenizer.net.pitch is not None else None


@pytest.mark.parametrize(("kernel", "stride"), [(k, s) for k in (1, 3, 4, 8, 15) for s in (1, 2, 3, 4, 8) if k >= s])
@pytest.mark.parametrize("dilation", [1, 3])
def test_convolutions_in_pieces_equal_the_whole(kernel: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    check_pieces(CausalConv(2, 3, kernel, stride, dilation), stride)


@pytest.mark.parametrize("layer", [CausalUpsample(4, 3, 5), CausalWideBlock(4), CausalWave(5, 4)])
def test_other_layers_in_pieces_equal_the_whole(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    check_pieces(layer, 1)


def test_what_is_heard_can_be_drawn() -> None:
    """With nothing between spectrum and wave but what one calls its numbers and the other its own, the wave comes back."""
    hop, frames = 8, 20
    listening, drawing = AheadSpectrum(hop), CausalWave(hop, 1)
    drawing.draw = nn.Identity()  # type: ignore[assignment]
    wave = torch.randn(2, 1, hop * frames + listening.ahead)
    loudness, x, y = listening(wave).chunk(3, 1)
    back = drawing(torch.cat([loudness, torch.atan2(y, x)], 1))
    assert back.shape == (2, 1, hop * frames)
    start = drawing.context * hop  # before which windows are missing
    assert torch.allclose(back[..., start:], wave[..., start : hop * frames], atol=2e-3), "QUIETEST is added to each magnitude"


def check_pieces(layer: nn.Module, stride: int) -> None:
    channels = next(module.in_channels for module in layer.modules() if isinstance(module, nn.Conv1d))
    channels = 4 if isinstance(layer, CausalWideBlock) else channels
    for frames, piece in itertools.product((1, 2, 7, 16), (1, 2, 8)):
        x = torch.randn(2, channels, frames * stride)
        memory = Memory()
        parts = [layer(x[..., i : i + piece * stride], memory) for i in range(0, frames * stride, piece * stride)]
        assert torch.allclose(torch.cat(parts, -1), layer(x), atol=1e-5), (frames, piece)


def test_the_future_does_not_matter(tokenizer: AudioResidual) -> None:
    wave = torch.randn(1, 1, 400 + tokenizer.net.ahead)
    changed = wave.clone()
    changed[..., 200 + tokenizer.net.ahead :] += 1
    z, other = tokenizer.net.encode(wave), tokenizer.net.encode(changed)
    assert torch.allclose(z[..., :10], other[..., :10], atol=1e-5)
    assert (z[..., 10] - other[..., 10]).abs().max() > 1e-3
    pitch = voice(tokenizer, 20)
    decoded, again = tokenizer.net.decode(z, pitch), tokenizer.net.decode(other, pitch)
    assert torch.allclose(decoded[..., :200], again[..., :200], atol=1e-5)


@pytest.mark.parametrize("cut", ["samples", "frames", "odd", "random", "whole"])
@pytest.mark.parametrize("channels", [1, 2])
def test_streams_equal_the_whole_for_every_chunking(tokenizer: AudioResidual, cut: str, channels: int) -> None:
    audio = noise(613, channels)
    whole = tokenizer.encode([audio])[0]
    (decoded,) = tokenizer.decode([whole])
    rng = np.random.default_rng(1)
    sizes = {"samples": [1] * 613, "frames": [20] * 31, "odd": [33] * 19, "random": rng.integers(0, 50, 60).tolist(), "whole": [613]}[cut]
    encoder, decoder = tokenizer.stream(channels), tokenizer.stream_decoder(channels)
    pieces, place = [], 0
    for size in sizes:
        pieces.append(encoder.push(audio.samples[:, place : place + size]))
        place += size
    found = [tokens for tokens in (*pieces, encoder.flush()) if tokens is not None]
    for level, array in enumerate(whole.arrays):
        assert np.array_equal(np.concatenate([tokens.arrays[level] for tokens in found], 1), array)
    heard = np.concatenate([decoder.push(tokens) for tokens in found], 1)
    assert heard.shape == audio.samples.shape
    assert isinstance(decoded, Audio)
    assert np.abs(heard - decoded.samples).max() < 1e-5
    assert encoder.flush() is None


def test_latents_of_a_stream_equal_those_of_the_whole(tokenizer: AudioResidual) -> None:
    ahead = tokenizer.net.ahead
    wave = torch.from_numpy(noise(640 + ahead).samples)[None]
    memory = Memory()
    parts = [tokenizer.net.encode(wave[..., i : i + 20 + ahead], memory) for i in range(0, 640, 20)]
    assert (torch.cat(parts, -1) - tokenizer.net.encode(wave)).abs().max() < 1e-5


def test_a_stream_takes_any_amount_in_pieces(tokenizer: AudioResidual) -> None:
    audio, small = noise(640, 2), AudioResidual(tokenizer.net)
    small.piece_frames = 7
    seen: list[int] = []
    small.net.spectrum.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].shape[-1]))
    stream = small.stream(2)
    parts = [stream.push(audio.samples), stream.flush()]
    small.net.spectrum._forward_pre_hooks.clear()
    tokens = tokenizer.encode([audio])[0]
    for level, array in enumerate(tokens.arrays):
        assert np.array_equal(np.concatenate([part.arrays[level] for part in parts if part], 1), array)
    assert max(seen) == 7 * tokenizer.config.hop + tokenizer.net.spectrum.ahead
    (whole,) = tokenizer.decode([tokens])
    assert isinstance(whole, Audio)
    assert np.abs(small.stream_decoder(2).push(tokens) - whole.samples).max() < 1e-5
    masked = replace(tokens, present=(np.ones(tokens.arrays[0].shape[1], bool),) * len(tokens.arrays))
    with pytest.raises(UsageError, match="only some regions"):
        small.stream_decoder(2).push(masked)


def test_a_stream_starts_anew_after_its_end(tokenizer: AudioResidual) -> None:
    encoder, audio = tokenizer.stream(), noise(30)
    first = [encoder.push(audio.samples), encoder.flush()]
    second = [encoder.push(audio.samples), encoder.flush()]
    assert first == second


@pytest.mark.parametrize("samples", [1, 19, 20, 21, 399, 400, 401])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_length_comes_back(tokenizer: AudioResidual, samples: int, rate: int, channels: int) -> None:
    (back,) = tokenizer.decode(tokenizer.encode([noise(samples, channels, rate)]))
    assert isinstance(back, Audio)
    assert back.samples.shape == (channels, samples)
    assert back.rate == rate


def test_long_sounds_in_pieces_equal_the_whole(tokenizer: AudioResidual) -> None:
    audio = noise(20 * 50 + 3, 2)
    whole = tokenizer.encode([audio, audio])
    small = AudioResidual(tokenizer.net)
    small.piece_frames, small.batch_channels = 7, 2
    assert small.encode([audio, audio]) == whole
    (a, b), (c, _) = small.decode(whole), tokenizer.decode(whole)
    assert isinstance(a, Audio) and isinstance(b, Audio) and isinstance(c, Audio)  # noqa: PT018
    assert np.abs(a.samples - c.samples).max() < 1e-5
    assert np.array_equal(a.samples, b.samples)


def test_sounds_of_about_one_length_share_batches(tokenizer: AudioResidual) -> None:
    lengths = [(400, 1), (390, 2), (401, 1), (307, 1), (299, 1), (20, 2), (400, 4)]
    audios = [noise(count, channels) for count, channels in lengths]
    layouts = [tokenizer.layout(sounds.size_of_sound(audio).signal) for audio in audios]
    batches = sounds.batches_of(layouts, 8)
    assert sorted(i for batch in batches for i in batch) == list(range(len(audios)))
    assert len(batches) == 3
    together = tokenizer.encode(audios)
    assert together == [tokenizer.encode([audio])[0] for audio in audios]
    for audio, decoded, alone in zip(audios, tokenizer.decode(together), [tokenizer.decode([item])[0] for item in together], strict=True):
        assert isinstance(decoded, Audio)
        assert isinstance(alone, Audio)
        assert decoded.samples.shape == audio.samples.shape
        assert np.abs(decoded.samples - alone.samples).max() < 1e-5


def test_channels_and_levels_keep_their_places(tokenizer: AudioResidual) -> None:
    """Coding each channel's mid and side alone, and turning them back, is what coding both gives."""
    audio = noise(333, 2)
    pair = sounds.to_network(audio, 16000, 1)
    (tokens,) = tokenizer.encode([audio])
    parts = []
    for channel, row in enumerate(pair):
        (alone,) = tokenizer.encode([Audio(np.ascontiguousarray(row[None]), 16000)])
        own = tuple(array[channel : channel + 1] for array in tokens.arrays)
        levels = slice(0 if tokenizer.config.pitch is None else 1, None)  # pitch is that of the louder
        assert all(np.array_equal(a, b) for a, b in zip(alone.arrays[levels], own[levels], strict=True))
        parts += tokenizer.decode([Tokens(alone.layout, own)])
    rows = np.concatenate([part.samples for part in parts])  # type: ignore[union-attr]
    (both,) = tokenizer.decode([tokens])
    assert isinstance(both, Audio)
    assert np.abs(both.samples - np.clip(sounds.left_right(rows), -1, 1)).max() < 1e-5


def test_margins_are_what_the_decoder_sees(tokenizer: AudioResidual) -> None:
    z = torch.randn(1, tokenizer.net.quantizer.dim, 60)
    changed = z.clone()
    changed[..., 20] += 1
    pitch = voice(tokenizer, 60)
    moved = (tokenizer.net.decode(z, pitch) - tokenizer.net.decode(changed, pitch)).abs().unflatten(-1, (60, -1)).amax((0, 1, 3)) > 0
    seen = tokenizer.margins.before
    assert int(torch.nonzero(moved).min()) == 20
    assert int(torch.nonzero(moved).max()) <= 20 + seen
    assert seen <= int(torch.nonzero(moved).max()) - 20 + 2, "and hardly more"


def test_behind_a_pause_a_stretch_is_that_of_the_whole(tokenizer: AudioResidual) -> None:
    """Where pulses lie is known from the last pause on, so no stretch needs a sound's start."""
    pitch, levels = voice(tokenizer, 80), [torch.randint(64, (1, 80)) for _ in range(3)]
    whole, part = [*([] if pitch is None else [pitch]), *levels], slice(30, 80)
    reach = tokenizer.margins.before
    assert pitch is None or pitch[0, 36] == 0
    drawn, stretch = tokenizer.net.detokenize(whole), tokenizer.net.detokenize([stage[:, part] for stage in whole])
    start = (36 - 30 + reach + 1) * 20
    assert start < 800
    assert torch.allclose(stretch[..., start:], drawn[..., 600 + start :], atol=1e-5)


@pytest.mark.parametrize("pauses", [[700], [100], [100, 640], []])
def test_a_stretch_of_a_voice_that_goes_on_for_long(tmp_path: Path, pauses: list[int]) -> None:
    """One pause of a second or two before a stretch tells where pulses lie; where there is none, the start does."""
    torch.manual_seed(0)
    tokenizer = AudioResidual(AudioResidualNet(VOICED))
    nn.init.normal_(tokenizer.net.decoder[-1].colour.weight)
    zoo.save(tokenizer, tmp_path / "model")
    layout = tokenizer.layout((("samples", 16000), ("rate", 16000), ("channels", 1)))
    pitch = np.random.default_rng(0).integers(1, 32, (1, 800)).astype(np.int32)
    pitch[0, pauses] = 0
    tokens = Tokens(layout, (pitch, *(np.full((1, 800), 3, np.int32) for _ in range(3))))
    prior = StaticPrior.fit([tokens])
    zoo.save(tokenizer, tmp_path / "model", prior)
    stored = zoo.load(str(tmp_path / "model"))
    info = StreamInfo("audio", bytes.fromhex(stored.fingerprint)[:6], signal=layout.signal)
    (tmp_path / "voice.smt").write_bytes(write(tokens, prior, info))
    whole = api.decompress(tmp_path / "voice.smt", model=tmp_path / "model")
    part = api.decompress(tmp_path / "voice.smt", model=tmp_path / "model", start=0.92, end=0.97)
    assert isinstance(whole, Audio)
    assert isinstance(part, Audio)
    assert np.abs(whole.samples).max() > 0.01
    assert np.abs(part.samples - whole.samples[:, 14720:15520]).max() < 1e-5


def test_few_tokens_do_not_become_gigabytes(tokenizer: AudioResidual) -> None:
    def layout(samples: int, rate: int) -> None:
        tokenizer.layout((("samples", samples), ("rate", rate), ("channels", 1)))

    layout(2**24, 768000)
    layout(2**29, 192000)
    with pytest.raises(UsageError, match="16 times the model's rate"):
        layout(2**29, 768000)


@pytest.mark.parametrize("new_rate", [16000, 22050, 48000])
def test_resampling_in_blocks_is_resampling(new_rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(10000, 2).samples
    whole = sounds.resample(samples, 24000, new_rate, 7000)
    monkeypatch.setattr(sounds, "BLOCK", 999)
    assert np.array_equal(sounds.resample(samples, 24000, new_rate, 7000), whole)
    assert np.array_equal(sounds.resample(samples, 24000, 24000, 10003)[:, -4:], samples[:, [-1] * 4])


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
def test_silence_and_constants_are_decoded(tokenizer: AudioResidual, value: float) -> None:
    (back,) = tokenizer.decode(tokenizer.encode([Audio(np.full((1, 100), value, np.float32), 16000)]))
    assert isinstance(back, Audio)
    assert np.isfinite(back.samples).all()
    assert np.abs(back.samples).max() <= 1


def test_what_is_no_sound_is_refused(tokenizer: AudioResidual) -> None:
    with pytest.raises(SignalError, match="found Image"):
        tokenizer.encode([Image(np.zeros((4, 4, 3), np.uint8))])
    with pytest.raises(SignalError, match="no numbers"):
        tokenizer.encode([Audio(np.full((1, 4), np.nan, np.float32), 16000)])
    with pytest.raises(UsageError, match="signal size"):
        tokenizer.layout((("height", 4), ("width", 4)))
    for samples, rate, channels in ((2**30, 16000, 1), (2**20, 1, 1), (2**26, 1000, 8), (4, 16000, 9)):
        with pytest.raises(UsageError):
            tokenizer.layout((("samples", samples), ("rate", rate), ("channels", channels)))
    with pytest.raises(SignalError, match=r"\(2, n\)"):
        tokenizer.stream(2).push(noise(4).samples)
    with pytest.raises(UsageError, match="2 channels"):
        tokenizer.stream_decoder(2).push(tokenizer.encode([noise(20)])[0])


def test_two_channels_are_their_mean_and_half_their_difference() -> None:
    audio = noise(50, 2)
    pair = sounds.to_network(audio, 16000, 25)
    assert np.allclose(pair[0], audio.samples.mean(0))
    assert np.allclose(sounds.left_right(pair), audio.samples, atol=1e-7)
    assert np.array_equal(sounds.mid_side(noise(5, 3).samples), noise(5, 3).samples)


def test_resampling_keeps_tones_where_they_are() -> None:
    t = np.arange(24000) / 24000
    tone = (0.5 * np.sin(2 * np.pi * 1000 * t)).astype(np.float32)[None]
    found = sounds.resample(tone, 24000, 16000, 16000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    assert np.abs(found[0] - expected)[500:-500].max() < 1e-4


@pytest.mark.parametrize(
    "changes",
    [{"rate": 10}, {"strides": (4,)}, {"strides": (0, 2)}, {"widths": (8, 0)}, {"encoder_blocks": -1}],
)
def test_impossible_networks_are_refused(changes: dict[str, object]) -> None:
    arguments = {"quantizer": CONFIG.quantizer, "strides": (4, 5), "widths": (8, 16)} | changes
    with pytest.raises(UsageError):
        AudioResidualConfig(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"rate": 0}, {"strides": "x"}, {"strides": []}, {"rate": None}])
@pytest.mark.parametrize("kind", ["audio-residual", "audio-single"])
def test_configs_of_strangers_have_no_delay(kind: str, changes: dict[str, object]) -> None:
    assert delay_of(kind, {"rate": 16000, "strides": [4, 5]} | changes) is None
    assert delay_of("audio-residual", {"rate": 16000, "strides": [4, 5]}) is not None


def test_silence_has_components_too() -> None:
    net = AudioResidualNet(CONFIG)
    net.fit_start(torch.zeros(2, 1, 400))
    assert torch.isfinite(net.components).all()
    with pytest.raises(UsageError, match="a codebook of 64"):
        AudioResidualNet(replace(CONFIG, quantizer=ResidualConfig(VQConfig(8, 64)), strides=(4, 2)))
