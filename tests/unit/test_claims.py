"""The harness of the claims: the same data for everybody, the same start for every case, numbers that mean what they say."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from smalti.recipes.claims import harness, patches
from smalti.recipes.claims.harness import GRID, Case, Outcome, Settings
from smalti.recipes.claims.ladder import ladder
from smalti.recipes.claims.patches import Patches
from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import MultiScaleConfig, ResidualConfig, SingleConfig

SCALES = MultiScaleConfig(VQConfig(16, 4), (0.25, 0.5, 1.0), axes=2)


def smooth(count: int, seed: int) -> Tensor:
    """Patches that a small network can learn."""
    corners = torch.rand((count, 3, 2, 2), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(corners, (32, 32), mode="bilinear")


def test_a_case_learns_and_its_outcome_has_every_prefix_and_stage() -> None:
    data = Patches(smooth(64, 0), smooth(32, 1))
    (outcome,) = harness.run([Case("scales", SCALES)], data, Settings(steps=30, batch=16, learning_rate=3e-3))
    assert outcome.bits == (4 * 4, 4 * (4 + 16), 4 * (4 + 16 + 64))
    assert outcome.psnr[0] < outcome.psnr[2]
    assert outcome.psnr[2] > 8, "a third of the range away on average"
    assert all(1 / 16 <= used <= 1 for used in outcome.usage)
    assert all(1 <= perplexity <= 16 * used + 1e-6 for perplexity, used in zip(outcome.perplexity, outcome.usage, strict=True))


@pytest.mark.parametrize(("front_end", "body"), [("haar", "attention"), ("patch", "convolution"), ("convolution", "convolution")])
def test_other_parts_learn_too(front_end: str, body: str) -> None:
    data, settings = smooth(64, 0), Settings(steps=30, batch=16, learning_rate=3e-3)
    net = harness.train(SingleConfig(FSQConfig((5, 3))), data, settings, front_end, body)
    assert harness.measure("", net, smooth(32, 1), 0.0).psnr[0] > 8


def test_cases_do_not_depend_on_one_another() -> None:
    data, settings = Patches(smooth(32, 0), smooth(16, 1)), Settings(steps=3, batch=8)
    first, second = Case("a", SingleConfig(FSQConfig((5, 3)))), Case("b", ResidualConfig(VQConfig(8, 2)))
    together = harness.run([first, second], data, settings)[1]
    (alone,) = harness.run([second], data, settings)
    assert together.psnr == alone.psnr
    assert together.usage == alone.usage


def test_psnr_is_over_all_held_out_patches() -> None:
    net = harness.train(SingleConfig(FSQConfig((5, 3))), smooth(16, 0), Settings(steps=1, batch=4)).eval()
    data = smooth(300, 1)  # more than one batch
    found = harness.measure("", net, data, 0.0).psnr[0]
    with torch.no_grad():
        decoded = net.decode(net.encode(data).z_q).clamp(-1, 1)
    assert found == pytest.approx(10 * math.log10(4 / float((decoded - data).square().mean())), abs=1e-3)


def test_patches_are_the_same_for_everybody_and_held_out_photos_stay_out(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "PATCHES_PER_PHOTO", 2)
    found, again = (patches.load(pictures, photos=3, held_out_photos=2) for _ in range(2))
    assert found.train.shape == (6, 3, 32, 32)
    assert found.held_out.shape == (4, 3, 32, 32)
    assert torch.equal(found.train, again.train)
    assert torch.equal(found.held_out, again.held_out)
    with pytest.raises(UsageError, match="6 pictures, at least 9 are needed"):
        patches.load(pictures, held_out_photos=8)


def test_the_table_is_the_logs() -> None:
    outcome = Outcome("flat", (64.0, 192.0), (20.123, 21.0), (1.0, 0.5), (2.0, 3.6), 12.3)
    assert harness.table([outcome]).splitlines()[-1] == "| flat | 64 / 192 | 20.12 / 21.00 | 100.0 / 50.0 | 2 / 4 | 12 |"


@pytest.mark.parametrize("name", ["factorized", "factorized_20_bits", "multi_scale", "large_tables", "design"])
def test_cases_of_a_claim_can_be_built_and_meet_at_equal_bits(name: str) -> None:
    cases = importlib.import_module(f"smalti.recipes.claims.{name}").CASES
    layouts = [quantizers.build(case.quantizer).layout(GRID, ("row", "col")) for case in cases]
    bits = [sum(stage.count * math.log2(stage.vocab) for stage in layout.stages) for layout in layouts]
    assert max(bits) <= 1.005 * min(bits)
    assert len({case.name for case in cases}) == len(cases)


def test_a_ladder_of_one_table_is_monotone_and_its_tables_learn_on() -> None:
    data = Patches(smooth(64, 0), smooth(32, 1))
    outcomes = ladder(data, Settings(steps=30, batch=16, learning_rate=3e-3), SingleConfig(VQConfig(64, 3)), (4, 16, 64))
    clustered, tuned = outcomes[::2], outcomes[1::2]
    assert [outcome.bits[0] for outcome in clustered] == [64 * 2, 64 * 4, 64 * 6]
    for rungs in (clustered, tuned):
        psnr = [outcome.psnr[0] for outcome in rungs]
        assert psnr == sorted(psnr)
    assert outcomes[0].name == "4, clustered"
