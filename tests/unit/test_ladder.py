"""A ladder of rates from one table."""

from __future__ import annotations

import pytest
import torch

from smalti.tokenizers.codebooks import VQ, VQConfig
from smalti.tokenizers.codebooks.ladder import recluster, reduced
from smalti.tokenizers.errors import UsageError


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def trained(size: int, dim: int, cosine: bool = False) -> VQ:
    torch.manual_seed(0)
    vq = VQ(VQConfig(size, dim, cosine=cosine)).train()
    for step in range(4):
        z = vq.bound(normal(4 * size, dim, seed=step))
        vq.update(z, vq.assign(z))
    return vq.eval()


def test_rate_and_distortion_are_monotone_from_8_to_8192_entries() -> None:
    vq, z = trained(8192, 4), normal(4000, 4, seed=99)
    sizes = [2**bits for bits in range(3, 14)]
    again, mapped = [], []
    for size in sizes:
        smaller, mapping = reduced(vq, size)
        assert smaller.table.shape == (size, 4)
        again.append(float((smaller.lookup(smaller.assign(z)) - z).square().mean()))
        mapped.append(float((smaller.lookup(mapping[vq.assign(z)]) - z).square().mean()))
    assert again == sorted(again, reverse=True)
    assert mapped == sorted(mapped, reverse=True)
    assert again[0] > 10 * again[-1]
    # what tokens alone give is no better than a new look at the signal, and not far from it
    assert all(a <= m + 1e-6 <= 1.5 * a for a, m in zip(again, mapped, strict=True))


def test_the_mapping_goes_to_the_nearest_new_entry() -> None:
    vq = trained(256, 3)
    rung = recluster(vq.table, 16, vq.counts)
    assert torch.equal(rung.mapping, torch.cdist(vq.table, rung.table).argmin(1))
    assert float(rung.counts.sum()) == pytest.approx(float(vq.counts.sum()), rel=1e-5)


def test_used_entries_weigh_more() -> None:
    table = torch.tensor([[0.0], [1.0], [50.0], [100.0]])
    torch.manual_seed(0)
    rung = recluster(table, 3, torch.tensor([100.0, 100.0, 0.001, 50.0]))
    assert rung.table.flatten().sort().values[:2].tolist() == pytest.approx([0, 1], abs=0.5)
    assert int(rung.mapping[0]) != int(rung.mapping[1])


def test_a_whole_table_stays_what_it_is() -> None:
    vq = trained(32, 3)
    same, mapping = reduced(vq, 32)
    assert torch.equal(same.table, vq.table)
    assert torch.equal(mapping, torch.arange(32))
    assert torch.equal(vq.table, trained(32, 3).table), "the trained one is left alone"


def test_unit_vectors_stay_unit_vectors() -> None:
    smaller, _ = reduced(trained(128, 4, cosine=True), 16)
    assert torch.allclose(smaller.table.norm(dim=1), torch.ones(16), atol=1e-6)


def test_a_reduced_table_learns_on() -> None:
    vq, z = trained(1024, 4), normal(4000, 4, seed=99)
    smaller, _ = reduced(vq, 32)
    before = float((smaller.lookup(smaller.assign(z)) - z).square().mean())
    smaller.train()
    for _ in range(100):
        smaller.update(z, smaller.assign(z))
    assert float((smaller.lookup(smaller.assign(z)) - z).square().mean()) <= before


@pytest.mark.parametrize("size", [1, 33])
def test_sizes_that_cannot_be_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"brought to 2 to 32, asked for {size}"):
        recluster(trained(32, 3).table, size)
