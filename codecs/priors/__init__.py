"""Probabilities over tokens. The registry names classes without importing them; others add theirs by the entry point `smalti.priors`."""

PRIORS: dict[str, str] = {
    "uniform": "smalti.codecs.priors.uniform:UniformPrior",
    "static": "smalti.codecs.priors.static:StaticPrior",
}
