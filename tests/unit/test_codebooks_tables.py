"""Tables: by averages, by gradient, behind a map, with every probability; their seeds, their revival, and how gradients pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from smalti.tokenizers import codebooks, quantizers
from smalti.tokenizers.codebooks import (
    IBQ,
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
    ibq,
    kmeans,
    revival,
)
from smalti.tokenizers.errors import UsageError
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig
from smalti.tokenizers.quantizers.grid import rotate_to


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


# --- IBQ ----------------------------------------------------------------------------------------------------------------------------


def whole(book: IBQ, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(z_q, loss) of the paper with every probability held at once."""
    config = book.config
    logits = -0.5 * torch.cdist(z, book.table).square()
    hot = F.one_hot(logits.argmax(1), book.size).float()
    p = logits.softmax(1)
    q, hard = (hot + p - p.detach()) @ book.table, hot @ book.table
    # the table learns through the probabilities and through the entry taken; p - sg(p) is 0, so nothing else
    cool = (logits / config.temperature).softmax(1)
    average = cool.mean(0)
    spread = -(cool * cool.clamp(min=1e-30).log()).sum(1).mean() + config.diversity * (average * average.clamp(min=1e-30).log()).sum()
    loss = F.mse_loss(q, z) + F.mse_loss(z, q.detach()) + config.commitment * F.mse_loss(hard, z.detach())
    return q, loss + config.entropy * spread


@pytest.mark.parametrize("chunk", [2**20, 64])
def test_index_back_propagation_in_chunks_is_that_of_the_whole_matrix(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ibq, "CHUNK_ELEMENTS", chunk)
    torch.manual_seed(0)
    book = IBQ(IBQConfig(32, 4, temperature=0.3)).train()
    z, weights = normal(50, 4).requires_grad_(), normal(50, 4, seed=5)
    entries = book.lookup(book.assign(z))
    soft = book.soft(z)
    q = entries + (soft - soft.detach())
    expected_q, expected_loss = whole(book, z)
    loss = book.loss(z, q)
    assert torch.allclose(q, expected_q, atol=1e-6)
    assert float(loss.detach()) == pytest.approx(float(expected_loss.detach()), abs=1e-5)
    found = torch.autograd.grad((q * weights).sum() + loss, [z, book.table])
    wanted = torch.autograd.grad((expected_q * weights).sum() + expected_loss, [z, book.table])
    for gradient, other in zip(found, wanted, strict=True):
        assert torch.allclose(gradient, other, atol=1e-5)


def test_a_decoder_gradient_reaches_every_entry_of_ibq() -> None:
    torch.manual_seed(0)
    quantizer = quantizers.build(SingleConfig(IBQConfig(64, 4))).train()
    quantizer(normal(1, 4, 2, 2)).z_q.square().sum().backward()
    assert torch.all(quantizer.residual.codebooks[0].table.grad.abs().sum(1) > 0)


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


# --- how gradients pass ---------------------------------------------------------------------------------------------------------------


def test_rotation_keeps_the_angle_between_gradient_and_latent() -> None:
    z, z_q, weights = normal(7, 5).requires_grad_(), normal(7, 5, seed=2), normal(7, 5, seed=3)
    out = rotate_to(z, z_q)
    assert torch.equal(out, z_q)
    (gradient,) = torch.autograd.grad((out * weights).sum(), z)
    scale = z_q.norm(dim=1) / z.detach().norm(dim=1)
    assert torch.allclose(F.cosine_similarity(gradient, z.detach()), F.cosine_similarity(weights, z_q), atol=1e-5)
    assert torch.allclose(gradient.norm(dim=1), weights.norm(dim=1) * scale, rtol=1e-4)


def test_rotation_is_along_channels_of_a_grid() -> None:
    z, z_q, weights = normal(2, 4, 3, 3).requires_grad_(), normal(2, 4, 3, 3, seed=2), normal(2, 4, 3, 3, seed=3)
    rows = z.movedim(1, -1).reshape(-1, 4)
    flat = rotate_to(rows, z_q.movedim(1, -1).reshape(-1, 4))
    (expected,) = torch.autograd.grad((flat * weights.movedim(1, -1).reshape(-1, 4)).sum(), z)
    (found,) = torch.autograd.grad((rotate_to(z, z_q) * weights).sum(), z)
    assert torch.allclose(found, expected, atol=1e-6)


def test_vectors_without_a_direction_pass_straight_through() -> None:
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]], requires_grad=True)
    z_q = torch.tensor([[1.0, 2.0], [0.0, 0.0], [-2.0, 0.0]])
    out = rotate_to(z, z_q)
    assert torch.equal(out, z_q)  # vector-quantize-pytorch gives 0 for a latent of 0 in training, and the entry in evaluation
    (gradient,) = torch.autograd.grad(out.sum(), z)
    assert gradient[:2].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert torch.isfinite(gradient).all()  # the last is turned by half a circle


@pytest.mark.parametrize("kind", [VQConfig, LearnedVQConfig, SimVQConfig])
def test_the_config_says_how_gradients_pass(kind: Any) -> None:
    z, weights = normal(2, 4, 3, 3), normal(2, 4, 3, 3, seed=3)
    for gradient, straight in (("straight_through", True), ("rotation", False)):
        torch.manual_seed(0)
        quantizer = quantizers.build(ResidualConfig(kind(16, 4, gradient=gradient), dropout=0.0)).train()
        latents = z.clone().requires_grad_()
        (found,) = torch.autograd.grad((quantizer(latents).z_q * weights).sum(), latents)
        assert torch.equal(found, weights) == straight


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
        codebooks.build(ProjectedConfig(VQConfig(8, 4), 4))
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
