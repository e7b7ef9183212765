"""LFQ and BSQ: the entropy loss without a table is the enumerated one, and costs what it says."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from smalti.tokenizers import codebooks
from smalti.tokenizers.codebooks import BSQ, LFQ, BSQConfig, LFQConfig, entropy
from smalti.tokenizers.errors import UsageError

WARM = 0.5  # a temperature at which many codes are probable, so that every term counts


def rows(count: int, dim: int, scale: float = 0.3) -> torch.Tensor:
    return scale * torch.randn(count, dim, generator=torch.Generator().manual_seed(0))


def probabilities(book: LFQ | BSQ, z: torch.Tensor) -> torch.Tensor:
    """(N, K) over all codes, from distances to each, in float64."""
    distances = torch.cdist(z.double(), book.vectors().double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    return (-distances / book.config.temperature).softmax(1)


def of(p: torch.Tensor) -> torch.Tensor:
    return -(p * p.clamp(min=1e-300).log()).sum(-1)


def enumerated(book: LFQ | BSQ, z: torch.Tensor, groups: tuple[int, ...]) -> torch.Tensor:
    """The loss from the whole table; `groups` of dimensions whose codes' distributions are looked at apart."""
    p = probabilities(book, z)
    average = p.mean(0)
    bits = (book.vectors() > 0).long()
    batch, start = torch.zeros((), dtype=torch.float64), 0
    for width in groups:
        part = (bits[:, start : start + width] << torch.arange(width)).sum(1)
        batch = batch + of(torch.zeros(2**width, dtype=torch.float64).index_add(0, part, average))
        start += width
    tied = book.config.commitment * (z - book.lookup(book.assign(z))).square().mean()
    return tied + book.config.entropy * (of(p).mean() - book.config.diversity * batch)


CASES: list[tuple[Any, tuple[int, ...]]] = [
    (LFQConfig(8, temperature=WARM), (8,)),
    (LFQConfig(8, temperature=WARM, group_bits=3, diversity=2.5), (3, 3, 2)),
    (LFQConfig(7, temperature=0.01, group_bits=1, bit_order="big"), (1,) * 7),
    (BSQConfig(9, temperature=WARM, commitment=0.3), (9,)),
    (BSQConfig(9, temperature=0.01, group_bits=4, bit_order="big"), (4, 4, 1)),
]


@pytest.mark.parametrize(("config", "groups"), CASES, ids=str)
def test_the_loss_is_the_enumerated_one(config: Any, groups: tuple[int, ...]) -> None:
    book: Any = codebooks.build(config).train()
    z = book.bound(rows(200, book.dim)).requires_grad_()
    found, expected = book.loss(z, book.lookup(book.assign(z))), enumerated(book, z, groups)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    (gradient,), (wanted,) = torch.autograd.grad(found, z), torch.autograd.grad(expected, z)
    assert torch.allclose(gradient, wanted.float(), atol=1e-5)


def test_chunks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    book = LFQ(LFQConfig(8, temperature=WARM)).train()
    z = rows(200, 8).requires_grad_()
    whole = book.loss(z, book.lookup(book.assign(z)))
    monkeypatch.setattr(entropy, "CHUNK_ELEMENTS", 100)
    chunked = book.loss(z, book.lookup(book.assign(z)))
    assert float(chunked.detach()) == pytest.approx(float(whole.detach()), abs=1e-6)
    assert torch.allclose(torch.autograd.grad(chunked, z)[0], torch.autograd.grad(whole, z)[0], atol=1e-6)


def test_groups_bound_the_entropy_from_above() -> None:
    # two bits that are always equal: joint 1 bit, apart 2
    logits = torch.tensor([[9.0, 9.0], [-9.0, -9.0]]) * 4
    joint, apart = entropy.batch_entropy(logits, 2), entropy.batch_entropy(logits, 1)
    assert float(joint) == pytest.approx(0.6931, abs=1e-3)
    assert float(apart) == pytest.approx(2 * 0.6931, abs=1e-3)


