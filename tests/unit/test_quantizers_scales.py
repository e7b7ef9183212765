"""Growing scales over any grid, and lines whose tail is dropped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import FSQConfig, LearnedVQConfig, ProjectedConfig, VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import (
    DualConfig,
    FactorizedConfig,
    GroupedConfig,
    LineConfig,
    MultiScaleConfig,
    QuantizerConfig,
    ResidualConfig,
)
from smalti.tokenizers.quantizers.schedule import down, fraction_shapes, up
from smalti.tokenizers.tokens import MAX_STAGES

SCALES = MultiScaleConfig(VQConfig(64, 6), (0.25, 0.5, 1.0), phis=2)
LINE = LineConfig(VQConfig(64, 6), (1, 2, 4))


def seeded(config: QuantizerConfig, grid: tuple[int, ...]) -> Any:
    torch.manual_seed(0)
    quantizer = quantizers.build(config).train()
    for _ in range(10):
        quantizer(torch.randn(8, quantizer.dim, *grid))
    return quantizer.eval()


def latents(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_shapes_are_fractions_of_any_grid() -> None:
    assert fraction_shapes((0.25, 0.5, 1.0), (8, 12), ()) == ((2, 3), (4, 6), (8, 12))
    assert fraction_shapes((0.25, 0.5, 1.0), (11,), ()) == ((3,), (6,), (11,))
    assert fraction_shapes((0.125, 1.0), (3, 16, 1), (0,)) == ((3, 2, 1), (3, 16, 1))


def test_down_is_the_mean_of_each_cell() -> None:
    z = latents(2, 3, 8, 12)
    assert torch.allclose(down(z, (2, 3)), z.reshape(2, 3, 2, 4, 3, 4).mean((3, 5)), atol=1e-6)
    assert torch.allclose(down(z, (1, 1)), z.mean((2, 3), keepdim=True), atol=1e-6)
    assert torch.allclose(down(z, (5, 7)), F.adaptive_avg_pool2d(z, (5, 7)), atol=1e-6)
    checkers = torch.tensor([1.0, -1.0]).repeat(8)[None, None]  # the finest pattern must vanish, not alias
    assert torch.equal(down(checkers, (4,)), torch.zeros(1, 1, 4))


@pytest.mark.parametrize(("mode", "theirs"), [("nearest", "nearest-exact"), ("linear", "bilinear"), ("cubic", "bicubic")])
@pytest.mark.parametrize("shape", [(8, 12), (5, 7), (3, 4)])
def test_up_is_what_torch_does_to_pictures(mode: str, theirs: str, shape: tuple[int, int]) -> None:
    z = latents(2, 3, 3, 4)
    assert torch.allclose(up(z, shape, mode), F.interpolate(z, shape, mode=theirs), atol=1e-5)


def test_up_works_over_one_and_three_axes() -> None:
    line = latents(2, 3, 5)
    assert torch.equal(up(line, (15,), "nearest"), line.repeat_interleave(3, -1))
    cube = latents(2, 3, 2, 3, 2)
    assert torch.allclose(up(cube, (4, 5, 6), "linear"), F.interpolate(cube, (4, 5, 6), mode="trilinear"), atol=1e-5)
    flat = torch.full((1, 1, 2, 2, 2), 3.0)
    assert torch.allclose(up(flat, (5, 6, 7), "cubic"), torch.full((1, 1, 5, 6, 7), 3.0), atol=1e-5)


@pytest.mark.parametrize("grid", [(8, 8), (4, 6), (9, 5), (1, 3), (1, 1)])
def test_grids_of_any_size_have_their_prefixes(grid: tuple[int, int]) -> None:
    quantizer = seeded(SCALES, (8, 8))
    z = latents(3, 6, *grid)
    result = quantizer(z)
    layout = quantizer.layout(grid, ("row", "col"))
    assert [stage.name for stage in layout.stages] == ["scale0", "scale1", "scale2"]
    assert [tuple(index.shape[1:]) for index in result.indices] == [stage.shape for stage in layout.stages]
    for cut in (1, 2, 3):
        assert quantizer.dequantize(result.indices[:cut], grid).shape == z.shape
    assert torch.equal(quantizer.dequantize(result.indices), result.z_q)


def test_a_prefix_needs_the_size_of_the_grid_and_stages_must_fit_it() -> None:
    quantizer = seeded(SCALES, (8, 8))
    indices = quantizer(latents(2, 6, 8, 12)).indices
    with pytest.raises(UsageError, match="the first 2 of 3 scales do not show the latent grid: say its size"):
        quantizer.dequantize(indices[:2])
    with pytest.raises(UsageError, match=r"those of a latent grid \(2, 3\), asked for \(3, 3\)"):
        quantizer.dequantize(indices[:2], (12, 12))
    with pytest.raises(UsageError, match="4 stages do not decode"):
        quantizer.dequantize([*indices, indices[-1]], (8, 12))


def test_each_scale_codes_what_the_coarser_ones_left() -> None:
    quantizer = seeded(MultiScaleConfig(VQConfig(64, 6), (0.5, 1.0), phis=0, up="linear"), (8, 8))
    z = latents(2, 6, 8, 8)
    coarse, fine = quantizer(z).indices
    table = quantizer.codebooks[0].table
    means = F.avg_pool2d(z, 2).movedim(1, -1).reshape(-1, 6)
    assert torch.equal(coarse.flatten(), torch.cdist(means, table).argmin(1))
    spread = F.interpolate(table[coarse].movedim(-1, 1), (8, 8), mode="bilinear")
    rest = (z - spread).movedim(1, -1).reshape(-1, 6)
    assert torch.equal(fine.flatten(), torch.cdist(rest, table).argmin(1))


def test_explicit_counts_are_for_one_grid() -> None:
    config = MultiScaleConfig(VQConfig(64, 6), counts=((1, 1), (2, 3), (4, 6)), phis=0)
    quantizer = seeded(config, (4, 6))
    indices = quantizer(latents(2, 6, 4, 6)).indices
    assert quantizer.dequantize(indices[:1]).shape == (2, 6, 4, 6), "counts say the grid"
    with pytest.raises(UsageError, match=r"ends at \(4, 6\), the latent grid is \(6, 4\); give fractions"):
        quantizer(latents(2, 6, 6, 4))
    with pytest.raises(UsageError, match="for grids of 2 axes"):
        quantizer(latents(2, 6, 4))


def test_phi_is_chosen_as_in_var_and_learns_from_its_loss() -> None:
    config = MultiScaleConfig(VQConfig(64, 6), tuple(k / 10 for k in range(1, 11)), phis=4)
    quantizer = quantizers.build(config)
    chosen = [[phi is quantizer._phi(scale) for phi in quantizer.phis].index(True) for scale in range(10)]
    assert chosen == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3], "what numpy's rounding makes of two ties in VAR's schedule"
    result = quantizer.train()(latents(2, 6, 10, 10))
    result.losses["interpolation"].backward()
    assert all(float(phi.weight.grad.abs().sum()) > 0 for phi in quantizer.phis)
    assert quantizers.build(MultiScaleConfig(VQConfig(8, 6), (1.0,)))._phi(0) is not None, "one scale alone has a phi"


def test_a_shared_table_learns_once_a_step_from_all_scales() -> None:
    quantizer = quantizers.build(SCALES).train()
    quantizer(latents(2, 6, 8, 8))
    tokens = 2 * (4 + 16 + 64)
    table = quantizer.codebooks[0]
    assert float(table.counts.sum()) >= 0.01 * tokens * (1 - 1e-5)
    own = quantizers.build(MultiScaleConfig(VQConfig(64, 6, revive_below=0), (0.5, 1.0), shared=False)).train()
    own(latents(2, 6, 8, 8))
    assert [float(table.counts.sum()) for table in own.codebooks] == pytest.approx([0.01 * 32, 0.01 * 128], rel=1e-4)


def test_samples_keep_prefixes_of_scales_in_training() -> None:
    quantizer = seeded(MultiScaleConfig(VQConfig(64, 6, decay=0.999), (0.25, 0.5, 1.0), dropout=1.0), (8, 8)).train()
    frozen = quantizers.build(quantizer.config).eval()
    frozen.load_state_dict(quantizer.state_dict())
    result = quantizer(latents(64, 6, 8, 8))
    prefixes = [frozen.dequantize(result.indices[:cut], (8, 8)) for cut in (1, 2, 3)]
    kept = [[torch.allclose(result.z_q[i], part[i], atol=1e-4) for part in prefixes].index(True) + 1 for i in range(64)]
    assert set(kept) == {1, 2}


@pytest.mark.parametrize(
    "config",
    [
        SCALES,
        LineConfig(VQConfig(64, 6), (3, 5)),
        FactorizedConfig((VQConfig(32, 3), VQConfig(16, 3)), adapter_width=8),
        MultiScaleConfig(DualConfig(VQConfig(64, 6), 4), (0.5, 1.0)),
    ],
    ids=str,
)
def test_halved_latents_and_autocast_change_no_index(config: QuantizerConfig) -> None:
    quantizer = seeded(config, (8, 8))
    z = latents(2, 6, 8, 8).bfloat16()
    expected = quantizer(z.float())
    with torch.autocast("cpu", torch.bfloat16):
        cast = quantizer(z.float())
    for found in (quantizer(z), cast):
        assert all(torch.equal(a, b) for a, b in zip(found.indices, expected.indices, strict=True))
        assert torch.equal(found.z_q, expected.z_q.to(found.z_q.dtype))
    quantizer.train()(z.requires_grad_()).z_q.sum().backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "fractions or counts, one of them"),
        ({"fractions": (1.0,), "counts": ((1, 1),)}, "fractions or counts, one of them"),
        ({"fractions": (0.5, 0.25, 1.0)}, "ascend from above 0 to 1"),
        ({"fractions": (0.5,)}, "ascend from above 0 to 1"),
        ({"fractions": (0.0, 1.0)}, "ascend from above 0 to 1"),
        ({"counts": ((1,), (2,))}, "2 positive numbers, one per axis"),
        ({"counts": ((2, 2), (1, 4))}, "must not shrink"),
        ({"fractions": (1.0,), "held_axes": (2,)}, r"number axes of the grid \(0..1\)"),
        ({"fractions": (1.0,), "axes": 4}, "1 to 3 axes"),
        ({"fractions": (1.0,), "up": "area"}, "'nearest', 'linear' or 'cubic'"),
        ({"fractions": (1.0,), "dropout": 1.5}, r"lie in \[0, 1\]"),
    ],
)
def test_schedules_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MultiScaleConfig(VQConfig(8, 6), **values)


@pytest.mark.parametrize("rest", [(), (2, 3)])
def test_any_number_of_bands_decodes_and_the_tail_is_filler(rest: tuple[int, ...]) -> None:
    quantizer = seeded(LINE, (7, *rest))
    with torch.no_grad():
        quantizer.filler.copy_(torch.arange(42).reshape(6, 7))
    result = quantizer(latents(3, 6, 7, *rest))
    assert [tuple(index.shape) for index in result.indices] == [(3, steps, *rest) for steps in (1, 2, 4)]
    names = ("step", "row", "col")[: 1 + len(rest)]
    assert [stage.shape for stage in quantizer.layout((7, *rest), names).stages] == [(1, *rest), (2, *rest), (4, *rest)]
    for bands, steps in ((1, 1), (2, 3), (3, 7)):
        z_q = quantizer.dequantize(result.indices[:bands])
        assert torch.equal(z_q[:, :, :steps], result.z_q[:, :, :steps])
        filler = quantizer.filler[:, steps:].reshape(1, 6, 7 - steps, *(1,) * len(rest)).expand(3, 6, 7 - steps, *rest)
        assert torch.equal(z_q[:, :, steps:], filler)


def test_each_sample_drops_its_own_tail() -> None:
    quantizer = seeded(LINE, (7,)).train()
    with torch.no_grad():
        quantizer.filler.fill_(1000.0)
    z_q = quantizer(latents(300, 6, 7)).z_q
    held = (z_q[:, 0] < 500).sum(1)
    shares = [int((held == steps).sum()) / 300 for steps in (1, 3, 7)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.11)  # 4 standard deviations
    loss = z_q.sum()
    loss.backward()
    assert torch.equal(quantizer.filler.grad > 0, torch.arange(7).expand(6, 7) > 0), "fillers learn, that of the first step is never used"
    whole = seeded(LineConfig(VQConfig(64, 6), (1, 2, 4), tail_drop=0), (7,)).train()
    assert float(whole(latents(50, 6, 7)).z_q.detach().abs().max()) < 500


def test_bands_of_groups() -> None:
    quantizer = seeded(LineConfig(GroupedConfig((VQConfig(8, 2), FSQConfig((5, 3)))), (2, 3)), (5,))
    layout = quantizer.layout((5,), ("step",))
    assert [(stage.name, stage.shape, stage.vocab) for stage in layout.stages] == [
        ("band0.group0", (2,), 8),
        ("band0.group1", (2,), 15),
        ("band1.group0", (3,), 8),
        ("band1.group1", (3,), 15),
    ]
    assert layout.cuts == (2, 4)


def test_lines_that_do_not_fit_are_refused() -> None:
    quantizer = seeded(LINE, (7,))
    for wrong in (lambda: quantizer(latents(2, 6, 8)), lambda: quantizer.layout((8,), ("step",)), lambda: quantizer(latents(2, 6))):
        with pytest.raises(UsageError, match=r"the bands \(1, 2, 4\) are for 7 steps"):
            wrong()
    indices = quantizer(latents(2, 6, 7)).indices
    with pytest.raises(UsageError, match=r"those of a latent grid \(2,\), asked for \(1,\)"):
        quantizer.dequantize((indices[1], indices[1]))
    for values in ({"bands": ()}, {"bands": (0, 2)}, {"bands": (1,), "tail_drop": 2.0}):
        with pytest.raises(UsageError):
            LineConfig(VQConfig(8, 6), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "code",
    [VQConfig(8, 3, init="kmeans"), ProjectedConfig(LearnedVQConfig(8, 2, init="kmeans"), 3), DualConfig(VQConfig(8, 3, init="kmeans"), 1)],
)
def test_a_table_of_all_scales_is_not_seeded_from_the_coarsest(code: Any) -> None:
    for whole in (code, GroupedConfig((VQConfig(8, 3), code))) if not isinstance(code, DualConfig) else (code,):
        with pytest.raises(UsageError, match="seed one table for all scales from the coarsest"):
            MultiScaleConfig(whole, (0.5, 1.0))
        MultiScaleConfig(whole, (0.5, 1.0), shared=False)
        MultiScaleConfig(whole, (1.0,))


@pytest.mark.parametrize(
    "make",
    [
        lambda stages, code, width: ResidualConfig(code, levels=stages // width),
        lambda stages, code, width: LineConfig(code, (1,) * (stages // width)),
        lambda stages, code, width: MultiScaleConfig(code, (1.0,) * (stages // width)),
        lambda stages, code, width: FactorizedConfig((VQConfig(4, 2),) * stages),
        lambda stages, code, width: GroupedConfig((VQConfig(4, 2),) * stages),
    ],
)
def test_more_stages_than_tokens_can_have_are_refused_by_configs(make: Any) -> None:
    pair = GroupedConfig((VQConfig(4, 2), VQConfig(4, 2)))
    for code, width in ((VQConfig(4, 2), 1), (pair, 2)):
        make(MAX_STAGES, code, width)
        with pytest.raises(UsageError, match=f"at most {MAX_STAGES} stages, these codes make {MAX_STAGES + width}"):
            make(MAX_STAGES + width, code, width)
