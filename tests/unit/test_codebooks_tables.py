"""Tables: by averages, by gradient, behind a map; their seeds, their revival, their projection, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from smalti.tokenizers import codebooks, quantizers
from smalti.tokenizers.codebooks import (
    VQ,
    FSQConfig,
    IBQConfig,
    LearnedVQ,
    LearnedVQConfig,
    LFQConfig,
    Projected,
    ProjectedConfig,
    SimVQ,
    SimVQConfig,
    VQConfig,
    kmeans,
    revival,
)
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def clusters(count: int, points: int, dim: int = 8) -> torch.Tensor:
    """Tight clusters far from one another, points in random order."""
    z = 10 * normal(count, dim).repeat(points // count, 1) + 0.01 * normal(points, dim, seed=2)
    return z[torch.randperm(points, generator=torch.Generator().manual_seed(3))]


def error(book: Any, z: torch.Tensor) -> float:
    return float((book.lookup(book.assign(z)) - z).detach().square().mean())


def descend(book: Any, z: torch.Tensor, steps: int, rate: float = 0.05) -> None:
    """Training of a table on fixed latents."""
    optimizer = torch.optim.Adam(book.parameters(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        found = book.assign(z)
        book.loss(z, book.lookup(found)).backward()
        book.update(z, found)
        optimizer.step()


# --- seeds --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [VQConfig, LearnedVQConfig])
def test_kmeans_seeds_survive_the_next_updates(kind: Any) -> None:
    """Where sums are set to the mean instead of mean * count, the first average divides by the count: .51 became 8.7."""
    torch.manual_seed(0)
    z = normal(4096, 8)
    book = codebooks.build(kind(64, 8, init="kmeans")).train()
    book.assign(z)
    seeded = error(book, z)
    assert seeded < 0.5  # 6 bits over 8 unit normals: rate-distortion's bound is 2^(-2 * 6 / 8) = .35
    assert len(book.assign(z).unique()) == 64
    for _ in range(2):
        book.update(z, book.assign(z))
        assert error(book, z) <= 1.1 * seeded


@pytest.mark.parametrize("config", [VQConfig(64, 6, init="kmeans"), LearnedVQConfig(64, 6, init="kmeans")], ids=str)
def test_kmeans_seeds_every_residual_level_in_the_first_step(config: Any) -> None:
    torch.manual_seed(0)
    quantizer = quantizers.build(ResidualConfig(config, levels=3, dropout=0.0)).train()
    z = normal(16, 6, 16, 16)
    first = quantizer(z)
    errors = [float((quantizer.dequantize(first.indices[:cut]) - z).detach().square().mean()) for cut in quantizer.cuts]
    assert errors[0] > 2 * errors[1] > 2**2 * errors[2]


def test_kmeans_is_seeded_once_and_in_training_only() -> None:
    book = VQ(VQConfig(16, 4, init="kmeans"))
    z = normal(200, 4)
    before = book.table.clone()
    book.eval().assign(z)
    assert torch.equal(book.table, before)
    book.train().assign(z)
    seeded = book.table.clone()
    assert not torch.equal(seeded, before)
    book.assign(z + 5)
    assert torch.equal(book.table, seeded)


def test_kmeans_of_fewer_rows_than_entries_leaves_the_others_to_revival() -> None:
    torch.manual_seed(0)
    book = VQ(VQConfig(64, 8, init="kmeans")).train()
    for step in range(6):
        z = 100 + normal(16, 8, seed=step)
        book.update(z, book.assign(z))
    assert float((book.table - 100).abs().max()) < 6


def test_kmeans_finds_clusters_and_weighs_rows() -> None:
    torch.manual_seed(0)
    made = kmeans.cluster(clusters(32, 1024), 64)
    assert error(_of(made.centres), clusters(32, 1024)) < 2e-4
    assert float(made.weights.sum()) == 1024
    rows = torch.tensor([[0.0], [1.0], [10.0], [12.0]])
    heavy = kmeans.cluster(rows, 2, torch.tensor([3.0, 1.0, 1.0, 1.0]))
    assert sorted(heavy.centres.flatten().tolist()) == [0.25, 11.0]
    assert sorted(heavy.weights.tolist()) == [2.0, 4.0]
    assert kmeans.cluster(torch.ones(5, 2), 3).weights.sort().values.tolist() == [0, 0, 5]
    with pytest.raises(UsageError, match="1 to 4 clusters of 4 rows, asked for 5"):
        kmeans.cluster(rows, 5)


def _of(table: torch.Tensor) -> VQ:
    book = VQ(VQConfig(*table.shape))
    book.table.copy_(table)
    return book.eval()


# --- learning -----------------------------------------------------------------------------------------------------------------------


def test_a_learned_table_arrives_at_the_data() -> None:
    torch.manual_seed(0)
    z = normal(1024, 4)
    book = LearnedVQ(LearnedVQConfig(32, 4)).train()
    descend(book, z, 1)  # seeds the table
    first = error(book, z)
    descend(book, z, 100)
    assert error(book, z) < 0.8 * first


def test_the_smaller_weight_is_on_the_latents() -> None:
    book = LearnedVQ(LearnedVQConfig(4, 2)).train()
    z = torch.tensor([[5.0, 0.0]], requires_grad=True)
    entries = book.lookup(book.assign(z))
    gap = (z - entries).detach()
    to_z, to_table = torch.autograd.grad(book.loss(z, entries), [z, book.table])
    assert torch.allclose(to_z, 0.25 * gap)  # d/dz of the mean of two squares
    assert torch.allclose(to_table[book.assign(z)], -gap)


def test_no_decoder_gradient_reaches_a_learned_table() -> None:
    quantizer = quantizers.build(SingleConfig(LearnedVQConfig(16, 4))).train()
    z = normal(2, 4, 5, 5).requires_grad_()
    quantizer(z).z_q.square().sum().backward()
    assert quantizer.residual.codebooks[0].table.grad is None


@pytest.mark.parametrize("kind", [VQConfig, LearnedVQConfig])
def test_a_cosine_table_stays_on_the_sphere(kind: Any) -> None:
    torch.manual_seed(0)
    book = codebooks.build(kind(32, 4, cosine=True)).train()
    z = book.bound(5 * normal(512, 4))
    for _ in range(30):
        book.update(z, book.assign(z))
    assert torch.allclose(book.vectors().norm(dim=1), torch.ones(32), atol=1e-6)
    expected = (F.normalize(z, dim=1) @ book.vectors().t()).argmax(1)
    assert float((book.assign(z) == expected).float().mean()) > 0.99
    assert error(book, z) < 0.07  # a table of random directions: .09


def test_what_a_cosine_codebook_carries_on_is_the_normalized_latent() -> None:
    torch.manual_seed(0)
    quantizer = quantizers.build(SingleConfig(VQConfig(32, 4, cosine=True))).train()
    z = (100 * normal(2, 4, 5, 5)).requires_grad_()
    result = quantizer(z)
    assert float(result.losses["commitment"].detach()) < 0.25 * 4  # unit vectors are at most 2 apart: their lengths don't enter
    (gradient,) = torch.autograd.grad(result.z_q[:, 0].sum(), z)
    assert float((gradient * z.detach()).sum(1).abs().max()) < 1e-4  # none along z


def test_every_entry_of_simvq_moves_with_every_step() -> None:
    torch.manual_seed(0)
    book = SimVQ(SimVQConfig(512, 4)).train()
    before = book.vectors().detach().clone()
    frozen = book.frozen.clone()
    descend(book, normal(8, 4), 1)
    assert torch.all((book.vectors() - before).abs().sum(1) > 0)
    assert torch.equal(book.frozen, frozen)


def test_simvq_follows_data_that_lies_elsewhere_with_most_of_its_entries() -> None:
    torch.manual_seed(0)
    z = 3 + 0.5 * normal(1024, 4)
    used = {}
    for config in (SimVQConfig(256, 4), LearnedVQConfig(256, 4, revive_below=0.0)):
        book = codebooks.build(config).train()
        descend(book, z, 200)
        used[config.kind] = len(book.assign(z).unique())
        assert error(book, z) < 0.2  # it was 9
    assert used["simvq"] > 5 * used["learned-vq"]


# --- revival ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["batch", "anchor"])
@pytest.mark.parametrize("kind", [VQConfig, LearnedVQConfig])
def test_entries_far_from_all_data_are_brought_back_and_stay(kind: Any, way: str) -> None:
    """EnCodec's table still had them 99.98 of 100 away after 400 steps: the same step's average erased what revival had put."""
    torch.manual_seed(0)
    z = normal(512, 4)
    book = codebooks.build(kind(32, 4, revival=way, decay=0.9)).train()
    for _ in range(3):
        book.update(z, book.assign(z))
    book.table.data[:8] += 100
    if kind is VQConfig:
        book.sums[:8] = book.table[:8] * book.counts[:8, None]
    for _ in range(80):
        book.update(z, book.assign(z))
    assert float(book.vectors().detach().abs().max()) < 10
    assert len(book.assign(z).unique()) >= 30


@pytest.mark.parametrize("way", ["batch", "anchor"])
def test_small_batches_don_t_replace_what_is_used(way: str) -> None:
    """A threshold of 2 rows is above the fair share where N < 2K, and replaces every entry at every step."""
    torch.manual_seed(0)
    z = clusters(64, 4096)
    book = VQ(VQConfig(64, 8, revival=way)).train()
    for _ in range(200):
        book.update(z, book.assign(z))
    before = book.table.clone()
    for part in z.split(32):
        book.update(part, book.assign(part))
    moved = (book.table - before).norm(dim=1)
    assert float((moved < 0.5).float().mean()) > 0.9
    assert error(book, z) < 2 * error(_of(before), z) + 1e-3


def test_an_anchored_entry_goes_to_its_nearest_latent_and_no_two_to_one() -> None:
    torch.manual_seed(0)
    z = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    table = torch.tensor([[9.0, 0.0], [1.0, 9.0], [8.0, 1.0], [5.0, 5.0]])
    counts = torch.tensor([0.0, 0.0, 0.0, 9.0])
    found = revival.revive("anchor", z, table, counts, 0.03, 0.99, 0.75)
    assert found.places.tolist() == [0, 1, 2]
    assert torch.allclose(found.vectors[:2], torch.tensor([[10.0, 0.0], [0.0, 10.0]]), atol=0.05)
    assert min(float((found.vectors[2] - row).norm()) for row in z) < 0.05


# --- projection -----------------------------------------------------------------------------------------------------------------------


def test_a_projection_finds_the_subspace_of_the_latents() -> None:
    torch.manual_seed(0)
    basis = torch.linalg.qr(normal(12, 3)).Q
    z = normal(2000, 3, seed=4) @ basis.t()
    book = Projected(ProjectedConfig(VQConfig(256, 3, init="kmeans"), 12)).train()
    bounded = book.bound(z)
    assert torch.allclose(bounded, z, atol=1e-5)
    assert torch.allclose(book.basis.t() @ book.basis, torch.eye(3), atol=1e-6)
    book.update(bounded, book.assign(bounded))
    assert error(book, bounded) < 0.02
    kept = book.basis.clone()
    book.bound(normal(50, 12))
    assert torch.equal(book.basis, kept), "seeded once"


def test_projected_residual_levels_share_their_subspace() -> None:
    torch.manual_seed(0)
    quantizer = quantizers.build(ResidualConfig(ProjectedConfig(VQConfig(64, 3, init="kmeans"), 8), levels=3)).train()
    quantizer(normal(8, 8, 8, 8))
    first, *others = (book.basis @ book.basis.t() for book in quantizer.codebooks)
    assert all(torch.allclose(other, first, atol=1e-4) for other in others)


def test_projections_that_don_t_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="from 4 to the codebook's 4 it would not"):
        ProjectedConfig(VQConfig(8, 4), 4)
    with pytest.raises(UsageError, match="use equal FSQ levels"):
        codebooks.build(ProjectedConfig(FSQConfig((8, 5)), 4)).residual_scale(1)


# --- refusals -------------------------------------------------------------------------------------------------------------------------

ONE_OF_EACH: list[Any] = [
    VQConfig(16, 4),
    LearnedVQConfig(16, 4),
    SimVQConfig(16, 4),
    IBQConfig(16, 4),
    FSQConfig((3,) * 4),
    LFQConfig(4),
    ProjectedConfig(LFQConfig(3), 4),
]


@pytest.mark.parametrize("config", ONE_OF_EACH, ids=str)
def test_latents_of_another_dimension_are_refused(config: Any) -> None:
    for shape in ((10, 5), (10, 1), (4,), (2, 10, 4)):
        with pytest.raises(UsageError, match=r"takes latents \(N, 4\), found"):
            codebooks.build(config).assign(torch.zeros(shape))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("config", ONE_OF_EACH, ids=str)
def test_no_rows_change_nothing(config: Any, training: bool) -> None:
    """Where all positions are masked, vector-quantize-pytorch's loss is NaN."""
    torch.manual_seed(0)
    book = codebooks.build(config).train()
    z = book.bound(normal(50, 4))
    book.update(z, book.assign(z))
    before = book.vectors().detach().clone()
    book.train(training)
    none = z[:0]
    found = book.assign(none)
    assert float(book.loss(none, book.lookup(found)).detach()) == 0
    book.update(none, found)
    assert torch.equal(book.vectors(), before)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (LearnedVQConfig, {"codebook_size": 1}, "a learned VQ table needs codebook_size >= 2 and dim >= 1, found 1 and 4"),
        (SimVQConfig, {"codebook_size": 1}, "found 1 and 4"),
        (IBQConfig, {"codebook_size": 1}, "found 1 and 4"),
        (IBQConfig, {"temperature": 0.0}, "temperature must be positive, found 0.0"),
        (IBQConfig, {"entropy": -1.0}, "entropy must not be negative, found -1.0"),
        (VQConfig, {"init": "zeros"}, "init is 'batch' or 'kmeans', found 'zeros'"),
        (VQConfig, {"revival": "none"}, "revival is 'batch' or 'anchor', found 'none'"),
        (VQConfig, {"commitment": -0.1}, "commitment must not be negative"),
        (LearnedVQConfig, {"decay": 1.0}, r"decay must lie in \[0, 1\), found 1.0"),
        (SimVQConfig, {"gradient": "own"}, "gradient is 'straight_through' or 'rotation', found 'own'"),
        (VQConfig, {"dim": 1, "cosine": True}, "directions need dim >= 2, found 1"),
        (LearnedVQConfig, {"dim": 1, "gradient": "rotation"}, "directions need dim >= 2, found 1"),
    ],
)
def test_impossible_configs_are_refused(kind: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**{"codebook_size": 8, "dim": 4} | values)
