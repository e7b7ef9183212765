"""The tokenizer image-line: regions, order of tokens, prefixes, sizes, tiles."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.line import ImageLine
from smalti.tokenizers.image.line_network import ImageLineConfig, ImageLineNet, cut, join
from smalti.tokenizers.nets.attention import ReadingBlock
from smalti.tokenizers.nets.centring import StepCentring
from smalti.tokenizers.quantizers import LineConfig
from smalti.tokenizers.signals import Image

SMALL = ImageLineConfig(
    LineConfig(VQConfig(256, 4), (1, 2, 3)), 32, (8, 8, 8), (1, 0, 1), (1, 1, 1), 8, 4, channels=16, heads=2, encoder_blocks=1,
    decoder_blocks=1,
)  # fmt: skip


@functools.cache
def line() -> ImageLine:
    """Every weight random, statistics and tables from a few batches; not to be changed."""
    torch.manual_seed(0)
    net = ImageLineNet(SMALL)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=1 / math.sqrt(parameter[0].numel() if parameter.ndim > 1 else 1))
    net.train()
    net.norm.momentum = net.whitening.momentum = net.centring.momentum = 0.3
    for _ in range(10):
        net(torch.rand(4, 3, 64, 64) * 2 - 1, compare=True)
    return ImageLine(net)


def noise(height: int, width: int, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def test_regions_are_cut_and_joined_in_order() -> None:
    pixels = torch.randn(2, 3, 4, 6)
    squares = cut(pixels, 2)
    assert torch.equal(squares[7], pixels[1, :, :2, 2:4])
    assert torch.equal(join(squares, (2, 3)), pixels)


def test_a_region_owns_its_tokens() -> None:
    """The published reshape of a line into channels without a permutation would spread a change over others."""
    image = noise(64, 96)
    pixels = image.pixels.copy()
    pixels[32:, 32:64] = 255 - pixels[32:, 32:64]
    before, after = line().encode([image, Image(pixels)])
    changed = [np.any(a != b, axis=0) for a, b in zip(before.arrays, after.arrays, strict=True)]
    only = np.zeros((2, 3), bool)
    only[1, 1] = True
    assert all(not np.any(band & ~only) for band in changed)
    assert np.any(changed)


def test_a_token_is_one_step_of_the_line() -> None:
    """Step n of region r in the arrays is what the encoder's column n gives for that region alone."""
    image = noise(32, 64)
    (tokens,) = line().encode([image])
    right = torch.from_numpy(image.pixels[:, 32:].astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    z = line().net.encode(right)
    table = line().net.quantizer.codebook.table
    nearest = torch.cdist(z[0].t(), table).argmin(1).tolist()
    assert np.concatenate([band[:, 0, 1] for band in tokens.arrays]).tolist() == nearest


def test_a_token_reaches_its_region_and_a_little_beyond() -> None:
    tokenizer = line()
    (tokens,) = tokenizer.encode([noise(64, 192)])
    arrays = [array.copy() for array in tokens.arrays]
    arrays[0][0, 0, 0] = (arrays[0][0, 0, 0] + 1) % 256
    other = type(tokens)(tokens.layout, tuple(arrays))
    latents = tokenizer._latents([tokens, other])
    moved = (latents[0] != latents[1]).any(0)
    assert moved[:2, :2].any()
    assert not moved[2:].any()
    assert not moved[:, 2:].any()


def test_stages_are_bands_over_all_regions() -> None:
    layout = line().layout((("height", 33), ("width", 70)))
    assert [stage.axes for stage in layout.stages] == [(("step", n), ("row", 2), ("col", 3)) for n in (1, 2, 3)]
    assert layout.cuts == (1, 2, 3)


def test_prefixes_decode_and_say_more_with_every_band() -> None:
    (tokens,) = line().encode([noise(40, 70)])
    decoded = line().decode([tokens.prefix(k) for k in tokens.layout.cuts])
    assert all(isinstance(image, Image) and (image.height, image.width) == (40, 70) for image in decoded)
    assert not np.array_equal(decoded[0].pixels, decoded[2].pixels)


@pytest.mark.parametrize(("size", "grid"), [((20, 9), (1, 1)), ((32, 32), (1, 1)), ((1, 33), (1, 2)), ((5, 64), (1, 2))])
def test_a_small_picture_is_one_region(size: tuple[int, int], grid: tuple[int, int]) -> None:
    (tokens,) = line().encode([noise(*size)])
    assert tokens.arrays[0].shape == (1, *grid)
    (back,) = line().decode([tokens])
    assert isinstance(back, Image)
    assert (back.height, back.width) == size


def test_a_small_picture_is_scaled_to_its_region() -> None:
    small, large = noise(16, 16), Image(noise(16, 16).pixels.repeat(2, 0).repeat(2, 1))
    flat = Image(np.full((16, 16, 3), 90, np.uint8)), Image(np.full((32, 32, 3), 90, np.uint8))
    a, b = line().encode(list(flat))
    assert all(np.array_equal(x, y) for x, y in zip(a.arrays, b.arrays, strict=True))
    a, b = line()._region(small, 0, 0), line()._region(large, 0, 0)
    assert float((a - b).abs().mean()) < 0.3  # unrelated noise differs by 0.67


def test_batches_and_tiles_change_nothing() -> None:
    images = [noise(200, 250), noise(70, 33, 1)]
    tokens = line().encode(images)
    whole = line().decode(tokens)
    net = line().net
    small = ImageLine(net)
    small.batch_pixels, small.tile_pixels = 32 * 32 * 2, 16
    assert small.encode(images) == tokens
    small.batch_pixels = 2**17
    for a, b in zip(whole, small.decode(tokens), strict=True):
        assert isinstance(a, Image)
        assert isinstance(b, Image)
        assert int(np.abs(a.pixels.astype(int) - b.pixels).max()) <= 1


def test_each_step_loses_its_own_mean_only() -> None:
    centring = StepCentring(2, 3).train()
    offsets = torch.arange(6.0).reshape(2, 3)
    for _ in range(20):
        out = centring(torch.randn(64, 2, 3) + 10 * offsets)
    assert float(out.mean(0).abs().max()) < 0.6
    assert centring.eval()(torch.zeros(1, 2, 3)) == pytest.approx(-centring.mean[None])


def test_before_training_lines_say_what_the_picture_is() -> None:
    """Without the centring, a step gives every picture the same token."""
    torch.manual_seed(0)
    net = ImageLineNet(SMALL).train()
    for _ in range(5):
        _, quantized = net(torch.nn.functional.interpolate(torch.rand(4, 3, 6, 6) * 2 - 1, 64), compare=True)
    steps = torch.cat(quantized.indices, 1)
    assert min(len(steps[:, n].unique()) for n in range(6)) >= 8  # of 16 regions


def test_a_block_is_what_it_read_at_first_and_minds_the_order_of_x_alone() -> None:
    block = ReadingBlock(8, 2)
    x, context = torch.randn(2, 5, 8), torch.randn(2, 7, 8)
    expected = x + block.read(block.read_norm(x), context)
    assert torch.allclose(block(x, context), expected, atol=1e-6)
    assert torch.allclose(block(x, context.flip(1)), expected, atol=1e-5)
    assert torch.allclose(block(x[:1], context[:1]), expected[:1], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"region": 40}, "a multiple of the stride 16, found 40"),
        ({"channels": 15}, "channels must divide into heads"),
        ({"decoder_blocks": 0}, "at least 1"),
        ({"widths": (8,)}, "need 2 .* or 3"),
    ],
)
def test_configs_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ImageLineConfig(SMALL.quantizer, **values)  # type: ignore[arg-type]
