"""Codebooks side by side, one index for two tables, and factors behind adapters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.image.network import ImageGridConfig
from smalti.tokenizers.quantizers import (
    DualConfig,
    FactorizedConfig,
    GroupedConfig,
    LineConfig,
    MultiScaleConfig,
    QuantizerConfig,
    ResidualConfig,
    SingleConfig,
)
from smalti.tokenizers.quantizers.dual import Dual
from smalti.tokenizers.quantizers.factorized import disentanglement
from smalti.tokenizers.quantizers.representation import Representation

PAIR = GroupedConfig((VQConfig(32, 4), VQConfig(16, 2)))
FACTORS = FactorizedConfig((VQConfig(32, 3), VQConfig(16, 3)), adapter_width=8, feature_dims=(0, 5))


def seeded(config: QuantizerConfig, grid: tuple[int, ...] = (6, 6)) -> Any:
    torch.manual_seed(0)
    quantizer = quantizers.build(config).train()
    for _ in range(10):
        quantizer(torch.randn(8, quantizer.dim, *grid))
    return quantizer.eval()


def latents(dim: int, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, dim, 5, 7, generator=torch.Generator().manual_seed(1))


def test_each_group_is_what_its_codebook_alone_makes_of_its_channels() -> None:
    quantizer = seeded(SingleConfig(PAIR))
    z = latents(6)
    result = quantizer(z)
    for part, codebook, index, entries in zip(
        z.split([4, 2], 1), quantizer.residual.codebooks[0], result.indices, result.z_q.split([4, 2], 1), strict=True
    ):
        alone = codebook.assign(part.movedim(1, -1).reshape(-1, part.shape[1]))
        assert torch.equal(index.flatten(), alone)
        assert torch.equal(entries.movedim(1, -1).reshape(-1, part.shape[1]), codebook.lookup(alone))


def test_levels_of_groups_are_groups_of_levels() -> None:
    both = seeded(ResidualConfig(PAIR, levels=3, dropout=0))
    z = latents(6)
    indices = both(z).indices
    for group, part in enumerate(z.split([4, 2], 1)):
        alone = quantizers.build(ResidualConfig(PAIR.parts[group], levels=3, dropout=0)).eval()
        for level in range(3):
            alone.codebooks[level].load_state_dict(both.codebooks[level][group].state_dict())
        assert all(torch.equal(a, b) for a, b in zip(alone(part).indices, indices[group::2], strict=True))


def test_only_all_groups_of_a_level_decode() -> None:
    quantizer = seeded(ResidualConfig(PAIR, levels=2))
    layout = quantizer.layout((5, 7), ("row", "col"))
    assert [(stage.name, stage.vocab) for stage in layout.stages] == [
        ("level0.group0", 32),
        ("level0.group1", 16),
        ("level1.group0", 32),
        ("level1.group1", 16),
    ]
    assert layout.cuts == (2, 4)
    indices = quantizer(latents(6)).indices
    for count in (0, 1, 3):
        with pytest.raises(UsageError, match=f"^{count} stages do not decode on their own; choose one of 2, 4$"):
            quantizer.dequantize(indices[:count])
    assert [stage.name for stage in seeded(SingleConfig(PAIR)).layout((5,), ("time",)).stages] == ["grid.group0", "grid.group1"]


def test_levels_may_have_codebooks_of_their_own() -> None:
    quantizer = seeded(ResidualConfig((VQConfig(8, 6), PAIR, VQConfig(64, 6)), levels=3))
    assert quantizer.cuts == (1, 3, 4)
    assert [stage.vocab for stage in quantizer.layout((5, 7), ("row", "col")).stages] == [8, 32, 16, 64]
    with pytest.raises(UsageError, match="one codebook per level: 2 levels, 1 codebooks"):
        ResidualConfig((VQConfig(8, 6),), levels=2)
    with pytest.raises(UsageError, match=r"have one dimension, found \[6, 4\]"):
        ResidualConfig((VQConfig(8, 6), VQConfig(8, 4)))


def test_health_names_groups() -> None:
    health = seeded(SingleConfig(PAIR)).train()(latents(6)).health
    assert set(health) == {"perplexity0.0", "usage0.0", "perplexity0.1", "usage0.1"}


@pytest.mark.parametrize("config", [SingleConfig(PAIR), ResidualConfig(PAIR), SingleConfig(DualConfig(VQConfig(32, 6), 3))], ids=str)
def test_the_grid_that_a_caller_names_must_be_that_of_the_stages(config: QuantizerConfig) -> None:
    quantizer = seeded(config)
    indices = quantizer(latents(6)).indices
    assert torch.equal(quantizer.dequantize(indices, (5, 7)), quantizer.dequantize(indices))
    with pytest.raises(UsageError, match=r"those of a latent grid \(5, 7\), asked for \(7, 5\)"):
        quantizer.dequantize(indices, (7, 5))


@pytest.mark.parametrize("weight", [0.25, 1.0, 3.0])
def test_a_dual_index_is_nearest_by_the_summed_distances(weight: float) -> None:
    quantizer = seeded(SingleConfig(DualConfig(VQConfig(64, 6), semantic_dim=4, pixel_weight=weight)))
    dual: Dual = quantizer.residual.codebooks[0]
    z = latents(6)
    semantic, pixel = (F.normalize(part, dim=1).movedim(1, -1).reshape(-1, part.shape[1]).double() for part in z.split([4, 2], 1))
    table_semantic, table_pixel = dual.vectors().double().split([4, 2], 1)
    summed = torch.cdist(semantic, table_semantic).square() + weight * torch.cdist(pixel, table_pixel).square()
    result = quantizer(z)
    assert torch.equal(result.indices[0].flatten(), summed.argmin(1))
    parts = dual.split(result.z_q)
    assert [part.shape[1] for part in parts] == [4, 2]
    assert torch.equal(parts[1].movedim(1, -1).reshape(-1, 2), dual.vectors()[result.indices[0].flatten(), 4:])


def test_the_weight_of_pixels_decides_what_an_index_follows() -> None:
    errors = []
    for weight in (0.01, 100.0):
        quantizer = seeded(SingleConfig(DualConfig(VQConfig(64, 6), semantic_dim=3, pixel_weight=weight)))
        z = F.normalize(latents(6).reshape(4, 2, 3, 5, 7), dim=2).reshape(4, 6, 5, 7)
        errors.append([float(part.square().mean()) for part in (quantizer(z).z_q - z).split(3, 1)])
    assert errors[0][0] < 0.5 * errors[1][0]
    assert errors[1][1] < 0.5 * errors[0][1]


def test_disentanglement_is_the_squared_cosine_between_factors() -> None:
    a = torch.tensor([[3.0, 0.0], [0.0, 2.0]])[:, :, None]  # two positions
    assert float(disentanglement([a, a])) == pytest.approx(1)
    assert float(disentanglement([a, a.flip(1)])) == 0
    b = torch.tensor([[1.0, 1.0], [1.0, 0.0]])[:, :, None]
    assert float(disentanglement([a, b])) == pytest.approx((0.5 + 0) / 2)
    assert float(disentanglement([a, a, a.flip(1)])) == pytest.approx(1 / 3)


def test_training_against_it_makes_factors_orthogonal() -> None:
    def trained(weight: float) -> float:
        torch.manual_seed(0)
        config = FactorizedConfig((VQConfig(16, 2), VQConfig(16, 2)), adapter_width=16, disentanglement=weight)
        quantizer = quantizers.build(config).train()
        optimizer = torch.optim.Adam(quantizer.parameters(), 1e-2)
        for _ in range(40):
            losses = quantizer(torch.randn(8, 4, 8)).losses
            optimizer.zero_grad()
            sum(losses.values()).backward()  # type: ignore[union-attr]
            optimizer.step()
        return float(disentanglement(quantizer.eval()(torch.randn(8, 4, 64)).z_q.split(2, 1)))

    assert trained(1.0) < 0.5 * trained(0.0)


def test_a_factor_learns_the_feature_that_it_is_given_and_only_then_has_the_loss() -> None:
    quantizer = seeded(FACTORS)
    z = latents(6)
    assert set(quantizer(z).losses) == {"commitment", "disentanglement"}
    for feature in (torch.randn(4, 5), torch.randn(4, 5, 5, 7)):
        quantizer.zero_grad()
        loss = quantizer.train()(z, (None, feature)).losses["representation1"]
        assert 0 < float(loss.detach()) <= 2 * FACTORS.representation
        loss.backward()
        reached = [
            float(adapter[0].weight.grad.abs().sum()) if adapter[0].weight.grad is not None else 0.0 for adapter in quantizer.adapters
        ]
        assert reached[0] == 0 < reached[1], "the loss teaches its own factor alone"


def test_a_representation_is_learned() -> None:
    torch.manual_seed(0)
    head, z = Representation(4, 3, width=16), torch.randn(16, 4, 5)
    feature = z[:, :3].contiguous()
    optimizer = torch.optim.Adam(head.parameters(), 1e-2)
    first = float(head(z, feature).detach())
    for _ in range(100):
        optimizer.zero_grad()
        loss = head(z, feature)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1 * first


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((None,), "one entry per factor: 2 factors, 1 features"),
        ((torch.zeros(4, 5), None), "factor 0 predicts no feature"),
        ((None, torch.zeros(4, 6)), r"must have shape \(4, 5\) or \(4, 5, 5, 7\), found \(4, 6\)"),
        ((None, torch.zeros(4, 5, 7, 5)), r"found \(4, 5, 7, 5\)"),
    ],
)
def test_features_that_do_not_fit_are_refused(features: tuple[torch.Tensor | None, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        seeded(FACTORS)(latents(6), features)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupedConfig((VQConfig(8, 2),)), "at least two parts, found 1"),
        (lambda: DualConfig(VQConfig(8, 4), semantic_dim=4), "1..3, found 4"),
        (lambda: DualConfig(VQConfig(8, 4), semantic_dim=2, pixel_weight=0), "pixel_weight must be positive"),
        (lambda: FactorizedConfig((VQConfig(8, 2),)), "at least two factors, found 1"),
        (lambda: FactorizedConfig((VQConfig(8, 2),) * 2, feature_dims=(3,)), "one size per factor"),
        (lambda: FactorizedConfig((VQConfig(8, 2),) * 2, adapter_width=0), "adapter_width is positive"),
        (lambda: FactorizedConfig((VQConfig(8, 2), FSQConfig((5,)))), r"factors of one dimension, found \[2, 1\]"),
        (lambda: ImageGridConfig(MultiScaleConfig(VQConfig(8, 2), (0.5, 1.0))), "image-grid works in tiles.*; multi-scale has others"),
        (lambda: ImageGridConfig(LineConfig(VQConfig(8, 2), (1,))), "image-grid works in tiles.*; line has others"),
    ],
)
def test_impossible_configs_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(("shape", "found"), [((2, 5, 4, 4), "5"), ((6,), r"\(6,\)")])
def test_latents_of_another_shape_are_refused(shape: tuple[int, ...], found: str) -> None:
    with pytest.raises(UsageError, match=f"must have 6 channels as their second axis, found shape .*{found}"):
        seeded(SingleConfig(PAIR))(torch.zeros(shape))
