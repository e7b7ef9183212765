"""Every registered quantizer runs the conformance list, over grids of one, two and three axes: a new one needs an instance here."""

from __future__ import annotations

import pytest
import torch

from smalti.testing import check_quantizer
from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.quantizers import (
    QUANTIZERS,
    DualConfig,
    FactorizedConfig,
    GroupedConfig,
    LineConfig,
    MultiScaleConfig,
    QuantizerConfig,
    ResidualConfig,
    SingleConfig,
)

PRODUCT = GroupedConfig((VQConfig(32, 4), FSQConfig((5, 3)), VQConfig(16, 2)))
DUAL = DualConfig(VQConfig(64, 6), semantic_dim=4, pixel_weight=0.5)

INSTANCES: dict[type, list[QuantizerConfig]] = {
    SingleConfig: [SingleConfig(VQConfig(64, 6)), SingleConfig(FSQConfig((8, 5, 5))), SingleConfig(PRODUCT), SingleConfig(DUAL)],
    ResidualConfig: [
        ResidualConfig(VQConfig(64, 6), levels=1),
        ResidualConfig(VQConfig(32, 6), levels=4, dropout=0.5),
        ResidualConfig(FSQConfig((5, 4, 3)), levels=3, dropout=0.0),
        ResidualConfig(FSQConfig((2,) * 6, bound="tanh"), levels=2, dropout=1.0),
        ResidualConfig(PRODUCT, levels=2),
        ResidualConfig((VQConfig(64, 6), GroupedConfig((VQConfig(32, 3),) * 2), VQConfig(16, 6)), levels=3),
        ResidualConfig(DUAL),
    ],
    MultiScaleConfig: [
        MultiScaleConfig(VQConfig(64, 6), fractions=(0.25, 0.5, 1.0)),
        MultiScaleConfig(VQConfig(32, 6), fractions=(0.25, 0.5, 1.0), axes=1, shared=False, up="nearest", phis=0, dropout=0.5),
        MultiScaleConfig(FSQConfig((5, 5, 3)), fractions=(0.1, 0.5, 1.0, 1.0), axes=2, up="linear", phis=1),
        MultiScaleConfig(VQConfig(64, 6), fractions=(0.3, 0.6, 1.0), axes=3, held_axes=(0,), phis=2, shared=False),
        MultiScaleConfig(PRODUCT, counts=((1, 1), (2, 3), (5, 7))),
        MultiScaleConfig(DUAL, fractions=(1.0,)),
    ],
    LineConfig: [
        LineConfig(VQConfig(64, 6), bands=(1, 2, 4)),
        LineConfig(FSQConfig((8, 5)), bands=(3, 3, 1), tail_drop=0.5),
        LineConfig(PRODUCT, bands=(7,)),
    ],
    FactorizedConfig: [
        FactorizedConfig((VQConfig(32, 4), VQConfig(16, 4)), adapter_width=16),
        FactorizedConfig(
            (VQConfig(32, 4), FSQConfig((8, 5)), VQConfig(8, 1)),
            adapter_width=16,
            adapter_depth=0,
            disentanglement=0,
            feature_dims=(0, 5, 3),
        ),
    ],
}
GRIDS = [((5, 7), ("row", "col")), ((11,), ("time",)), ((2, 3, 4), ("time", "row", "col")), ((1, 1), ("row", "col"))]
LINES = [((7,), ("step",)), ((7, 2, 3), ("step", "row", "col")), ((7, 1), ("step", "time"))]


def grids(config: QuantizerConfig) -> list[tuple[tuple[int, ...], tuple[str, ...]]]:
    """Those that a quantizer is for."""
    if isinstance(config, LineConfig):
        return LINES
    if isinstance(config, MultiScaleConfig):
        return [(grid, axes) for grid, axes in GRIDS if len(grid) == config.axes and (not config.counts or grid == config.counts[-1])]
    return GRIDS


def test_every_registered_quantizer_is_tried() -> None:
    assert set(INSTANCES) == set(QUANTIZERS)


@pytest.mark.parametrize("config", [config for found in INSTANCES.values() for config in found], ids=str)
def test_conforms(config: QuantizerConfig) -> None:
    torch.manual_seed(0)
    quantizer = quantizers.build(config).train()
    found = grids(config)
    for _ in range(20):
        quantizer(torch.randn(8, quantizer.dim, *(found[0][0] if found != GRIDS else (8, 8))))
    for grid, axes in found:
        check_quantizer(quantizer, grid, axes)
