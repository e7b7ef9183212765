"""Every registered codebook runs the conformance list: a new one needs an instance here."""

from __future__ import annotations

import pytest
import torch

from smalti.testing import check_codebook, check_quantizer
from smalti.tokenizers import codebooks, quantizers
from smalti.tokenizers.codebooks import (
    CODEBOOKS,
    BSQConfig,
    CodebookConfig,
    FSQConfig,
    IBQConfig,
    LearnedVQConfig,
    LFQConfig,
    ProjectedConfig,
    SimVQConfig,
    VQConfig,
)
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig

INSTANCES: dict[type, list[CodebookConfig]] = {
    VQConfig: [
        VQConfig(2, 1),
        VQConfig(37, 3),
        VQConfig(512, 8),
        VQConfig(5000, 4),
        VQConfig(64, 4, cosine=True, gradient="rotation"),
        VQConfig(64, 4, init="kmeans", revival="anchor"),
    ],
    LearnedVQConfig: [
        LearnedVQConfig(2, 1),
        LearnedVQConfig(200, 8, gradient="rotation"),
        LearnedVQConfig(64, 4, cosine=True, init="kmeans", revival="anchor"),
    ],
    SimVQConfig: [SimVQConfig(2, 1), SimVQConfig(300, 8), SimVQConfig(64, 4, gradient="rotation")],
    IBQConfig: [IBQConfig(2, 1), IBQConfig(300, 8), IBQConfig(64, 4, entropy=0.0)],
    FSQConfig: [
        FSQConfig((2,)),
        FSQConfig((8, 5, 5, 5)),
        FSQConfig((8, 5, 5, 5), bound="tanh"),
        FSQConfig((2,) * 20),
        FSQConfig((2, 3, 1000)),
        FSQConfig((2,) * 30),
    ],
    LFQConfig: [LFQConfig(1), LFQConfig(6), LFQConfig(18), LFQConfig(30, bit_order="big")],
    BSQConfig: [BSQConfig(2), BSQConfig(6, bit_order="big"), BSQConfig(30)],
    ProjectedConfig: [
        ProjectedConfig(VQConfig(64, 4, cosine=True, gradient="rotation"), 16),
        ProjectedConfig(LearnedVQConfig(64, 4, init="kmeans"), 9),
        ProjectedConfig(SimVQConfig(64, 2), 3),
        ProjectedConfig(IBQConfig(64, 4), 6),
        ProjectedConfig(FSQConfig((5, 5, 5)), 8),
        ProjectedConfig(LFQConfig(8), 12),
        ProjectedConfig(BSQConfig(8), 12),
    ],
}
ALL = [config for found in INSTANCES.values() for config in found]
SMALL = [config for config in ALL if codebooks.build(config).size <= 5000]


def test_every_registered_codebook_is_tried() -> None:
    assert set(INSTANCES) == set(CODEBOOKS)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_conforms(config: CodebookConfig) -> None:
    torch.manual_seed(0)
    codebook = codebooks.build(config).train()
    assert config.dim == codebook.dim, "a config knows the dimension of its latents"
    for _ in range(3):
        z = codebook.bound(torch.randn(4 * min(codebook.size, 8000), codebook.dim))
        codebook.update(z, codebook.assign(z))
    check_codebook(codebook.eval())


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_quantizers_work_over_it(config: CodebookConfig) -> None:
    for quantizer in (SingleConfig(config), ResidualConfig(config, levels=2)):
        torch.manual_seed(0)
        built = quantizers.build(quantizer).train()
        for _ in range(3):
            built(torch.randn(8, built.dim, 8, 8))
        check_quantizer(built)


@pytest.mark.parametrize("config", SMALL, ids=str)
def test_what_learns_by_gradient_gets_one(config: CodebookConfig) -> None:
    torch.manual_seed(0)
    built = quantizers.build(ResidualConfig(config, levels=2, dropout=0.0)).train()
    z = torch.randn(8, built.dim, 8, 8, requires_grad=True)
    result = built(z)
    (result.z_q.square().mean() + result.losses["commitment"]).backward()
    assert float(z.grad.abs().sum()) > 0
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert float(parameter.grad.abs().sum()) > 0, name
