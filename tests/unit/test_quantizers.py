"""Quantizers in training: dropout, warm-up, gradients, and what happens to bad latents."""

from __future__ import annotations

import pytest
import torch

from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.errors import SignalError, UsageError
from smalti.tokenizers.quantizers import QuantizerConfig, ResidualConfig, SingleConfig
from smalti.tokenizers.quantizers.grid import straight_through, to_grid, to_rows, use
from smalti.tokenizers.quantizers.residual import Residual

VQ_LEVELS = ResidualConfig(VQConfig(32, 6), levels=3, dropout=0.5)
FSQ_LEVELS = ResidualConfig(FSQConfig((5, 4, 3)), levels=3, dropout=0.5)
ALL = [VQ_LEVELS, FSQ_LEVELS, SingleConfig(VQConfig(32, 6)), SingleConfig(FSQConfig((8, 5)))]


def seeded(config: QuantizerConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    quantizer = quantizers.build(config).train()
    for _ in range(20):
        quantizer(torch.randn(8, quantizer.dim, 6, 6))
    return quantizer.eval()


def latents(dim: int, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, dim, 5, 7, generator=torch.Generator().manual_seed(1))


def kept_levels(quantizer: Residual, z: torch.Tensor) -> list[int]:
    """How many levels each sample kept in one training step, found by comparing with every prefix."""
    frozen = quantizers.build(quantizer.config).eval()
    frozen.load_state_dict(quantizer.state_dict())
    result = quantizer(z)
    prefixes = [frozen.dequantize(result.indices[:cut]) for cut in quantizer.cuts]
    return [
        next(k for k, part in zip(quantizer.cuts, prefixes, strict=True) if torch.allclose(result.z_q[i], part[i], atol=1e-5))
        for i in range(len(z))
    ]


def test_rows_and_grids_are_inverse() -> None:
    z = latents(3)
    assert torch.equal(to_grid(to_rows(z), 4, (5, 7)), z)
    assert torch.equal(to_rows(z)[5 * 7 + 8], z[1, :, 1, 1])


def test_dropout_is_drawn_for_each_sample() -> None:
    quantizer = seeded(ResidualConfig(VQConfig(32, 6), levels=4, dropout=0.5)).train()
    kept = kept_levels(quantizer, latents(6, batch=256))
    shares = [kept.count(k) / 256 for k in (1, 2, 3, 4)]
    # half keep all; the others 1, 2 or 3 alike; 4 standard deviations are .125 and .093
    assert shares == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2], abs=0.12)


@pytest.mark.parametrize(("dropout", "expected"), [(0.0, {3}), (1.0, {1, 2})])
def test_dropout_at_its_ends(dropout: float, expected: set[int]) -> None:
    quantizer = seeded(ResidualConfig(VQConfig(32, 6), levels=3, dropout=dropout)).train()
    assert set(kept_levels(quantizer, latents(6, batch=64))) == expected


def test_dropped_levels_learn_from_every_sample() -> None:
    quantizer = seeded(ResidualConfig(VQConfig(32, 6), levels=2, dropout=1.0)).train()
    before = float(quantizer.codebooks[1].counts.sum())
    quantizer(latents(6, batch=64))
    expected = 0.99 * before + 0.01 * 64 * 35
    assert float(quantizer.codebooks[1].counts.sum()) >= expected * (1 - 1e-5)


@pytest.mark.parametrize(
    "config", [ResidualConfig(VQConfig(32, 6), warmup_steps=2), SingleConfig(VQConfig(32, 6), warmup_steps=2)], ids=str
)
def test_latents_pass_as_they_are_while_warming_up(config: QuantizerConfig) -> None:
    torch.manual_seed(0)
    quantizer = quantizers.build(config).train()
    z = latents(6)
    assert torch.equal(quantizer(z).z_q, z)
    assert torch.equal(quantizer(z).z_q, z)
    assert not torch.allclose(quantizer(z).z_q, z)
    fresh = quantizers.build(config).eval()
    assert not torch.allclose(fresh(z).z_q, z), "evaluation quantizes from the first step"


@pytest.mark.parametrize(
    "config", [ResidualConfig(VQConfig(32, 6)), ResidualConfig(VQConfig(32, 6), dropout=1.0), SingleConfig(VQConfig(32, 6))], ids=str
)
def test_gradients_pass_straight_through(config: QuantizerConfig) -> None:
    quantizer = seeded(config).train()
    z = latents(6).requires_grad_()
    weights = torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((quantizer(z).z_q * weights).sum(), z)
    assert torch.equal(gradient, weights)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other() -> None:
    z, z_q = torch.randn(5, requires_grad=True), torch.randn(5, requires_grad=True)
    out = straight_through(z, z_q)
    out.sum().backward()
    assert torch.allclose(out, z_q)
    assert torch.equal(z.grad, torch.ones(5))
    assert z_q.grad is None


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_latents_that_are_not_finite_are_named(bad: float, training: bool) -> None:
    quantizer = seeded(VQ_LEVELS).train(training)
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    z = latents(6)
    z[2, 3, 1, 1] = bad
    with pytest.raises(SignalError, match="not finite at batch item 2"):
        quantizer(z)
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())


