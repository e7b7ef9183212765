"""How gradients pass: straight through, rotated, or through every probability."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from smalti.tokenizers import quantizers
from smalti.tokenizers.codebooks import IBQ, IBQConfig, LearnedVQConfig, SimVQConfig, VQConfig, ibq
from smalti.tokenizers.quantizers import ResidualConfig, SingleConfig
from smalti.tokenizers.quantizers.grid import rotate_to


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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
