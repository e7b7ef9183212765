"""A tokenizer with each registered prior is a codec and runs its conformance list: a new prior needs an instance here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors import PRIORS
from smalti.codecs.priors.static import StaticPrior
from smalti.codecs.priors.uniform import UniformPrior
from smalti.testing import check_codec
from smalti.tokenizers.codebooks import VQConfig
from smalti.tokenizers.contracts import Prior
from smalti.tokenizers.image.grid import ImageGrid
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import ResidualConfig
from smalti.tokenizers.signals import Image
from smalti.tokenizers.tokens import Tokens

INSTANCES: dict[str, Callable[[Sequence[Tokens]], Prior]] = {
    "uniform": lambda tokens: UniformPrior(),
    "static": StaticPrior.fit,
}


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
