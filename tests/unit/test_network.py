"""The network of image-grid: its parts, its true receptive field, and that tiles equal the whole."""

from __future__ import annotations

import copy
import functools
import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.image.grid import BATCH_PIXELS, ImageGrid
from smalti.tokenizers.image.network import HAAR_LEVELS, ImageGridConfig, ImageGridNet, pad_to_stride
from smalti.tokenizers.image.tiles import spans, tiles
from smalti.tokenizers.image.trim import Margins
from smalti.tokenizers.nets.convolution import ChannelNorm, ResidualBlock, Upsample, WideBlock
from smalti.tokenizers.nets.haar import haar, inverse_haar
from smalti.tokenizers.nets.whitening import SteadyWhitening, Whitening
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig
from smalti.tokenizers.signals import Image, Shape
from smalti.tokenizers.tokens import Tokens

FSQ = SingleConfig(FSQConfig((8, 5, 5)))
# the depths that are shipped, no depth at all, and stride 8; narrow, since the reach does not depend on the width
CONFIGS = [
    ImageGridConfig(FSQ, widths=(6, 6, 6), head_width=6),
    ImageGridConfig(FSQ, widths=(6, 6, 6), encoder_depths=(0, 0, 0), decoder_depths=(0, 0, 0), head_width=6),
    ImageGridConfig(FSQ, widths=(6, 6), encoder_depths=(2, 1), decoder_depths=(1, 2), head_width=6),
]
SMALL = ImageGridConfig(ResidualConfig(VQConfig(64, 4), levels=2), (8, 8, 8), (1, 0, 1), (1, 1, 1), 8)


def random_net(config: ImageGridConfig) -> ImageGridNet:
    """Every weight random: blocks start as the identity, which would hide their reach."""
    return copy.deepcopy(_random_net(config))


@functools.cache
def _random_net(config: ImageGridConfig) -> ImageGridNet:
    torch.manual_seed(0)
    net = ImageGridNet(config)
    for parameter in net.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        nn.init.normal_(parameter, std=1 / math.sqrt(fan_in))
    net.train()
    net.norm.momentum = 0.5
    for _ in range(6):
        net(torch.rand(2, 3, 64, 64) * 2 - 1)
    return net.eval().requires_grad_(False)


