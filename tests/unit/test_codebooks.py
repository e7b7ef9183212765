"""Codebooks: how a table learns, and that implicit codes are exact."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from smalti.tokenizers.codebooks import FSQ, VQ, FSQConfig, VQConfig
from smalti.tokenizers.errors import UsageError


def corners(decay: float = 0.9, revive_below: float = 0.0) -> VQ:
    """A table of the four corners of a square, each used once on average."""
    vq = VQ(VQConfig(4, 2, decay=decay, revive_below=revive_below))
    vq.table.copy_(torch.tensor([[0.0, 0.0], [0.0, 3.0], [3.0, 0.0], [3.0, 3.0]]))
    vq.counts.fill_(1.0)
    vq.sums.copy_(vq.table)
    return vq


def clusters(count: int, points: int, dim: int = 8) -> torch.Tensor:
    """Tight clusters far from one another, points in random order."""
    random = torch.Generator().manual_seed(1)
    centres = 10 * torch.randn(count, dim, generator=random)
    z = centres.repeat(points // count, 1) + 0.01 * torch.randn(points, dim, generator=random)
    return z[torch.randperm(points, generator=random)]


def step(vq: VQ, z: torch.Tensor) -> float:
    """Mean squared error of the table as it is after an update."""
    vq.update(z, vq.assign(z))
    return float((vq.lookup(vq.assign(z)) - z).square().mean())


def test_of_equal_entries_the_lowest_index_is_taken() -> None:
    vq = VQ(VQConfig(64, 3))
    vq.table.copy_(vq.table[torch.arange(64) // 2 * 2])
    assert torch.all(vq.assign(torch.randn(500, 3, generator=torch.Generator().manual_seed(0))) % 2 == 0)


def test_entries_move_to_the_average_of_what_they_code() -> None:
    vq = corners(decay=0.9)
    z = torch.tensor([[0.5, 0.0], [0.5, 1.0], [0.2, 0.2], [3.0, 2.0]])
    vq.update(z, vq.assign(z))
    first = (0.9 * torch.zeros(2) + 0.1 * torch.tensor([1.2, 1.2])) / (0.9 + 0.1 * 3)
    last = (0.9 * torch.tensor([3.0, 3.0]) + 0.1 * torch.tensor([3.0, 2.0])) / (0.9 + 0.1)
    assert torch.allclose(vq.table[0], first)
    assert torch.allclose(vq.table[3], last)


def test_the_table_arrives_at_the_data() -> None:
    z = clusters(4, 400)
    vq = VQ(VQConfig(16, 8, decay=0.9))
    torch.manual_seed(0)
    errors = [step(vq, z) for _ in range(100)]
    assert errors[-1] < 2e-4  # the clusters' own variance is 1e-4


def test_unused_entries_keep_their_place() -> None:
    vq = corners(decay=0.9)
    for _ in range(1200):  # far enough for counts and sums to end in denormal numbers
        z = torch.full((3, 2), 0.1)
        vq.update(z, vq.assign(z))
    assert torch.equal(vq.table[1:], corners().table[1:])
    assert torch.allclose(vq.table[0], torch.full((2,), 0.1))


def test_the_first_update_places_the_whole_table_on_data() -> None:
    torch.manual_seed(0)
    z = 100 + torch.randn(256, 8)
    vq = VQ(VQConfig(64, 8))
    vq.update(z, vq.assign(z))
    assert float((vq.table - 100).abs().max()) < 6  # it began around 0
    assert len(vq.assign(z).unique()) == 64


def test_a_batch_smaller_than_the_table_places_as_many_as_it_has() -> None:
    torch.manual_seed(0)
    vq = VQ(VQConfig(64, 8))
    for _ in range(8):
        z = 100 + torch.randn(16, 8)
        vq.update(z, vq.assign(z))
    assert float((vq.table - 100).abs().max()) < 6


def test_revived_entries_survive_the_next_updates() -> None:
    """Where only the entry is re-seeded, its old sums throw it back one step later."""
    torch.manual_seed(0)
    z = clusters(32, 1024)
    vq = VQ(VQConfig(64, 8))
    first = step(vq, z)
    assert step(vq, z) <= 1.1 * first
    assert step(vq, z) <= 1.1 * first


def test_entries_that_lose_their_data_are_revived_and_used() -> None:
    torch.manual_seed(0)
    vq = VQ(VQConfig(32, 8, decay=0.9))
    for _ in range(20):
        step(vq, clusters(32, 1024))
    moved = clusters(32, 1024) + 1000
    for _ in range(60):
        step(vq, moved)
    assert len(vq.assign(moved).unique()) >= 28
    assert float(vq.table.min()) > 500


def test_revival_can_be_switched_off() -> None:
    torch.manual_seed(0)
    vq = VQ(VQConfig(32, 8, revive_below=0.0))
    before = vq.table.clone()
    z = torch.full((64, 8), 50.0)
    vq.update(z, vq.assign(z))
    assert int((vq.table != before).any(1).sum()) == 1


def test_commitment_pulls_the_latents_and_not_the_table() -> None:
    vq = corners()
    z = torch.tensor([[1.0, 0.0]], requires_grad=True)
    loss = vq.loss(z, vq.lookup(vq.assign(z)))
    assert float(loss.detach()) == pytest.approx(0.25 * 0.5)
    loss.backward()
    assert torch.allclose(z.grad, torch.tensor([[0.25, 0.0]]))


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2,) * 20, (3,), (7, 2, 4, 11)])
def test_every_code_of_fsq_comes_back(levels: tuple[int, ...]) -> None:
    fsq = FSQ(FSQConfig(levels))
    codes = torch.arange(math.prod(levels))
    entries = fsq.lookup(codes)
    assert torch.equal(fsq.assign(entries), codes)
    assert torch.equal(entries, fsq.vectors())
    assert float(entries.abs().max()) == 1


@pytest.mark.parametrize("levels", [*range(2, 17), 33])
def test_of_equally_near_levels_fsq_takes_the_lower(levels: int) -> None:
    fsq = FSQ(FSQConfig((levels, levels)))
    assert int(fsq.assign(torch.zeros(1, 2))) == (levels - 1) // 2 * (levels + 1)
    if (levels - 1) & (levels - 2) == 0:  # steps that floats have exactly
        middles = torch.arange(1, 2 * levels - 2, 2) / (levels - 1) - 1
        assert torch.equal(FSQ(FSQConfig((levels,))).assign(middles[:, None]), torch.arange(levels - 1))


def test_the_index_of_fsq_counts_the_first_dimension_fastest() -> None:
    levels = (3, 2, 4)
    expected = [digits[::-1] for digits in itertools.product(*(range(count) for count in reversed(levels)))]
    entries = FSQ(FSQConfig(levels)).vectors()
    digits = ((entries + 1) / 2 * (torch.tensor(levels) - 1)).round().long()
    assert [tuple(row) for row in digits.tolist()] == expected


def test_the_largest_fsq_is_exact() -> None:
    fsq = FSQ(FSQConfig((2,) * 30))
    codes = torch.tensor([0, 1, 2**24 + 1, 2**30 - 2, 2**30 - 1])
    assert fsq.size == 2**30
    assert torch.equal(fsq.assign(fsq.lookup(codes)), codes)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_levels_are_equally_likely_for_normal_latents(count: int) -> None:
    fsq = FSQ(FSQConfig((count,)))
    z = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(fsq.assign(fsq.bound(z)), minlength=count) / len(z)
    assert float((shares - 1 / count).abs().max()) < 0.006  # 3.8 standard deviations of a share of 1/2


@pytest.mark.parametrize("bound", ["normal", "tanh"])
def test_extreme_latents_take_the_outer_levels(bound: str) -> None:
    fsq = FSQ(FSQConfig((8, 5), bound=bound))
    z = fsq.bound(torch.tensor([[-1e30, -1e30], [1e30, 1e30], [-torch.inf, torch.inf]]))
    assert fsq.assign(z).tolist() == [0, 39, 32]


def test_half_precision_latents_are_bounded_in_float32() -> None:
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    fsq = FSQ(FSQConfig((64, 64)))
    assert torch.equal(fsq.assign(fsq.bound(z)), fsq.assign(fsq.bound(z.float())))


def test_fsq_has_nothing_to_store() -> None:
    assert FSQ(FSQConfig((8, 5))).state_dict() == {}


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (VQConfig, {"codebook_size": 1, "dim": 4}, "codebook_size >= 2 and dim >= 1, found 1 and 4"),
        (VQConfig, {"codebook_size": 8, "dim": 0}, "found 8 and 0"),
        (VQConfig, {"codebook_size": 8, "dim": 4, "decay": 1.0}, r"decay must lie in \[0, 1\), found 1.0"),
        (FSQConfig, {"levels": ()}, "at least one dimension"),
        (FSQConfig, {"levels": (8, 1)}, "two levels in each"),
        (FSQConfig, {"levels": (2,) * 31}, "make 2147483648 codes; tokens are int32"),
        (FSQConfig, {"levels": (8,), "bound": "sigmoid"}, "'normal' or 'tanh', found 'sigmoid'"),
    ],
)
def test_impossible_configs_are_refused(config: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(**values)
