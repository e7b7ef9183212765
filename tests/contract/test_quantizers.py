"""Every registered quantizer runs the conformance list, over grids of one, two and three axes: a new one needs an instance here."""

from __future__ import annotations

import pytest
import torch

from smalti.testing import check_quantizer
from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.quantizers import QUANTIZERS, QuantizerConfig, ResidualConfig, SingleConfig

INSTANCES: dict[type, list[QuantizerConfig]] = {
    SingleConfig: [SingleConfig(VQConfig(64, 6)), SingleConfig(FSQConfig((8, 5, 5)))],
    ResidualConfig: [
        ResidualConfig(VQConfig(64, 6), levels=1),
        ResidualConfig(VQConfig(32, 6), levels=4, dropout=0.5),
        ResidualConfig(FSQConfig((5, 4, 3)), levels=3, dropout=0.0),
        ResidualConfig(FSQConfig((2,) * 6, bound="tanh"), levels=2, dropout=1.0),
    ],
}
GRIDS = [((5, 7), ("row", "col")), ((11,), ("time",)), ((2, 3, 4), ("time", "row", "col")), ((1, 1), ("row", "col"))]


def test_every_registered_quantizer_is_tried() -> None:
    assert set(INSTANCES) == set(QUANTIZERS)


@pytest.mark.parametrize("config", [config for found in INSTANCES.values() for config in found], ids=str)
def test_conforms(config: QuantizerConfig) -> None:
    torch.manual_seed(0)
    quantizer = quantizers.build(config).train()
    for _ in range(20):
        quantizer(torch.randn(8, quantizer.dim, 8, 8))
    for grid, axes in GRIDS:
        check_quantizer(quantizer, grid, axes)
