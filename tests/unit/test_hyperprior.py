"""The hyperprior codec: the integer half agrees with the float half and with itself, files, damage; its recipe learns."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti.codecs.hyperprior import codec as codecs
from smalti.codecs.hyperprior import symbols
from smalti.codecs.hyperprior.codec import Hyperprior, load, made
from smalti.codecs.hyperprior.config import SCALE_LEAST, SCALE_MOST, SCALES, HyperpriorConfig
from smalti.codecs.hyperprior.hyper import STEP, nearest_rung
from smalti.codecs.hyperprior.network import gathered, scattered
from smalti.recipes.train_hyperprior import __main__ as recipe
from smalti.recipes.train_hyperprior.learning import Budget, draw
from smalti.recipes.train_hyperprior.model import LAMBDAS, Model, start
from smalti.recipes.train_hyperprior.release import tensors_of
from smalti.testing import check_codec
from smalti.tokenizers.contracts import Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.signals import Array, Image

SMALL = HyperpriorConfig(latents=12, hyper=4, hidden=6, channels=(8, 10), encoder_blocks=(1, 1), decoder_blocks=(1, 1))


def waves(height: int, width: int, noise: float = 12, seed: int = 0) -> Array:
    y, x = np.mgrid[0:height, 0:width]
    clean = np.stack([np.sin(x / 9 + seed), np.cos(y / 7), np.sin((x + y) / 15 + seed)], -1) * 80 + 128
    return (clean + np.random.default_rng(seed).normal(0, noise, clean.shape)).clip(0, 255).astype(np.uint8)


@functools.cache
def small_model() -> Model:
    """Untrained but for its start, with a hyper decoder that says something."""
    torch.manual_seed(0)
    model = Model(SMALL)
    start(model, [waves(96, 96, seed=seed) for seed in range(4)], 0)
    with torch.no_grad():
        model.hyper_synthesis.leave.weight.normal_(0, 0.05)
        model.hyper_analysis.leave.weight.mul_(3)
    return model.eval()


@functools.cache
def small() -> Hyperprior:
    return Hyperprior(made(SMALL, tensors_of(small_model(), [waves(128, 128, seed=seed) for seed in range(2)])))


def test_conforms() -> None:
    check_codec(small(), [Image(waves(1, 1)), Image(waves(70, 131))])


def test_integers_say_what_the_trained_floats_say() -> None:
    model, codec = small_model(), small()
    z = np.random.default_rng(0).integers(-6, 7, (2, 3, SMALL.hyper))
    for quality, rung in ((1, 0), (100, SMALL.rates - 1)):
        found = codec.parts.hyper_decoder(z, quality)
        with torch.no_grad():
            means, logs = model.hyper_synthesis(torch.from_numpy(z).float()[None])
        np.testing.assert_allclose(found.means, means[0].numpy(), atol=0.02)
        assert found.means.any()
        expected = (logs[0].numpy() + model.levels[rung].detach().numpy() - np.log(SCALE_LEAST)) * 1024 / STEP
        assert np.abs(found.tables - expected.clip(0, SCALES - 1)).max() <= 1.1


def test_the_hyper_decoder_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other ways to add give the same numbers, to the last bit: what files hang on."""
    decoder = small().parts.hyper_decoder
    z = np.random.default_rng(1).integers(-31, 32, (3, 2, SMALL.hyper))
    before = decoder(z, 37)
    monkeypatch.setattr("smalti.codecs.hyperprior.hyper.linear", slow_linear)
    after = decoder(z, 37)
    np.testing.assert_array_equal(before.means, after.means)
    np.testing.assert_array_equal(before.tables, after.tables)


def slow_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """In int64, the inputs backwards."""
    products = x.flip(-1).to(torch.int64)[..., None, :] * weight.flip(-1).to(torch.int64)
    sums = products.sum(-1) + bias.to(torch.int64)
    return ((sums + 2048) >> 12).clamp(-(1 << 20), 1 << 20).double()


def test_more_quality_costs_more_and_is_nearer() -> None:
    codec, picture = small(), Image(waves(96, 128))
    files = [codec.compress(picture, Target(quality=quality)) for quality in (1, 30, 60, 100)]
    assert sorted(files, key=len) == files
    errors = [np.square(codec.decompress(data).pixels.astype(float) - picture.pixels).mean() for data in files]  # type: ignore[union-attr]
    assert sorted(errors, reverse=True) == errors
    room = (len(files[1]) + len(files[2])) // 2
    assert len(files[1]) <= len(codec.compress(picture, Target(bytes=room))) <= room
    assert codec.payload_bytes(files[3]) == len(files[3]) - 4 - 3 - 1 - 1 - 2 - 1


def test_files_hold_the_latents_that_the_encoder_had() -> None:
    codec, pixels = small(), waves(64, 128)
    found = codec.latents(codec.analysed(pixels), 100)
    rung = nearest_rung(100, SMALL.rates)
    data = symbols.encode_hyper(found.hyper, codec.parts.tables.hyper[rung])
    np.testing.assert_array_equal(symbols.decode_hyper(data, found.hyper.shape, codec.parts.tables.hyper[rung]), found.hyper)
    wild = found.values.copy()
    wild[0, 0, :4] = (5000, -5000, 31000, -70000)  # beyond the tables
    wild = symbols.clipped(wild, found.foretold.tables)
    assert wild.min() < -30000
    data = symbols.encode_latents(wild, found.foretold.tables, codec.parts.tables)
    np.testing.assert_array_equal(symbols.decode_latents(data, found.foretold.tables, codec.parts.tables), wild)


