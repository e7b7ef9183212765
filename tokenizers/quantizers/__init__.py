"""Quantizers: latent grid <-> stages of tokens. `build` makes the one that a config describes."""

from __future__ import annotations

from smalti.tokenizers.quantizers.dual import Dual, DualConfig
from smalti.tokenizers.quantizers.factorized import Factorized, FactorizedConfig
from smalti.tokenizers.quantizers.grouped import CodeConfig, GroupedConfig
from smalti.tokenizers.quantizers.line import Line, LineConfig
from smalti.tokenizers.quantizers.multi_scale import MultiScale, MultiScaleConfig
from smalti.tokenizers.quantizers.residual import Residual, ResidualConfig
from smalti.tokenizers.quantizers.single import Single, SingleConfig

QuantizerConfig = SingleConfig | ResidualConfig | MultiScaleConfig | LineConfig | FactorizedConfig
AnyQuantizer = Single | Residual | MultiScale | Line | Factorized
QUANTIZERS: dict[type, type[AnyQuantizer]] = {
    SingleConfig: Single,
    ResidualConfig: Residual,
    MultiScaleConfig: MultiScale,
    LineConfig: Line,
    FactorizedConfig: Factorized,
}


def build(config: QuantizerConfig) -> AnyQuantizer:
    """The quantizer that a config describes."""
    return QUANTIZERS[type(config)](config)  # type: ignore[arg-type]


__all__ = [
    "QUANTIZERS",
    "AnyQuantizer",
    "CodeConfig",
    "Dual",
    "DualConfig",
    "Factorized",
    "FactorizedConfig",
    "GroupedConfig",
    "Line",
    "LineConfig",
    "MultiScale",
    "MultiScaleConfig",
    "QuantizerConfig",
    "Residual",
    "ResidualConfig",
    "Single",
    "SingleConfig",
    "build",
]
