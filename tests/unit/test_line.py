"""The tokenizer image-line: regions, order of tokens, prefixes, sizes, tiles."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import smalti
from smalti.codecs.media.images import write_image
from smalti.recipes.training.sheet import shown_cuts
from smalti.tokenizers import zoo
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.line import ImageLine
from smalti.tokenizers.image.line_network import ImageLineConfig, ImageLineNet, cut, join
from smalti.tokenizers.nets.attention import ReadingBlock
from smalti.tokenizers.nets.centring import StepCentring
from smalti.tokenizers.quantizers import LineConfig
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens

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


def test_each_region_decodes_to_its_own_depth() -> None:
    """A region's latents are those that it has in the prefix of its depth, whatever the others hold."""
    tokenizer = line()
    (tokens,) = tokenizer.encode([noise(64, 96)])
    depths = np.array([[1, 3, 2], [2, 1, 3]])
    masks = tuple(depths > band for band in range(3))
    held = Tokens(tokens.layout, tuple(a * m for a, m in zip(tokens.arrays, masks, strict=True)), (None, *masks[1:]))
    found = tokenizer._latents([held])[0]
    whole = tokenizer._latents([tokens.prefix(k) for k in (1, 2, 3)])
    for row, column in np.ndindex(2, 3):
        place = (slice(None), slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
        assert torch.allclose(found[place], whole[depths[row, column] - 1][place], atol=1e-5)
    (picture,) = tokenizer.decode([held])
    assert isinstance(picture, Image)
    assert (picture.height, picture.width) == (64, 96)


def test_masks_that_no_region_is_drawn_from_are_refused() -> None:
    (tokens,) = line().encode([noise(64, 96)])
    parts = Tokens(tokens.layout, (*tokens.arrays[:2], np.zeros_like(tokens.arrays[2])), (None, None, np.zeros(3, bool)))
    with pytest.raises(UsageError, match="leave out parts of them"):
        line().decode([parts])
    nothing = Tokens(tokens.layout, tuple(np.zeros_like(a) for a in tokens.arrays), (np.zeros((2, 3), bool),) * 3)
    with pytest.raises(UsageError, match="the first band of each region"):
        line().decode([nothing])


def test_a_small_picture_is_scaled_to_its_region() -> None:
    small, large = noise(16, 16), Image(noise(16, 16).pixels.repeat(2, 0).repeat(2, 1))
    flat = Image(np.full((16, 16, 3), 90, np.uint8)), Image(np.full((32, 32, 3), 90, np.uint8))
    a, b = line().encode(list(flat))
    assert all(np.array_equal(x, y) for x, y in zip(a.arrays, b.arrays, strict=True))
    a, b = line()._region(small, 0, 0), line()._region(large, 0, 0)
    assert float((a - b).abs().mean()) < 0.3  # unrelated noise differs by 0.67


def test_batches_and_tiles_change_nothing() -> None:
    images = [noise(100, 140), noise(40, 33, 1)]
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


def correlated(regions: int) -> torch.Tensor:
    """Latents (regions, 4, 2, 2) whose coordinates depend on one another."""
    mixing = torch.randn(16, 16) * torch.logspace(0, -2, 16)
    return (torch.randn(regions, 16) @ mixing.t() + 0.5).reshape(regions, 4, 2, 2)


def test_a_fitted_line_says_most_first() -> None:
    torch.manual_seed(3)
    net = ImageLineNet(SMALL).eval()
    latents = correlated(2000)
    net.fit_linear(latents)
    code = net.analysis(latents.flatten(1))
    torch.testing.assert_close(code.var(0), torch.ones(24), rtol=1e-2, atol=0)
    values = torch.linalg.eigvalsh(torch.cov(latents.flatten(1).t())).flip(0)
    for held in (4, 12, 24):
        kept = code.clone()
        kept[:, held:] = 0
        error = (net.synthesis(kept) - latents.flatten(1)).square().mean(0).sum()
        torch.testing.assert_close(error, values[held:].sum(), rtol=2e-2, atol=1e-3)


def test_a_fitted_line_draws_what_it_was_given() -> None:
    """The transformers add nothing before they are trained."""
    torch.manual_seed(4)
    net = ImageLineNet(SMALL).eval()
    regions = torch.rand(12, 3, 32, 32) * 2 - 1
    latents = net.grid_latents(regions)
    net.fit_linear(torch.cat([latents, latents.mean() + latents.std() * torch.randn(200, 4, 2, 2)]))
    torch.testing.assert_close(net.draw(net.encode(regions)), latents, rtol=0, atol=1e-3)


def test_a_linear_code_can_be_all_of_the_line_decoder() -> None:
    net = ImageLineNet(dataclasses.replace(SMALL, decoder_blocks=0)).eval()
    assert not [name for name, _ in net.named_parameters() if name.startswith(("writers", "token", "patch_queries", "latent"))]
    z_q = torch.randn(3, 4, 6)
    expected = net.synthesis(z_q.transpose(1, 2).flatten(1)).reshape(3, 4, 2, 2)
    assert torch.equal(net.draw(z_q), expected)


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
        ({"decoder_blocks": 0, "linear": False}, "at least 1"),
        ({"decoder_blocks": -1}, "at least 0, found -1"),
        ({"widths": (8,)}, "need 2 .* or 3"),
    ],
)
def test_configs_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ImageLineConfig(SMALL.quantizer, **values)  # type: ignore[arg-type]


