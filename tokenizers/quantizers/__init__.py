"""Quantizers: latent grid <-> stages of tokens. `build` makes the one that a config describes."""

from __future__ import annotations

from smalti.tokenizers.quantizers.residual import Residual, ResidualConfig
from smalti.tokenizers.quantizers.single import Single, SingleConfig

QuantizerConfig = SingleConfig | ResidualConfig
QUANTIZERS = {SingleConfig: Single, ResidualConfig: Residual}


def build(config: QuantizerConfig) -> Single | Residual:
    """The quantizer that a config describes."""
    return QUANTIZERS[type(config)](config)


__all__ = ["QUANTIZERS", "QuantizerConfig", "Residual", "ResidualConfig", "Single", "SingleConfig", "build"]
