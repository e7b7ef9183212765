"""The same tables give the same tokens as vector-quantize-pytorch 1.32; where it differs or fails, the difference is named here."""

from __future__ import annotations

import pytest
import torch
import vector_quantize_pytorch as theirs

from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import FSQConfig, VQConfig
from smalti.tokenizers.errors import SignalError
from smalti.tokenizers.quantizers import GroupedConfig, MultiScaleConfig, ResidualConfig, SingleConfig


def latents(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def random_tables(module: torch.nn.Module) -> torch.nn.Module:
    """Tables of its VQ levels drawn anew, finer from level to level; in evaluation mode."""
    random = torch.Generator().manual_seed(0)
    tables = [part.table for part in module.modules() if hasattr(part, "table")]
    for table in tables:
        table.copy_(torch.randn(table.shape, generator=random))
    return module.eval()


def test_residual_tokens_are_theirs() -> None:
    ours = random_tables(quantizers.build(ResidualConfig(VQConfig(64, 6), levels=4)))
    them = theirs.ResidualVQ(dim=6, num_quantizers=4, codebook_size=64).eval()
    for level in range(4):
        ours.codebooks[level].table.mul_(0.6**level)
        them.layers[level]._codebook.embed.data.copy_(ours.codebooks[level].table[None])
    z = latents(3, 6, 50)
    z_q, indices, _ = them(z.movedim(1, -1))
    result = ours(z)
    assert torch.equal(torch.stack(result.indices, -1), indices)
    assert torch.allclose(result.z_q, z_q.movedim(-1, 1), atol=1e-5)


def test_grouped_residual_tokens_are_theirs_but_for_the_order_of_stages() -> None:
    # they put all levels of a group first, we all groups of a level, so that prefixes decode
    ours = random_tables(quantizers.build(ResidualConfig(GroupedConfig((VQConfig(32, 3), VQConfig(32, 3))), levels=3)))
    them = theirs.GroupedResidualVQ(dim=6, groups=2, num_quantizers=3, codebook_size=32).eval()
    for group in range(2):
        for level in range(3):
            them.rvqs[group].layers[level]._codebook.embed.data.copy_(ours.codebooks[level][group].table[None])
    z = latents(3, 6, 50)
    z_q, indices, _ = them(z.movedim(1, -1))
    result = ours(z)
    for group in range(2):
        assert torch.equal(torch.stack(result.indices[group::2], -1), indices[group])
    assert torch.allclose(result.z_q, z_q.movedim(-1, 1), atol=1e-5)


def test_residual_fsq_tokens_are_theirs_under_their_bound() -> None:
    # they squeeze z by c tanh(z / c) with c = L / (L - 1); ours is c tanh(z), so ours gets z / c
    levels = (5, 3, 7)
    ours = quantizers.build(ResidualConfig(FSQConfig(levels, bound="tanh"), levels=3)).eval()
    them = theirs.ResidualFSQ(levels=list(levels), num_quantizers=3).eval()
    z = latents(3, 3, 400)
    reach = torch.tensor([size / (size - 1) for size in levels])[:, None]
    z_q, indices = them(z.movedim(1, -1))
    result = ours(z / reach)
    same = torch.stack(result.indices, -1) == indices
    assert float(same.float().mean()) > 0.999, "but where rounding meets a border between two levels"
    assert torch.allclose(result.z_q, z_q.movedim(-1, 1), atol=1e-2)


@pytest.mark.parametrize("phi", [False, True])
def test_multi_scale_tokens_are_theirs(phi: bool) -> None:
    counts = ((1, 1), (2, 2), (4, 4), (8, 8))
    config = MultiScaleConfig(VQConfig(64, 6), counts=counts, up="linear", phis=1, phi_ratio=0.5 if phi else 0.0)
    ours = random_tables(quantizers.build(config))
    sizes = tuple(count[0] for count in counts)
    them = theirs.HierarchicalVQ(
        dim=6, codebook_size=64, scales=sizes, quant_resi=config.phi_ratio, kmeans_init=False, accept_image_fmap=True
    ).eval()
    them.vq._codebook.embed.data.copy_(ours.codebooks[0].table[None])
    ours.phis[0].load_state_dict(them.phi_shared.conv.state_dict())
    z = latents(3, 6, 8, 8)
    z_q, indices, _ = them(z)
    result = ours(z)
    assert all(torch.equal(a, b) for a, b in zip(result.indices, indices, strict=True))
    assert torch.allclose(result.z_q, z_q, atol=1e-4)


def test_their_multi_scale_decoder_knows_square_grids_only() -> None:
    them = theirs.HierarchicalVQ(dim=6, codebook_size=64, scales=(1, 2, 4), kmeans_init=False, accept_image_fmap=True).eval()
    z = latents(2, 6, 4, 6)
    _, indices, _ = them(z)
    assert them.get_output_from_indices(indices).shape[2:] == (4, 4), "if this fails, they mended it"
    ours = random_tables(quantizers.build(MultiScaleConfig(VQConfig(64, 6), (0.25, 0.5, 1.0))))
    assert ours.dequantize(ours(z).indices).shape == z.shape


def test_prefixes_decode_without_dropout() -> None:
    them = theirs.ResidualVQ(dim=6, num_quantizers=3, codebook_size=64).eval()
    with pytest.raises(AssertionError, match="quantize dropout"):
        them.get_output_from_indices(torch.zeros(2, 5, 1, dtype=torch.int64))
    ours = random_tables(quantizers.build(ResidualConfig(VQConfig(64, 6), levels=3, dropout=0.0)))
    assert ours.dequantize(ours(latents(2, 6, 5)).indices[:1]).shape == (2, 6, 5)


@pytest.mark.parametrize("config", [ResidualConfig(VQConfig(32, 6)), MultiScaleConfig(VQConfig(32, 6), (0.5, 1.0), axes=1)], ids=str)
def test_one_number_that_is_none_reaches_no_table(config: ResidualConfig | MultiScaleConfig) -> None:
    them = theirs.VectorQuantize(dim=6, codebook_size=32).train()
    z = latents(2, 6, 50)
    z[1, 3, 7] = torch.nan
    them(z.movedim(1, -1))
    assert them.codebook[:, 3].isnan().all(), "one NaN is in that channel of every entry of theirs"
    ours = quantizers.build(config).train()
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(SignalError, match="not finite at batch item 1"):
        ours(z)
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())


def test_the_loss_of_a_batch_is_the_mean_of_its_items() -> None:
    # their masks for padding raise, or change the loss (an all-true one 82.9 in place of .065); ours has none: batches are grouped by shape
    config = SingleConfig(GroupedConfig((VQConfig(32, 4), VQConfig(16, 2))))
    ours = random_tables(quantizers.build(config))
    z = latents(3, 6, 50)
    alone = [ours(item[None]).losses["commitment"] for item in z]
    assert torch.allclose(torch.stack(alone).mean(), ours(z).losses["commitment"], rtol=1e-5)
