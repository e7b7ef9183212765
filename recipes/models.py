"""A model of the zoo as a codec: its tokenizer and its own tables."""

from __future__ import annotations

from smalti.codecs import tone
from smalti.codecs.neural import NeuralCodec
from smalti.codecs.priors import stored
from smalti.codecs.priors.uniform import UniformPrior
from smalti.tokenizers import zoo
from smalti.tokenizers.contracts import Prior


def codec(name: str, device: str = "cpu", tone_passes: int = tone.PASSES) -> NeuralCodec:
    """By name, name@number or folder; its files name the model's own prior. tone_passes: as in `NeuralCodec`. Raises ModelError."""
    info = zoo.find(name)
    prior: Prior = stored.load_default(info.folder / stored.DEFAULT, info.prior) if info.prior else UniformPrior()
    return NeuralCodec(zoo.load_model(info, device), prior, info.name, True, tone_passes)