@pytest.mark.parametrize("config", ALL, ids=str)
def test_dequantize_is_what_the_forward_pass_gave_bit_for_bit(config: QuantizerConfig) -> None:
    quantizer = seeded(config)
    result = quantizer(latents(quantizer.dim))
    assert torch.equal(quantizer.dequantize(result.indices), result.z_q)


@pytest.mark.parametrize("config", [VQ_LEVELS, FSQ_LEVELS], ids=str)
def test_each_level_brings_latents_nearer(config: ResidualConfig) -> None:
    quantizer = seeded(config)
    z = latents(quantizer.dim)
    bounded = quantizer.codebooks[0].bound(z.movedim(1, -1)).movedim(-1, 1)
    indices = quantizer(z).indices
    errors = [float((quantizer.dequantize(indices[:cut]) - bounded).square().mean()) for cut in quantizer.cuts]
    assert errors[0] > 1.5 * errors[1] > 1.5**2 * errors[2]


def test_a_prefix_is_the_sum_of_its_levels() -> None:
    quantizer = seeded(VQ_LEVELS)
    indices = quantizer(latents(6)).indices
    first, second = (quantizer.codebooks[k].table[indices[k]].movedim(-1, 1) for k in range(2))
    assert torch.equal(quantizer.dequantize(indices[:1]), first)
    assert torch.equal(quantizer.dequantize(indices[:2]), first + second)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_even_logits_decode_to_the_mean_entry(config: QuantizerConfig) -> None:
    quantizer = seeded(config)
    stages = quantizer.layout((5, 7), ("row", "col")).stages
    residual = quantizer if isinstance(quantizer, Residual) else quantizer.residual
    means = [book.vectors().mean(0) * book.residual_scale(k) for k, book in enumerate(residual.codebooks)]
    soft = quantizer.decode_soft([torch.zeros(2, stage.vocab, *stage.shape) for stage in stages])
    assert torch.allclose(soft, torch.stack(means).sum(0)[:, None, None].expand_as(soft), atol=1e-5)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_autocast_changes_no_index(config: QuantizerConfig) -> None:
    quantizer = seeded(config)
    z = latents(quantizer.dim)
    expected = quantizer(z)
    with torch.autocast("cpu", torch.bfloat16):
        found = quantizer(z)
    assert all(torch.equal(a, b) for a, b in zip(found.indices, expected.indices, strict=True))
    assert torch.equal(found.z_q, expected.z_q)


@pytest.mark.parametrize("config", ALL, ids=str)
def test_bfloat16_latents_are_worked_on_in_float32(config: QuantizerConfig) -> None:
    quantizer = seeded(config)
    z = latents(quantizer.dim).bfloat16()
    found, expected = quantizer(z), quantizer(z.float())
    assert all(torch.equal(a, b) for a, b in zip(found.indices, expected.indices, strict=True))
    quantizer.train()
    trained = quantizer(z.requires_grad_())
    trained.z_q.float().sum().backward()
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(trained.z_q).all()


def test_health_says_how_a_table_is_used() -> None:
    perplexity, usage = use(torch.arange(8).repeat(10), 16)
    assert perplexity == pytest.approx(8, rel=1e-4)
    assert usage == 0.5
    quantizer = seeded(VQ_LEVELS)
    assert quantizer(latents(6)).health == {}
    health = quantizer.train()(latents(6)).health
    assert set(health) == {f"{name}{level}" for name in ("perplexity", "usage") for level in range(3)}
    assert all(0 < health[f"usage{level}"] <= 1 <= health[f"perplexity{level}"] <= 32 for level in range(3))


def test_layouts_name_their_stages() -> None:
    residual = quantizers.build(VQ_LEVELS).layout((5, 7), ("row", "col"), (("height", 80),))
    assert [stage.name for stage in residual.stages] == ["level0", "level1", "level2"]
    assert residual.cuts == (1, 2, 3)
    assert residual.size == {"height": 80}
    single = quantizers.build(SingleConfig(FSQConfig((8, 5)))).layout((9,), ("time",))
    assert [(stage.name, stage.axes, stage.vocab) for stage in single.stages] == [("grid", (("time", 9),), 40)]


@pytest.mark.parametrize("values", [{"levels": 0}, {"dropout": -0.1}, {"dropout": 1.1}])
def test_impossible_configs_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="levels >= 1 and dropout in"):
        ResidualConfig(VQConfig(32, 6), **values)
