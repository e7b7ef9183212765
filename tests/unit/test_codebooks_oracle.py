"""The same tables give the same indices as vector-quantize-pytorch 1.32; its known defects, each beside what ours does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import vector_quantize_pytorch as theirs
from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to as their_rotate_to

from smalti.tokenizers import codebooks, quantizers
from smalti.tokenizers.codebooks import BSQ, FSQ, LFQ, VQ, BSQConfig, FSQConfig, LFQConfig, SimVQ, SimVQConfig, VQConfig, entropy
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig
from smalti.tokenizers.quantizers.grid import rotate_to


def rows(count: int, dim: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(1))


# --- the same indices -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cosine", [False, True])
def test_vq_indices_are_theirs(cosine: bool) -> None:
    ours = VQ(VQConfig(512, 8, cosine=cosine))
    them = theirs.VectorQuantize(dim=8, codebook_size=512, use_cosine_sim=cosine).eval()
    them._codebook.embed.copy_(ours.table[None])
    z = rows(2000, 8)
    z_q, indices, _ = them(z[None])
    bounded = ours.bound(z)
    assert torch.equal(ours.assign(bounded), indices[0])
    assert torch.allclose(ours.lookup(indices[0]), z_q[0])


def test_fsq_indices_are_theirs_under_their_bounds() -> None:
    # ours widens the outer cells to full size, tanh(z) L / (L - 1), and is symmetric for even L too; theirs shifts even ones by half a step
    z = rows(2000, 4)
    odd, symmetric = (7, 5, 5, 3), (8, 5, 4, 2)
    found = FSQ(FSQConfig(odd)).assign(torch.tanh(z) * 1.001)
    assert torch.equal(found, theirs.FSQ(list(odd)).eval()(z[None])[1][0].long())
    found = FSQ(FSQConfig(symmetric)).assign(torch.tanh(z))
    them = theirs.FSQ(list(symmetric), preserve_symmetry=True).eval()
    z_q, indices = them(z[None])
    assert torch.equal(found, indices[0].long())
    assert torch.allclose(FSQ(FSQConfig(symmetric)).lookup(found), z_q[0], atol=1e-6)


def test_lfq_indices_are_theirs_in_their_bit_order() -> None:
    ours = LFQ(LFQConfig(10, bit_order="big"))
    z = rows(500, 10)
    found = theirs.LFQ(dim=10, codebook_size=1024).eval()(z[None])
    assert torch.equal(ours.assign(z), found.indices[0])
    assert torch.equal(ours.lookup(ours.assign(z)), found.quantized[0])
    other = LFQ(LFQConfig(10))
    flipped = (found.indices[0][:, None] >> torch.arange(10) & 1).flip(1) << torch.arange(10)
    assert torch.equal(other.assign(z), flipped.sum(1))


def test_bsq_is_their_spherical_lfq() -> None:
    ours = BSQ(BSQConfig(10, bit_order="big"))
    z = rows(500, 10)
    found = theirs.LFQ(dim=10, codebook_size=1024, spherical=True).eval()(z[None])
    bounded = ours.bound(z)
    assert torch.equal(ours.assign(bounded), found.indices[0])
    assert torch.allclose(ours.lookup(found.indices[0]), found.quantized[0])


def test_simvq_indices_are_theirs() -> None:
    ours, them = SimVQ(SimVQConfig(300, 6)), theirs.SimVQ(dim=6, codebook_size=300).eval()
    ours.frozen.copy_(them.frozen_codebook)
    ours.map.weight.data.copy_(them.code_transform.weight)
    z = rows(500, 6)
    z_q, indices, loss = them(z[None])
    found = ours.assign(z)
    assert torch.equal(found, indices[0])
    assert torch.allclose(ours.lookup(found), z_q[0], atol=1e-5)
    assert float(ours.loss(z, ours.lookup(found)).detach()) == pytest.approx(float(loss.detach()), rel=1e-5)


def test_the_entropy_loss_is_theirs_where_theirs_is_exact() -> None:
    # they clamp probabilities at 1e-5 inside the logarithm, which shows in codes that are hardly probable
    them = theirs.LFQ(dim=6, codebook_size=64).train()
    z = 0.2 * rows(400, 6)
    _, parts = them(z[None], inv_temperature=2.0, return_loss_breakdown=True)
    logits = 4 * 2.0 * z
    assert float(entropy.row_entropy(logits)) == pytest.approx(float(parts.per_sample_entropy), abs=1e-3)
    assert float(entropy.batch_entropy(logits, 6)) == pytest.approx(float(parts.batch_entropy), abs=1e-3)


def test_the_rotation_trick_is_theirs_where_vectors_have_a_direction() -> None:
    z, z_q, weights = rows(50, 6).requires_grad_(), rows(50, 6).flip(0), rows(50, 6).roll(1, 0)
    ours, them = rotate_to(z, z_q), their_rotate_to(z, z_q)
    assert torch.allclose(ours, them, atol=1e-5)
    (found,) = torch.autograd.grad((ours * weights).sum(), z)
    (wanted,) = torch.autograd.grad((them * weights).sum(), z)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


# --- their defects --------------------------------------------------------------------------------------------------------------------


def test_one_bad_latent_poisons_no_table() -> None:
    torch.manual_seed(0)
    them = theirs.VectorQuantize(dim=6, codebook_size=32).train()
    z = rows(60, 6)
    z[7, 2] = torch.nan
    them(z[None])
    assert int(torch.isnan(them._codebook.embed[0, :, 2]).sum()) == 32

    quantizer = quantizers.build(SingleConfig(VQConfig(32, 6))).train()
    before = {key: value.clone() for key, value in quantizer.state_dict().items()}
    with pytest.raises(SignalError, match="not finite at batch item 1"):
        quantizer(z.reshape(6, 10, 6)[:2].flip(0).movedim(-1, 1))
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())


def test_a_masked_loss_is_the_loss_of_the_rows_that_are_left() -> None:
    z, mask = 10 * rows(40, 6), torch.arange(40) % 3 > 0
    them = theirs.VectorQuantize(dim=6, codebook_size=32, use_cosine_sim=True).train()
    without = them(z[None], freeze_codebook=True)[2]
    with_true_mask = them(z[None], mask=torch.ones(1, 40, dtype=torch.bool), freeze_codebook=True)[2]
    assert float(with_true_mask.detach()) > 100 * float(without.detach())  # it compares latents that are not normalized

    ours = VQ(VQConfig(32, 6, cosine=True))
    bounded = ours.bound(z)
    entries = ours.lookup(ours.assign(bounded))
    left = ours.loss(bounded[mask], entries[mask])
    each = 0.25 * (bounded - entries).square().mean(1)
    assert float(left) == pytest.approx(float(each[mask].mean()), rel=1e-5)
    assert float(ours.loss(bounded[mask][:0], entries[:0])) == 0


@pytest.mark.parametrize("config", [VQConfig(16, 6), FSQConfig((5,) * 6)], ids=str)
def test_prefixes_decode_and_grids_need_not_be_square(config: Any) -> None:
    with pytest.raises(AssertionError, match="quantize dropout"):
        theirs.ResidualVQ(dim=6, num_quantizers=3, codebook_size=16).eval().get_codes_from_indices(torch.zeros(1, 5, 2, dtype=torch.int64))

    quantizer = quantizers.build(ResidualConfig(config, levels=3, dropout=0.0)).eval()
    result = quantizer(rows(24, 6).t().reshape(1, 6, 4, 6))
    assert quantizer.dequantize(result.indices[:2]).shape == (1, 6, 4, 6)
    assert torch.equal(quantizer.dequantize(result.indices), result.z_q)


def test_large_codes_need_no_table() -> None:
    book: Any = codebooks.build(LFQConfig(30))  # theirs allocates 2^30 x 30 numbers
    assert sum(tensor.numel() for tensor in [*book.buffers(), *book.parameters()]) == 30
    z = rows(100, 30)
    assert torch.equal(book.lookup(book.assign(z)) > 0, z > 0)


def test_kmeans_seeds_outlive_the_first_averages_where_encodec_s_don_t() -> None:
    # EnCodec and its descendants set the sum to the mean instead of mean * count: what their arithmetic makes of our seeds
    torch.manual_seed(0)
    z = rows(4096, 8)
    ours = VQ(VQConfig(64, 8, init="kmeans")).train()
    found = ours.assign(z)
    seeded = float((ours.lookup(found) - z).square().mean())
    counts = torch.bincount(found, minlength=64).float()
    sums = torch.zeros(64, 8).index_add_(0, found, z)
    wrong = (0.99 * ours.table + 0.01 * sums) / (0.99 * ours.counts + 0.01 * counts)[:, None]
    assert float((wrong[found] - z).square().mean()) > 1.5 * seeded
    for _ in range(2):
        ours.update(z, ours.assign(z))
    assert float((ours.lookup(ours.assign(z)) - z).square().mean()) <= 1.1 * seeded


def test_index_arithmetic_is_exact_where_half_precision_is_not() -> None:
    # sums of digits in bfloat16 are wrong for 96 % of [8, 8, 8, 5, 5, 5]; ours are integers under any autocast
    fsq = FSQ(FSQConfig((8, 8, 8, 5, 5, 5)))
    z = rows(5000, 6)
    expected = fsq.assign(fsq.bound(z))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fsq.assign(fsq.bound(z)), expected)
    codes = torch.arange(fsq.size)
    assert torch.equal(fsq.assign(fsq.lookup(codes).double()), codes)
