"""Probabilities over tokens. The registry names classes without importing them."""

PRIORS: dict[str, str] = {
    "uniform": "smalti.codecs.priors.uniform:UniformPrior",
    "static": "smalti.codecs.priors.static:StaticPrior",
    "adaptive": "smalti.codecs.priors.adaptive:AdaptivePrior",
    "mesh": "smalti.codecs.priors.mesh:MeshPrior",
    "masked": "smalti.codecs.priors.masked:MaskedPrior",
}
