"""A model of the zoo as a codec: its tokenizer and its own tables."""

from __future__ import annotations

from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors import stored
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Prior


def codec(name: str, device: str = "cpu") -> NeuralCodec:
    """By name, name@number or folder; its files name the model's own prior. Raises ModelError."""
    info = zoo.find(name)
    prior: Prior = stored.load(info.folder / "prior.safetensors") if info.prior else UniformPrior()
    return NeuralCodec(zoo.load_model(info, device), prior, info.name, default_prior=True)