def test_nothing_reaches_over_the_whole_picture() -> None:
    """A change in one corner leaves the other as it was: the transforms are local, so that tiles could be coded one by one."""
    codec = small()
    pixels = waves(64 * 6, 64 * 6)
    changed = pixels.copy()
    changed[:16, :16] = 255 - changed[:16, :16]
    a, b = (codec.analysed(found)[0] for found in (pixels, changed))
    assert not torch.equal(a[0, 0], b[0, 0])
    assert torch.equal(a[8:, 8:], b[8:, 8:])
    values = a.double().numpy()
    moved = values.copy()
    moved[0, 0] += 5
    one, other = (codec._synthesised(found, 50) for found in (values, moved))
    assert not np.array_equal(one[:16, :16], other[:16, :16])
    np.testing.assert_array_equal(one[160:, 160:], other[160:, 160:])


def test_scales_cover_what_was_trained() -> None:
    assert symbols.scale_of(0) == pytest.approx(SCALE_LEAST, rel=0.07)
    assert symbols.scale_of(SCALES - 1) == pytest.approx(SCALE_MOST, rel=0.07)
    assert [nearest_rung(quality, 6) for quality in (1, 10, 11, 50, 51, 100)] == [0, 0, 1, 2, 3, 5]


def test_squares_are_gathered_and_scattered() -> None:
    x = torch.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    assert gathered(x, 2).shape == (2, 2, 3, 12)
    assert torch.equal(gathered(x, 2)[0, 1, 2], x[0, 2:4, 4:6].flatten())
    assert torch.equal(scattered(gathered(x, 2), 2), x)


def test_damage_and_other_weights() -> None:
    codec = small()
    data = codec.compress(Image(waves(64, 64)), Target(quality=10))
    for place in range(0, len(data), 7):
        with pytest.raises(BitstreamError):
            codec.decompress(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
    other = dataclasses.replace(codec.parts, digest=b"\0\0" + codec.parts.digest[2:])
    with pytest.raises(ModelError, match="written with weights"):
        Hyperprior(other).decompress(data)


def test_sizes_are_bounded_before_anything_is_held() -> None:
    import zlib

    codec = small()
    start = codecs.LETTER + codec.parts.digest[:2] + bytes([50]) + b"\xff\xff\x03\xff\xff\x03\x01"
    forged = start + b"\0" * 8
    with pytest.raises(BitstreamError, match="65535 x 65535 pixels"):
        codec.decompress(forged + zlib.crc32(forged).to_bytes(4, "little"))
    start = codecs.LETTER + codec.parts.digest[:2] + bytes([50]) + b"\x80\x20\x80\x20\x01"  # 4096 x 4096 from next to nothing
    forged = start + b"\0" * 8
    with pytest.raises(BitstreamError):
        codec.decompress(forged + zlib.crc32(forged).to_bytes(4, "little"))
    with pytest.raises(SignalError, match="pixels at most"):
        codec.compress(Image(np.broadcast_to(np.zeros(3, np.uint8), (8192, 4097, 3))))
    for quality in (0.5, 50.5, 101):
        with pytest.raises(UsageError, match="a whole number of 1 to 100"):
            codec.compress(Image(waves(8, 8)), Target(quality=quality))


def test_the_recipe_learns_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from smalti.codecs.media.images import write_image
    from smalti.recipes.train_hyperprior import learning

    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(2):
        write_image(Image(waves(128, 128, seed=seed)), photos / f"{seed}.png")
    monkeypatch.setattr(learning, "CROPS", (64, 128))
    monkeypatch.setattr(recipe, "CROPS", (64, 128))
    out = tmp_path / "made"
    recipe.make(photos, out, Budget(2, batch=6), SMALL)
    first = load(out).parts.digest
    load.cache_clear()
    recipe.make(photos, out, Budget(3, batch=6), SMALL)
    assert load(out).parts.digest != first
    assert "step 3 of 3" in capsys.readouterr().err
    rows = [recipe.measured(load(out), quality, [Image(waves(64, 64))]) for quality in (1, 100)]
    assert rows[0].bits_per_pixel < rows[1].bits_per_pixel
    assert rows[0].psnr < rows[1].psnr
    (out / "config.json").write_text(json.dumps({"latents": 13}))
    load.cache_clear()
    with pytest.raises(ModelError, match="restore"):
        load(out)


def test_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    model = Model(SMALL)
    pictures = [waves(96, 96, seed=seed) for seed in range(3)]
    start(model, pictures, 0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for step in range(25):
        torch.manual_seed(step % 2)
        pixels, rates = draw(pictures, 6, 64, np.random.default_rng(step % 2))
        costs = model(torch.from_numpy(pixels).float(), rates, rounded=step % 2 == 1)
        loss = (costs.bits + costs.hyper_bits + torch.tensor(LAMBDAS)[rates] * costs.error).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    assert torch.isfinite(model.gains.grad).all()  # type: ignore[arg-type]