def strip(tokens: int, stride: int, channels: int = 3, per_token: int | None = None) -> Tensor:
    """float64 noise, one token high and `tokens` wide."""
    side = stride if per_token is None else per_token
    return torch.randn(1, channels, side, side * tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# --- parts --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_haar_is_inverted_and_keeps_the_energy(levels: int) -> None:
    x = torch.randn(2, 3, 16, 24, dtype=torch.float64)
    bands = haar(x, levels)
    assert bands.shape == (2, 3 * 4**levels, 16 >> levels, 24 >> levels)
    assert torch.allclose(inverse_haar(bands, levels), x, atol=1e-12)
    assert float(bands.square().sum()) == pytest.approx(float(x.square().sum()), rel=1e-12)


def test_the_first_haar_band_is_the_mean() -> None:
    assert torch.allclose(haar(torch.ones(1, 1, 4, 4), 2).flatten(), torch.tensor([4.0] + [0.0] * 15))


def test_blocks_start_as_the_identity_and_look_as_far_as_they_say() -> None:
    for block in (ResidualBlock(4), WideBlock(4)):
        x = torch.randn(1, 4, 21, 21, dtype=torch.float64)
        block.double()
        assert torch.equal(block(x), x)
        for parameter in block.parameters():
            nn.init.normal_(parameter)
        moved = x.clone()
        moved[0, :, 10, 10] += 1
        changed = (block(moved) != block(x)).any(1)[0].nonzero()
        assert changed.min() == 10 - block.radius
        assert changed.max() == 10 + block.radius


def test_the_norm_is_over_channels_at_each_position() -> None:
    x = 5 * torch.randn(2, 8, 3, 4)
    out = ChannelNorm(8)(x)
    assert torch.allclose(out.square().mean(1), torch.ones(2, 3, 4), atol=1e-4)
    assert torch.allclose(ChannelNorm(8)(x[:, :, 1:2, 2:3]), out[:, :, 1:2, 2:3])


def test_upsampling_doubles_each_side() -> None:
    assert Upsample(8, 5)(torch.randn(1, 8, 3, 4)).shape == (1, 5, 6, 8)


def test_padding_repeats_the_edge() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert pad_to_stride(x, 4).tolist() == [[[[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]]]
    assert pad_to_stride(x[..., :1, :1], 16).shape == (1, 1, 16, 16)


def test_whitening_in_training_gives_identity_covariance() -> None:
    torch.manual_seed(0)
    mixed = torch.randn(8, 8)
    whitening = Whitening(8).train()
    z = torch.einsum("bdhw,de->behw", torch.randn(16, 8, 12, 12), mixed) + 7
    rows = whitening(z).movedim(1, -1).reshape(-1, 8)
    covariance = rows.t() @ rows / len(rows)
    assert float(rows.mean(0).abs().max()) < 1e-4
    assert torch.allclose(covariance, torch.eye(8), atol=0.1)  # less in directions that carry little: the floor
    assert float((covariance - torch.diag(covariance.diagonal())).abs().max()) < 0.05


def test_steady_whitening_keeps_to_the_running_covariance() -> None:
    torch.manual_seed(0)
    whitening, mixed = SteadyWhitening(4).train(), torch.randn(4, 4)
    for _ in range(40):
        whitening((torch.randn(8, 30, 4) @ mixed + 2).movedim(-1, 1))
    louder = (3 * torch.randn(8, 30, 4) @ mixed + 5).movedim(-1, 1).requires_grad_()
    white = whitening(louder)
    rows = white.detach().movedim(1, -1).reshape(-1, 4)
    assert torch.allclose(rows.mean(0), torch.zeros(4), atol=1e-4), "the mean is the batch's"
    state = copy.deepcopy(whitening).eval()
    state.mean.copy_(louder.detach().mean((0, 2)))
    assert torch.allclose(state(louder), white, atol=1e-4), "all else is as in evaluation"
    assert 2 < rows.std() < 3, "three times as loud, of which the statistics have learned a twentieth"
    (white * torch.randn_like(white)).sum().backward()
    gradient = louder.grad.movedim(1, -1).reshape(-1, 4)  # type: ignore[union-attr]
    centred = (louder - louder.mean((0, 2), keepdim=True)).detach().movedim(1, -1).reshape(-1, 4)
    assert (centred.t() @ gradient).triu().abs().max() < 1e-3 * gradient.abs().sum(), "nothing pulls at scales"


def test_whitening_in_evaluation_is_one_affine_map() -> None:
    torch.manual_seed(0)
    whitening = Whitening(4).train()
    for _ in range(50):
        whitening(3 * torch.randn(8, 4, 6, 6) + 1)
    whitening.eval()
    state = {key: value.clone() for key, value in whitening.state_dict().items()}
    a, b = torch.randn(2, 4, 5, 5), 100 * torch.randn(2, 4, 5, 5)
    middle = whitening(a / 2 + b / 2)
    assert torch.allclose(middle, whitening(a) / 2 + whitening(b) / 2, atol=1e-4)
    assert torch.allclose(whitening(a[:, :, 2:3, 3:4]), whitening(a)[:, :, 2:3, 3:4], atol=1e-6)
    assert all(torch.equal(value, state[key]) for key, value in whitening.state_dict().items())


def test_the_running_statistics_arrive_at_the_data() -> None:
    torch.manual_seed(0)
    whitening = Whitening(4, momentum=0.2).train()
    for _ in range(40):
        whitening(2 * torch.randn(64, 4, 8, 8) - 5)
    rows = whitening.eval()(2 * torch.randn(64, 4, 8, 8) - 5).movedim(1, -1).reshape(-1, 4)
    assert torch.allclose(rows.t() @ rows / len(rows), torch.eye(4), atol=0.1)


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 4, 1, 1)])
def test_whitening_of_fewer_positions_than_channels_stays_finite(shape: tuple[int, ...]) -> None:
    z = torch.randn(shape, requires_grad=True)
    out = Whitening(4).train()(z)
    out.square().sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(z.grad).all()


