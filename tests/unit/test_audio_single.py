"""`audio-single`: the spectrum and its inverse, windowed attention, stretches that equal the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from smalti.tokenizers.audio.delay import delay_of
from smalti.tokenizers.audio.single import AudioSingle
from smalti.tokenizers.audio.single_network import AudioSingleConfig, AudioSingleNet
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.configs import to_dict
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.nets.frames import WindowAttention, rotate
from smalti.tokenizers.nets.spectrum import Spectrum
from smalti.tokenizers.quantizers import SingleConfig
from smalti.tokenizers.signals import Audio

CONFIG = AudioSingleConfig(
    SingleConfig(VQConfig(64, 8, cosine=True)), 16000, 20, 16, 16, 2, 2, 1, 2, 5, fineness=2, fine_width=8, fine_blocks=1
)


@pytest.fixture(scope="module")
def tokenizer() -> AudioSingle:
    """Statistics and tables have seen something, and no block is an identity."""
    torch.manual_seed(0)
    net = AudioSingleNet(CONFIG)
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    for _ in range(10):
        net(torch.randn(4, 1, 640) * 0.1)
    return AudioSingle(net)


def noise(samples: int, channels: int = 1) -> Audio:
    rng = np.random.default_rng(0)
    return Audio(rng.uniform(-0.3, 0.3, (channels, samples)).astype(np.float32), 16000)


@pytest.mark.parametrize("hop", [2, 20, 216])
@pytest.mark.parametrize("frames", [1, 2, 3, 9])
def test_a_spectrum_gives_the_waveform_back(hop: int, frames: int) -> None:
    spectrum, wave = Spectrum(hop), torch.randn(2, 1, frames * hop)
    found = spectrum(wave)
    assert found.shape == (2, spectrum.bins, frames)
    inner = slice(hop, -hop) if frames > 2 else slice(0)
    back = spectrum.inverse(found)
    assert back.shape == wave.shape
    assert torch.allclose(back[..., inner], wave[..., inner], atol=1e-4)
    assert torch.isfinite(back).all()


def test_the_inverse_is_torchs_where_that_works() -> None:
    spectrum, found = Spectrum(16), torch.randn(1, 33, 20, dtype=torch.complex64)
    found[:, [0, -1]] = found[:, [0, -1]].real.to(torch.complex64)
    own = spectrum.inverse(found)[0, 0]
    window = torch.hann_window(64)
    known = torch.istft(found, 64, 16, 64, window, center=True)[0]
    start = 64 // 2 - (64 - 16) // 2  # where the sample that istft begins at lies in ours
    assert torch.allclose(own[start + 64 : start + 200], known[64:200], atol=1e-4)


@pytest.mark.parametrize("frames", [1, 4, 5, 13, 40])
def test_windowed_attention_is_plain_attention_with_a_band(frames: int) -> None:
    torch.manual_seed(0)
    layer, x = WindowAttention(8, 2, 5), torch.randn(2, 8, frames)
    nn.init.normal_(layer.out.weight)
    query, key, value = (part.transpose(-1, -2) for part in layer.query_key_value(layer.norm(x)).unflatten(1, (3, 2, 4)).unbind(1))
    places = torch.arange(frames)
    band = (places[:, None] - places).abs() <= 5
    read = nn.functional.scaled_dot_product_attention(rotate(query, places), rotate(key, places), value, attn_mask=band)
    expected = x + layer.out(read.transpose(-1, -2).reshape(2, 8, frames))
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_margins_are_what_the_network_sees(tokenizer: AudioSingle) -> None:
    net, frames = tokenizer.net, 60
    z = torch.randn(1, 8, frames)
    changed = z.clone()
    place = 30
    changed[..., place] += 1
    moved = (net.decode(z) - net.decode(changed)).abs().unflatten(-1, (frames, CONFIG.hop)).amax((0, 1, 3)) > 1e-6
    assert int(torch.nonzero(moved).min()) >= place - net.decoder_margin
    assert int(torch.nonzero(moved).max()) <= place + net.decoder_margin


def test_the_delay_is_what_encoder_and_decoder_look_ahead(tokenizer: AudioSingle) -> None:
    net = tokenizer.net
    assert tokenizer.delay.frames == net.encoder_margin + net.decoder_margin + 1
    assert tokenizer.delay.seconds == tokenizer.delay.frames * CONFIG.hop / CONFIG.rate
    assert "does not stream" in tokenizer.delay.text


@pytest.mark.parametrize("channels", [1, 2])
def test_long_sounds_in_stretches_equal_the_whole(tokenizer: AudioSingle, channels: int) -> None:
    audio = noise(20 * 120 + 3, channels)
    whole = tokenizer.encode([audio])
    small = AudioSingle(tokenizer.net)
    small.piece_frames = 7
    assert small.encode([audio]) == whole
    (a,), (b,) = small.decode(whole), tokenizer.decode(whole)
    assert isinstance(a, Audio)
    assert isinstance(b, Audio)
    assert a.samples.shape == audio.samples.shape
    assert np.abs(a.samples - b.samples).max() < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": 10},
        {"hop": 0},
        {"hop": 21},
        {"hop": 30},
        {"fineness": 0},
        {"fine_width": 0},
        {"heads": 3},
        {"decoder_width": 0},
        {"attentions": -1},
        {"attention_frames": 0},
    ],
)
def test_impossible_networks_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        AudioSingleConfig(CONFIG.quantizer, **changes)  # type: ignore[arg-type]


def test_configs_that_lack_keys_have_the_delay_of_the_defaults() -> None:
    whole = to_dict(AudioSingleConfig(CONFIG.quantizer))
    short = {key: value for key, value in whole.items() if key not in ("fineness", "fine_blocks")}
    assert delay_of("audio-single", short) == delay_of("audio-single", whole) is not None
    assert delay_of("audio-single", short | {"fineness": 1}) != delay_of("audio-single", whole), "what is said counts"


@pytest.mark.parametrize("piece_frames", [7, 512])
def test_sounds_of_several_lengths_share_a_batch_and_come_out_as_alone(tokenizer: AudioSingle, piece_frames: int) -> None:
    lengths = (20 * 80, 20 * 79 + 1, 20 * 64 - 3, 20 * 61)
    audios = [Audio(noise(2 * count, 1).samples[:, count:], 16000) for count in lengths[:3]] + [noise(lengths[3], 2)]
    alone = [tokenizer.encode([audio])[0] for audio in audios]
    sounds = [tokenizer.decode([item])[0] for item in alone]
    small = AudioSingle(tokenizer.net)
    small.piece_frames = piece_frames
    seen: list[int] = []
    plain = small.net.tokenize
    small.net.tokenize = lambda wave, ends=None: seen.append(len(wave)) or plain(wave, ends)  # type: ignore[method-assign, func-returns-value]
    try:
        together = small.encode(audios)
    finally:
        small.net.tokenize = plain  # type: ignore[method-assign]
    assert set(seen) == {5}, "all channels pass together"
    for a, b in zip(together, alone, strict=True):
        assert np.array_equal(a.arrays[0], b.arrays[0])
    for audio, found, expected in zip(audios, small.decode(together), sounds, strict=True):
        assert isinstance(found, Audio)
        assert isinstance(expected, Audio)
        assert found.samples.shape == audio.samples.shape
        assert np.abs(found.samples - expected.samples).max() < 1e-5


@pytest.mark.parametrize("last", [3, 9, 16])
def test_what_lies_behind_an_end_does_not_count(tokenizer: AudioSingle, last: int) -> None:
    torch.manual_seed(1)
    z, ends = torch.randn(2, 8, 16), torch.tensor([16, last])
    changed = z.clone()
    changed[1, :, last:] = 9.0
    with torch.no_grad():
        a, b, alone = tokenizer.net.decode(z, ends), tokenizer.net.decode(changed, ends), tokenizer.net.decode(z[1:, :, :last])
    samples = last * CONFIG.hop
    assert torch.equal(a[..., :samples], b[..., :samples])
    assert torch.allclose(a[1:, :, :samples], alone, atol=1e-5)