def test_of_many_prefixes_doubled_lengths_are_shown() -> None:
    assert shown_cuts(range(1, 19)) == [1, 2, 4, 8, 16, 18]
    assert shown_cuts(range(1, 17)) == [1, 2, 4, 8, 16]
    assert shown_cuts((1, 2, 3)) == [1, 2, 3]


# --- files --------------------------------------------------------------------------------------------------------------------------


def test_a_file_is_cut_to_any_number_of_bytes_without_a_network(
    tmp_path: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most N bytes, and one band more would be too many; so do tokenize and detokenize."""
    model = tmp_path / "model"
    zoo.save(line(), model, half=False)
    write_image(noise(70, 100), tmp_path / "a.png")
    out = cli("tokenize", tmp_path / "a.png", "-m", model, "-o", tmp_path / "a.smt", "--prior", "uniform", "--json").json
    assert out[0]["stages"] == 3
    sizes = []
    with monkeypatch.context() as patch:
        patch.setattr(ImageLineNet, "encode", None)
        patch.setattr(ImageLineNet, "draw", None)
        for stages in (1, 2, 3):
            target = tmp_path / f"{stages}.smt"
            assert cli("cut", tmp_path / "a.smt", "-m", model, "--stages", stages, "-o", target).code == 0
            sizes.append(target.stat().st_size)
        for limit in (sizes[0], sizes[1] - 1, sizes[1], sizes[2] - 1, sizes[2], sizes[2] + 9):
            name = tmp_path / f"limit{limit}.smt"
            assert cli("cut", tmp_path / "a.smt", "-m", model, "--bytes", limit, "-o", name).code == 0
            assert name.stat().st_size == max(size for size in sizes if size <= limit)
        refused = cli("cut", tmp_path / "a.smt", "-m", model, "--bytes", sizes[0] - 1, "-o", tmp_path / "none.smt").refusal()
        assert f"the smallest file of this signal has {sizes[0]} bytes" in refused
    direct = tmp_path / "direct.smt"
    cli("tokenize", tmp_path / "a.png", "-m", model, "-o", direct, "--prior", "uniform", "--bytes", sizes[1], "--no-allocate")
    assert direct.read_bytes() == (tmp_path / "2.smt").read_bytes()
    allocated = tmp_path / "allocated.smt"
    (said,) = cli("tokenize", tmp_path / "a.png", "-m", model, "-o", allocated, "--prior", "uniform", "--bytes", sizes[1], "--json").json
    assert said["bytes"] == allocated.stat().st_size <= sizes[1]
    assert said["tokens"] == smalti.open(allocated, model).count
    assert cli("detokenize", allocated, "-m", model, "-o", tmp_path / "allocated.png").code == 0
    for name, arguments in (("by_bytes", ("--bytes", sizes[1])), ("by_stages", ("--stages", 2))):
        assert cli("detokenize", tmp_path / "a.smt", "-m", model, *arguments, "-o", tmp_path / f"{name}.png").code == 0
    cli("detokenize", tmp_path / "2.smt", "-m", model, "-o", tmp_path / "cut.png")
    assert (tmp_path / "by_bytes.png").read_bytes() == (tmp_path / "by_stages.png").read_bytes() == (tmp_path / "cut.png").read_bytes()