# --- receptive field ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"stride{config.stride}-{config.decoder_depths}")
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_encoder_looks_as_far_as_its_margin(config: ImageGridConfig, side: str) -> None:
    """A token sees the last pixel column of its margin's outermost token but one, and none beyond the margin: true and tight."""
    net, stride = random_net(config).double(), config.stride
    margin = net.encoder_margin
    token, count = margin + 2, 2 * margin + 5
    pixels = strip(count, stride)
    base = net.encoder(haar(pixels, HAAR_LEVELS))[..., token]

    def changed(distance: int) -> bool:
        """Does a pixel so far from the token's own area change it? 0 is the neighbour."""
        column = token * stride - 1 - distance if side == "left" else (token + 1) * stride + distance
        moved = pixels.clone()
        moved[..., column] += 10
        return not torch.equal(net.encoder(haar(moved, HAAR_LEVELS))[..., token], base)

    assert not changed(margin * stride)
    assert changed((margin - 1) * stride)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"stride{config.stride}-{config.decoder_depths}")
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_decoder_looks_as_far_as_its_margin(config: ImageGridConfig, side: str) -> None:
    net, stride = random_net(config).double(), config.stride
    margin = net.decoder_margin
    token, count = margin + 2, 2 * margin + 5
    latents = strip(count, stride, net.quantizer.dim, 1)
    area = slice(token * stride, (token + 1) * stride)
    base = net.decode(latents)[..., area]

    def changed(distance: int) -> bool:
        moved = latents.clone()
        moved[..., token - distance if side == "left" else token + distance] += 10
        return not torch.equal(net.decode(moved)[..., area], base)

    assert not changed(margin + 1)
    assert changed(margin)


# --- tiles and the whole ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"stride{config.stride}-{config.decoder_depths}")
def test_tiles_equal_the_whole(config: ImageGridConfig) -> None:
    net, stride = random_net(config), config.stride
    count = 3 * net.decoder_margin + 4
    pixels = strip(count, stride).float()
    whole = net.encode(pixels)
    for span in spans(count, 3, net.encoder_margin):
        outer = span.scaled(stride).outer
        assert torch.allclose(net.encode(pixels[..., outer])[..., span.trim], whole[..., span.inner], atol=1e-4)
    latents = strip(count, stride, net.quantizer.dim, 1).float()
    whole = net.decode(latents)
    for span in spans(count, 5, net.decoder_margin):
        fine = span.scaled(stride)
        assert torch.allclose(net.decode(latents[..., span.outer])[..., fine.trim], whole[..., fine.inner], atol=1e-4)


def test_tiles_equal_the_whole_in_two_dimensions_at_the_shipped_depths() -> None:
    net = random_net(CONFIGS[0])
    margin = net.decoder_margin
    rows, columns = margin + 4, margin + 6
    latents = torch.randn(1, net.quantizer.dim, rows, columns, generator=torch.Generator().manual_seed(2))
    whole = net.decode(latents)
    for tile in tiles([(rows, columns)], 7, margin):
        part = net.decode(latents[..., tile.rows.outer, tile.columns.outer])
        fine = tile.rows.scaled(16), tile.columns.scaled(16)
        assert torch.allclose(part[..., fine[0].trim, fine[1].trim], whole[..., fine[0].inner, fine[1].inner], atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"stride{config.stride}-{config.decoder_depths}")
def test_tiles_trimmed_on_the_way_equal_the_whole(config: ImageGridConfig) -> None:
    """Where margins are full, cut short by the picture's edge, and absent; and the last layer sees little more than the inner part."""
    net, stride = random_net(config), config.stride
    margin = net.decoder_margin
    rows, columns = margin + 5, 2 * margin + 4
    latents = torch.randn(1, net.quantizer.dim, rows, columns, generator=torch.Generator().manual_seed(3))
    whole = net.decode(latents)
    widths: list[int] = []
    net.decoder[-1].register_forward_hook(lambda layer, inputs, output: widths.append(inputs[0].shape[-1]))
    for tile in tiles([(rows, columns)], 4, margin):
        fine = tile.rows.scaled(stride), tile.columns.scaled(stride)
        part = net.decode(latents[..., tile.rows.outer, tile.columns.outer], Margins(*fine[0].margins, *fine[1].margins))
        assert torch.allclose(part, whole[..., fine[0].inner, fine[1].inner], atol=1e-4)
        inner = (fine[1].stop - fine[1].start) // 2
        assert inner <= widths[-1] <= inner + 4, "a 3x3 convolution at half size needs one more on each side, cut at steps of two"


