"""Every codec runs the conformance list: the classical ones, and a tokenizer with each registered prior.

A new prior needs an instance here; a new classical codec is found by its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors import PRIORS
from smalti.codecs.priors.adaptive import AdaptivePrior
from smalti.codecs.priors.masked import MaskedPrior
from smalti.codecs.priors.masked_config import MaskedConfig, kind
from smalti.codecs.priors.mesh import MeshPrior
from smalti.codecs.priors.static import StaticPrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.codecs.registry import CODECS, SHAPE_CODECS, resolve
from smalti.testing import check_codec
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.contracts import Codec, Prior, Target
from smalti.tokenizers.errors import BitstreamError, ModelError, SignalError, UsageError
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Audio, Image, Shape
from smalti.tokenizers.tokens import Tokens

INSTANCES: dict[str, Callable[[Sequence[Tokens]], Prior]] = {
    "uniform": lambda tokens: UniformPrior(),
    "static": StaticPrior.fit,
    "adaptive": lambda tokens: AdaptivePrior(),
    "mesh": lambda tokens: MeshPrior(),
    "masked": lambda tokens: small_masked(tokens[0].layout.stages[0].vocab, len(tokens[0].layout.stages)),
}


def small_masked(vocab: int, stages: int) -> MaskedPrior:
    """A network of random weights."""
    config = MaskedConfig(vocab, ((4, 16), *((16,),) * (stages - 1)), side=8, margin=1, entry=4, channels=8, heads=2, blocks=1, wide=8)
    rng = np.random.default_rng(0)
    return MaskedPrior(config, {name: rng.integers(-2000, 2000, shape).astype(kind(name)) for name, shape in config.shapes().items()})


def test_every_registered_prior_is_tried() -> None:
    assert set(INSTANCES) == set(PRIORS)


@pytest.mark.parametrize("default_prior", [False, True])
@pytest.mark.parametrize("name", INSTANCES)
def test_conforms(name: str, default_prior: bool) -> None:
    torch.manual_seed(0)
    quantizer = ResidualConfig(VQConfig(64, 4), levels=3)
    tokenizer = ImageGrid.from_config(ImageGridConfig(quantizer, (8, 8, 8), (0, 0, 1), (0, 0, 1), 8))
    rng = np.random.default_rng(0)
    pictures = [Image(rng.integers(0, 256, (*size, 3), np.uint8)) for size in ((1, 1), (40, 33), (96, 128))]
    prior = INSTANCES[name](tokenizer.encode(pictures))
    module, _, attribute = PRIORS[name].partition(":")
    assert type(prior) is getattr(importlib.import_module(module), attribute)
    check_codec(NeuralCodec(tokenizer, prior, default_prior=default_prior), pictures)


CLASSICAL = [f"{name}{shrunk}" for name in CODECS for shrunk in ("", "/2", "/4")]


def photo(height: int, width: int, noise: int = 6) -> Image:
    """Smooth colours with a little noise."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 15)], -1) * 90 + 128
    return Image((waves + np.random.default_rng(0).normal(0, noise, waves.shape)).clip(0, 255).astype(np.uint8))


def codec_of(name: str) -> Codec:
    """Skips where a package that the codec needs is not installed."""
    try:
        return resolve(name)
    except ModelError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_codecs_conform(name: str) -> None:
    codec = codec_of(name)
    assert codec.name == name
    check_codec(codec, [photo(1, 1), photo(33, 42)])


@pytest.mark.parametrize("name", SHAPE_CODECS)
def test_classical_codecs_of_shapes_conform(name: str) -> None:
    codec = codec_of(name)
    assert codec.name == name
    corners = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 2.0) for z in (0.0, 3.0)])
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4]])
    check_codec(codec, [Shape(corners, faces), Shape(corners[:3] / 7, faces[:1] * 0 + np.arange(3)), Shape(corners)])


@pytest.mark.parametrize("name", CODECS)
def test_more_quality_costs_more_and_is_nearer(name: str) -> None:
    codec, picture = codec_of(name), photo(40, 52)
    files = [codec.compress(picture, Target(quality=quality)) for quality in (5, 35, 65, 95)]
    assert sorted(files, key=len) == files
    errors = [np.square(pixels_of(codec, data).astype(float) - picture.pixels).mean() for data in files]
    assert sorted(errors, reverse=True) == errors


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_best_that_fits_is_nearly_all_of_the_target(name: str) -> None:
    codec, picture = codec_of(name), photo(64, 80)
    sizes = [len(codec.compress(picture, Target(quality=quality))) for quality in (20, 80)]
    room = sum(sizes) // 2
    data = codec.compress(picture, Target(bytes=room))
    assert sizes[0] < len(data) <= room
    assert codec.compress(picture, Target(bits_per_pixel=8 * room / (64 * 80))) == data
    with pytest.raises(UsageError, match=r"the smallest file of this signal has \d+ bytes, the target allows"):
        codec.compress(picture, Target(bytes=40))


@pytest.mark.parametrize("name", CLASSICAL)
def test_files_of_others_and_other_targets_are_refused(name: str) -> None:
    codec = codec_of(name)
    other = resolve("webp" if name.startswith("jpeg") else "jpeg-420").compress(photo(8, 8))
    for data in (other, b"\x10" + other, b"\xff" * 300, codec.compress(photo(8, 8))[:20]):
        with pytest.raises(BitstreamError):
            codec.decompress(data)
    for target in (Target(stages=1), Target(kbps=6), Target(quality=101)):
        with pytest.raises(UsageError):
            codec.compress(photo(8, 8), target)
    with pytest.raises(SignalError, match="found Audio"):
        codec.compress(Audio(np.zeros((1, 8), np.float32), 8000))


def pixels_of(codec: Codec, data: bytes) -> np.ndarray:
    decoded = codec.decompress(data)
    assert isinstance(decoded, Image)
    return decoded.pixels