@pytest.mark.parametrize("config", [LFQConfig(18), BSQConfig(18), LFQConfig(18, group_bits=18)], ids=str)
def test_a_step_of_18_bits_fits_into_64_mib(config: Any) -> None:
    book: Any = codebooks.build(config).train()
    z = rows(4096, 18).requires_grad_()
    with Memory() as memory:
        bounded = book.bound(z)
        indices = book.assign(bounded)
        book.loss(bounded, book.lookup(indices)).backward()
        book.update(bounded, indices)
    assert torch.isfinite(z.grad).all()
    assert 4096 * 18 * 4 < memory.peak <= 64 * 2**20, f"{memory.peak / 2**20:.1f} MiB"


class Memory(TorchDispatchMode):
    """The most bytes that tensors made within it held at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.peak = 0, 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        out = function(*arguments, **(keywords or {}))
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return out

    def _note(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place in self.seen:
            return
        self.seen.add(place)
        self.held += storage.nbytes()
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._forget, place, storage.nbytes())

    def _forget(self, place: int, size: int) -> None:
        self.seen.discard(place)
        self.held -= size


@pytest.mark.parametrize("kind", [LFQConfig, BSQConfig])
def test_the_bit_order_is_what_it_says(kind: Any) -> None:
    z = torch.tensor([[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])
    little: Any = codebooks.build(kind(3))
    big: Any = codebooks.build(kind(3, bit_order="big"))
    assert little.assign(z).tolist() == [1, 4, 3]
    assert big.assign(z).tolist() == [4, 1, 6]
    assert torch.equal(little.lookup(torch.tensor([1, 4, 3])), big.lookup(torch.tensor([4, 1, 6])))


def test_codes_of_30_bits_are_exact() -> None:
    lfq = LFQ(LFQConfig(30))
    codes = torch.tensor([0, 1, 2**24 + 1, 2**29, 2**30 - 1])
    assert torch.equal(lfq.assign(lfq.lookup(codes)), codes)


def test_a_latent_of_zero_is_a_bit_of_zero() -> None:
    assert LFQ(LFQConfig(2)).assign(torch.tensor([[0.0, -0.0], [0.0, 1e-30]])).tolist() == [0, 2]


def test_bsq_lives_on_the_unit_sphere() -> None:
    bsq = BSQ(BSQConfig(6))
    assert torch.allclose(bsq.vectors().norm(dim=1), torch.ones(64))
    bounded = bsq.bound(rows(50, 6))
    assert torch.allclose(bounded.norm(dim=1), torch.ones(50))
    farthest = (bounded - bsq.lookup(bsq.assign(bounded))).norm(dim=1).max()
    assert float(farthest) <= (2 - 2 / 6**0.5) ** 0.5
    assert torch.equal(bsq.bound(torch.zeros(2, 6)), torch.zeros(2, 6))


def test_the_entropy_loss_spreads_the_codes() -> None:
    """Latents that begin on one code end on many, by the loss alone."""
    lfq = LFQ(LFQConfig(4, commitment=0.0, temperature=1.0)).train()
    z = (0.5 + rows(256, 4, 0.05)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        lfq.loss(z, lfq.lookup(lfq.assign(z))).backward()
        optimizer.step()
    assert len(lfq.assign(z).unique()) == 16


def test_the_entropy_loss_is_for_training_and_for_rows() -> None:
    lfq = LFQ(LFQConfig(6, commitment=0.0))
    z = rows(10, 6)
    assert float(lfq.eval().loss(z, lfq.lookup(lfq.assign(z)))) == 0
    assert float(lfq.train().loss(z[:0], z[:0])) == 0
    assert float(lfq.train().loss(z, lfq.lookup(lfq.assign(z)))) != 0


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (LFQConfig, {"bits": 31}, "1 to 30 bits, since tokens are int32, found 31"),
        (LFQConfig, {"bits": 0}, "found 0"),
        (BSQConfig, {"bits": 1}, "BSQ needs bits >= 2"),
        (LFQConfig, {"bits": 4, "bit_order": "middle"}, "'little' or 'big', found 'middle'"),
        (LFQConfig, {"bits": 4, "temperature": 0.0}, "temperature must be positive"),
        (BSQConfig, {"bits": 4, "group_bits": 21}, r"group_bits must lie in 1..20, found 21"),
        (BSQConfig, {"bits": 4, "commitment": -1.0}, "commitment must not be negative"),
        (LFQConfig, {"bits": 4, "diversity": -1.0}, "entropy and diversity must not be negative"),
    ],
)
def test_impossible_configs_are_refused(config: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(**values)