@pytest.mark.parametrize("batch_pixels", [BATCH_PIXELS, 2**20])
def test_no_batch_holds_more_pixels_than_allowed(batch_pixels: int) -> None:
    tokenizer = ImageGrid(random_net(CONFIGS[0]))
    tokenizer.batch_pixels = batch_pixels
    layouts = [tokenizer.layout((("height", 5000), ("width", 8000))), tokenizer.layout((("height", 300), ("width", 400)))] * 3
    for margin in (tokenizer.net.encoder_margin, tokenizer.net.decoder_margin):
        for batch in tokenizer._batches(layouts, margin):
            assert sum(math.prod(tile.outer_shape) for tile in batch) * tokenizer.config.stride**2 <= batch_pixels


def test_pictures_that_no_reader_accepts_are_not_decoded() -> None:
    tokenizer = ImageGrid(random_net(SMALL))
    for size in ((65536, 1), (65535, 65535)):
        with pytest.raises(UsageError, match="pixels at most"):
            tokenizer.layout((("height", size[0]), ("width", size[1])))


def noise(height: int, width: int, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def same_but_for_ties(a: Tokens, b: Tokens) -> bool:
    """Equal, or different at one token in a hundred at most: two entries may be equally near to float rounding."""
    different = sum(int((x != y).sum()) for x, y in zip(a.arrays, b.arrays, strict=True))
    return a.layout == b.layout and different <= a.count // 100


@pytest.mark.parametrize("tile_pixels", [1, 40])
def test_tile_size_changes_nothing(tile_pixels: int) -> None:
    tokenizer = ImageGrid(random_net(SMALL))
    pictures = [noise(70, 90), noise(20, 150), noise(64, 64)]
    whole = tokenizer.encode(pictures)
    decoded = tokenizer.decode(whole)
    tokenizer.tile_pixels, tokenizer.batch_pixels = tile_pixels, 10000
    for a, b in zip(tokenizer.encode(pictures), whole, strict=True):
        assert same_but_for_ties(a, b)
    for a, b in zip(tokenizer.decode(whole), decoded, strict=True):
        assert int(np.abs(a.pixels.astype(int) - b.pixels).max()) <= 1


@pytest.mark.parametrize("config", CONFIGS)
def test_nothing_tells_where_the_border_is(config: ImageGridConfig) -> None:
    """What is the same everywhere gives the same everywhere: zeros beyond the border would show along it."""
    net, stride = random_net(config).double(), config.stride
    flat = torch.tensor([0.3, -0.5, 0.1]).double().reshape(1, 3, 1, 1).expand(1, 3, 4 * stride, 6 * stride)
    latents = net.encode(flat)
    torch.testing.assert_close(latents, latents[..., :1, :1].expand_as(latents))
    coarse = itertools.takewhile(lambda layer: not isinstance(layer, Upsample), net.decoder)  # finer steps look a few pixels at most
    features = nn.Sequential(*coarse)(latents)
    torch.testing.assert_close(features, features[..., :1, :1].expand_as(features))


def test_evaluation_takes_no_statistics_over_space() -> None:
    """The mean of one half of a picture does not reach the far end of the other."""
    net = random_net(SMALL)
    reach = net.encoder_margin + 1
    pixels = strip(2 * reach + 2, 16).float()
    brighter = pixels.clone()
    brighter[..., : 16 * reach] += 1
    assert torch.allclose(net.encode(brighter)[..., 2 * reach :], net.encode(pixels)[..., 2 * reach :], atol=1e-6)


# --- pictures -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, CONFIGS[2]], ids=["stride16", "stride8"])
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (16, 16), (1, 100), (40, 7)])
def test_any_size_comes_back(config: ImageGridConfig, size: tuple[int, int]) -> None:
    tokenizer = ImageGrid(random_net(config))
    (tokens,) = tokenizer.encode([noise(*size)])
    rows, columns = (-(-side // config.stride) for side in size)
    assert tokens.layout.stages[0].shape == (rows, columns)
    assert tokens.layout.size == {"height": size[0], "width": size[1]}
    (back,) = tokenizer.decode([tokens])
    assert back.pixels.shape == (*size, 3)
    assert back.pixels.dtype == np.uint8


def test_mixed_sizes_and_depths_in_one_batch() -> None:
    tokenizer = ImageGrid(random_net(SMALL))
    pictures = [noise(33, 20), noise(64, 64, 1), noise(33, 20, 2), noise(1, 1)]
    tokens = tokenizer.encode(pictures)
    mixed = [tokens[0], tokens[1].prefix(1), tokens[2].prefix(1), tokens[3]]
    for item, back in zip(mixed, tokenizer.decode(mixed), strict=True):
        (alone,) = tokenizer.decode([item])
        assert int(np.abs(alone.pixels.astype(int) - back.pixels).max()) <= 1
    for picture, item in zip(pictures, tokens, strict=True):
        assert same_but_for_ties(tokenizer.encode([picture])[0], item)


def test_sixteen_bits_are_the_same_picture() -> None:
    tokenizer = ImageGrid(random_net(SMALL))
    eight = noise(80, 96)
    sixteen = Image(eight.pixels.astype(np.uint16) * 257)
    a, b = tokenizer.encode([eight, sixteen])
    assert same_but_for_ties(a, b)


def test_pixels_are_read_in_minus_one_to_one() -> None:
    tokenizer = ImageGrid(random_net(SMALL))
    tile = tokenizer._batches([tokenizer.layout((("height", 2), ("width", 1)))], 1)[0][0]
    for pixels in (np.array([[[0, 0, 0]], [[255, 255, 255]]], np.uint8), np.array([[[0, 0, 0]], [[65535] * 3]], np.uint16)):
        cut = tokenizer._cut(Image(pixels), tile)
        assert cut.shape == (3, 16, 16)
        assert float(cut[:, 0].max()) == -1
        assert float(cut[:, 1:].min()) == 1


def test_other_signals_and_other_tokens_are_refused() -> None:
    tokenizer = ImageGrid(random_net(SMALL))
    with pytest.raises(SignalError, match="image-grid tokenizes pictures, found Shape"):
        tokenizer.encode([Shape(np.zeros((3, 3)))])
    for signal in ((("samples", 16000),), (("height", 0), ("width", 5)), (("height", 5),)):
        with pytest.raises(UsageError, match="height and width"):
            tokenizer.layout(signal)
    other = ImageGrid(random_net(CONFIGS[0]))
    with pytest.raises(UsageError, match="these tokens are not image-grid's"):
        tokenizer.decode(other.encode([noise(32, 32)]))
    (tokens,) = tokenizer.encode([noise(32, 32)])
    mask = np.ones((2, 2), bool)
    with pytest.raises(UsageError, match="hold only some regions"):
        tokenizer.decode([Tokens(tokens.layout, tokens.arrays, (None, mask))])


def test_the_training_path_equals_tokens_in_evaluation() -> None:
    net = random_net(SMALL)
    pixels = torch.rand(2, 3, 32, 48) * 2 - 1
    reconstruction, quantized = net(pixels)
    indices = net.tokenize(pixels)
    assert all(torch.equal(a, b) for a, b in zip(indices, quantized.indices, strict=True))
    assert torch.equal(net.detokenize(indices), reconstruction)


def test_frozen_tokens_leave_gradients_to_the_decoder_alone() -> None:
    net = random_net(SMALL).train().requires_grad_(True)
    net.freeze_tokens()
    reconstruction, quantized = net(torch.rand(2, 3, 32, 48) * 2 - 1)
    (reconstruction.square().mean() + quantized.losses["commitment"]).backward()
    assert all(p.grad is not None for p in net.decoder.parameters())
    assert all(p.grad is None for part in (net.encoder, net.norm, net.quantizer) for p in part.parameters())
